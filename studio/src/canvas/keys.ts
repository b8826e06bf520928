/** Keyboard shortcuts of a flow's page. */

export type Act = "save" | "undo" | "redo" | "delete" | "duplicate" | "all" | "none" | "search" | "arrange";

const TYPED = "input, textarea, select, [contenteditable]";

/** What a key press means here; undefined for those that belong to a text field or to nobody. */
export function shortcut(event: KeyboardEvent): Act | undefined {
  const key = event.key.toLowerCase();
  const control = event.ctrlKey || event.metaKey;
  if (control && key === "s") return "save";
  if (event.target instanceof Element && event.target.closest(TYPED)) return undefined;
  if (control) return ({ z: event.shiftKey ? "redo" : "undo", y: "redo", d: "duplicate", a: "all" } as const)[key];
  return ({ delete: "delete", backspace: "delete", escape: "none", "/": "search", l: "arrange" } as const)[key];
}
