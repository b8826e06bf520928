/** What is not saved yet, kept in this browser: a closed tab loses nothing. */

export interface Draft {
  /** The date of the saved flow that the draft began with. */
  since: string;
  name: string;
  flowData: string;
}

/** The name under which the browser keeps the draft of a flow, for all of its tabs. */
export const place = (id: string) => `headrace.draft.${id}`;

export function keptDraft(id: string): Draft | undefined {
  try {
    return JSON.parse(localStorage.getItem(place(id)) ?? "null") ?? undefined;
  } catch {
    return undefined; // storage is forbidden
  }
}

export function keepDraft(id: string, draft: Draft): void {
  try {
    localStorage.setItem(place(id), JSON.stringify(draft));
  } catch {
    // storage is forbidden or full: the draft lives as long as the page
  }
}

export function forgetDraft(id: string): void {
  try {
    localStorage.removeItem(place(id));
  } catch {
    // storage is forbidden
  }
}
