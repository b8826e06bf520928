/** A drawing as the canvas library takes it: its nodes keep what the library knows of them, such as their size. */

import type { Edge, Node } from "@xyflow/svelte";
import { type Drawing, type FlowEdge, type FlowNode, ITERATION, NOTE } from "../flow/drawing";
import { otherHandles } from "../flow/outputs";

export type Shown = Node<{ node: FlowNode; sources: string[]; targets: string[] }>;

const SIZED = new Set([NOTE, ITERATION]);

/** The nodes to show, parents first; those of `before` that have not changed are the same objects. */
export function shownNodes(drawing: Drawing, before: readonly Shown[], selected: ReadonlySet<string>): Shown[] {
  const known = new Map(before.map((node) => [node.id, node]));
  const ids = new Set(drawing.nodes.map((node) => node.id));
  const shown = drawing.nodes.map((node) => {
    const old = known.get(node.id);
    const { sources, targets } = otherHandles(drawing, node);
    const chosen = selected.has(node.id);
    if (old && old.data.node === node && !!old.selected === chosen && sameHandles(old, sources, targets)) return old;
    return {
      id: node.id,
      type: node.type,
      position: node.position,
      data: { node, sources, targets },
      selected: chosen,
      ...(node.parentNode && ids.has(node.parentNode) && { parentId: node.parentNode, extent: "parent" as const }),
      ...(SIZED.has(node.type) && sizeOf(node)),
      ...(node.type === ITERATION && { zIndex: -1 }),
      ...(old?.measured && { measured: old.measured }),
    } satisfies Shown;
  });
  return shown.sort((one, other) => Number(!!one.parentId) - Number(!!other.parentId));
}

const sameHandles = (old: Shown, sources: string[], targets: string[]) =>
  old.data.sources.join() === sources.join() && old.data.targets.join() === targets.join();

const sizeOf = ({ style, width, height }: FlowNode) => ({
  width: style?.width ?? width ?? 240,
  height: style?.height ?? height ?? 140,
});

/** The edges to show: those whose nodes are there, each once. */
export function shownEdges(drawing: Drawing, before: readonly Edge[]): Edge[] {
  const ids = new Set(drawing.nodes.map((node) => node.id));
  const selected = new Set(before.filter((edge) => edge.selected).map((edge) => edge.id));
  const once = new Map(drawing.edges.map((edge) => [edge.id, edge]));
  return [...once.values()]
    .filter((edge) => ids.has(edge.source) && ids.has(edge.target))
    .map((edge) => ({
      id: edge.id,
      source: edge.source,
      target: edge.target,
      sourceHandle: edge.sourceHandle ?? null,
      targetHandle: edge.targetHandle ?? null,
      label: labelOf(edge),
      selected: selected.has(edge.id),
      ...(edge.zIndex !== undefined && { zIndex: Number(edge.zIndex) }),
    }));
}

const labelOf = (edge: FlowEdge) => edge.data?.edgeLabel || edge.data?.label || undefined;
