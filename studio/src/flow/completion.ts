/** Completes flows that were written by hand: what their nodes leave out is what a new node of their type has. */

import { anchorOf, reference } from "./connection";
import { created } from "./creation";
import { type Drawing, edgeId, type FlowEdge, type FlowNode, type FlowType, NOTE, nodeOf } from "./drawing";
import type { NodeKind } from "./kinds";
import { outputsOf } from "./outputs";

/** The drawing with inputs, outputs and handles; what it says itself stays. */
export function completed(drawing: Drawing, type: FlowType, kinds: ReadonlyMap<string, NodeKind>): Drawing {
  const empty = { ...drawing, nodes: [] };
  const nodes = drawing.nodes.map((node) => {
    const kind = kinds.get(node.data.name);
    if (!kind || node.data.inputParams || node.type === NOTE) return node;
    const { data } = created(kind, empty, type, node.position);
    return { ...node, data: { ...renamed(data, data.id, node.id), ...node.data } };
  });
  const whole = { ...drawing, nodes };
  return { ...whole, edges: drawing.edges.map((edge) => withHandles(whole, edge)) };
}

/** The data of a new node under the id that the node has. */
function renamed(data: FlowNode["data"], from: string, to: string): FlowNode["data"] {
  return JSON.parse(JSON.stringify(data).replaceAll(`"${from}`, `"${to}`));
}

/** An edge of a chatflow with the handles that its target's reference means. */
function withHandles(drawing: Drawing, edge: FlowEdge): FlowEdge {
  const [source, target] = [nodeOf(drawing, edge.source), nodeOf(drawing, edge.target)];
  if (edge.targetHandle || source?.type !== "customNode" || !target) return edge;
  const anchor = target.data.inputAnchors?.find((one) =>
    JSON.stringify(target.data.inputs?.[one.name] ?? "").includes(reference(edge.source)),
  );
  const sourceHandle = outputsOf(source)[0]?.id;
  if (!anchorOf(target, anchor?.id) || !sourceHandle) return edge;
  const whole = { ...edge, sourceHandle, targetHandle: anchor?.id, type: "buttonedge" };
  return { ...whole, id: edgeId(whole) };
}
