/** The handles of a node: what it can be connected by. */

import { branchesOf } from "./branches";
import { type Drawing, type FlowNode, isStep, type OutputAnchor } from "./drawing";

/** The outputs that a node hands over now: all, or the chosen one. Steps that are written by hand need not list them. */
export function outputsOf(node: FlowNode): OutputAnchor[] {
  const listed = node.data.outputAnchors ?? (isStep(node) ? branchesOf(node.data).outputAnchors : undefined);
  return (listed ?? []).flatMap((anchor) => {
    if (!anchor.options) return [anchor];
    const chosen = String(node.data.outputs?.[anchor.name] || anchor.default || anchor.options[0]?.name);
    return anchor.options.filter((option) => option.name === chosen);
  });
}

/** Handles that edges of the drawing use and the node does not list, such as those of older versions of it. */
export function otherHandles(drawing: Drawing, node: FlowNode): { sources: string[]; targets: string[] } {
  const listed = new Set([
    ...outputsOf(node).map((anchor) => anchor.id ?? ""),
    ...(node.data.inputAnchors ?? []).map((anchor) => anchor.id),
    ...(node.type === "customNode" ? [] : [node.id]),
  ]);
  const used = (end: "source" | "target", handle: "sourceHandle" | "targetHandle") => [
    ...new Set(
      drawing.edges
        .filter((edge) => edge[end] === node.id)
        .map((edge) => edge[handle] ?? "")
        .filter((id) => id && !listed.has(id)),
    ),
  ];
  return { sources: used("source", "sourceHandle"), targets: used("target", "targetHandle") };
}
