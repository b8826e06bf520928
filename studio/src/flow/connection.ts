/** Connections: which fit, and the references that they leave in the inputs of their targets. */

import {
  type Anchor,
  type Drawing,
  edgeId,
  type FlowEdge,
  type FlowNode,
  isStep,
  labelOf,
  NOTE,
  nodeOf,
  withData,
  withInputs,
} from "./drawing";

/** What a person draws: from an output's handle to an input's. */
export interface Connection {
  source: string;
  sourceHandle: string | null;
  target: string;
  targetHandle: string | null;
}

/** Why a connection does not fit; "" for one that does. */
export function refusal(drawing: Drawing, wanted: Connection): string {
  const [source, target] = [nodeOf(drawing, wanted.source), nodeOf(drawing, wanted.target)];
  if (!source || !target) return "One of the nodes is not there any more.";
  if (source === target) return "A node cannot be connected to itself.";
  if (drawing.edges.some((edge) => same(edge, wanted))) return "They are connected already.";
  if (leadsTo(drawing, target.id, source.id))
    return `${labelOf(target)} already leads to ${labelOf(source)}: that would be a circle. Use a Loop node to go back.`;
  return isStep(source) || isStep(target) ? stepRefusal(source, target) : typeRefusal(drawing, wanted, target);
}

function stepRefusal(source: FlowNode, target: FlowNode): string {
  if (source.type === NOTE || target.type === NOTE) return "Notes are not connected.";
  if (target.data.hideInput) return `${labelOf(target)} is where the flow begins: nothing leads to it.`;
  if (source.parentNode !== target.parentNode) return "An arrow cannot cross the border of an iteration.";
  return "";
}

function typeRefusal(drawing: Drawing, wanted: Connection, target: FlowNode): string {
  const anchor = anchorOf(target, wanted.targetHandle);
  if (!anchor) return `${labelOf(target)} has no such input.`;
  const [offers, takes] = [offered(wanted.sourceHandle), accepted(anchor)];
  if (!offers.some((name) => takes.includes(name)))
    return `${anchor.label} takes ${takes.join(" or ")}, and this is ${offers.join(", ") || "nothing of a known type"}.`;
  const taken = drawing.edges.some((edge) => edge.target === target.id && edge.targetHandle === anchor.id);
  return taken && !anchor.list ? `${anchor.label} takes one connection, and it has one: remove that first.` : "";
}

/** The classes that an output's handle says it is. */
const offered = (handle: string | null) => split(handle?.split("-").at(-1) ?? "");

/** The classes that fit an input. */
const accepted = (anchor: Anchor) => split(anchor.type);

const split = (classes: string) =>
  classes
    .split("|")
    .map((name) => name.trim())
    .filter(Boolean);

export const anchorOf = (node: FlowNode, handle?: string | null): Anchor | undefined =>
  node.data.inputAnchors?.find((anchor) => anchor.id === handle);

/** True when an output may be connected to this input by its type. */
export const fits = (handle: string | null, anchor: Anchor): boolean =>
  offered(handle).some((name) => accepted(anchor).includes(name));

const same = (edge: FlowEdge, wanted: Connection) =>
  edge.source === wanted.source &&
  edge.target === wanted.target &&
  edge.sourceHandle === wanted.sourceHandle &&
  edge.targetHandle === wanted.targetHandle;

function leadsTo(drawing: Drawing, from: string, to: string): boolean {
  const seen = new Set([from]);
  const next = [from];
  for (let id = next.pop(); id !== undefined; id = next.pop()) {
    if (id === to) return true;
    for (const edge of drawing.edges)
      if (edge.source === id && !seen.has(edge.target)) {
        seen.add(edge.target);
        next.push(edge.target);
      }
  }
  return false;
}

export const reference = (id: string) => `{{${id}.data.instance}}`;

/** The drawing with the connection. */
export function connected(drawing: Drawing, wanted: Connection): Drawing {
  const [source, target] = [nodeOf(drawing, wanted.source), nodeOf(drawing, wanted.target)];
  if (!source || !target) return drawing;
  const id = edgeId(wanted);
  if (isStep(source)) return { ...drawing, edges: [...drawing.edges, arrow(id, wanted, source, target)] };
  const next = { ...drawing, edges: [...drawing.edges, { ...wanted, type: "buttonedge", id }] };
  const anchor = anchorOf(target, wanted.targetHandle);
  if (!anchor) return next;
  const before = target.data.inputs?.[anchor.name];
  const value = anchor.list ? [...(Array.isArray(before) ? before : []), reference(source.id)] : reference(source.id);
  return withInputs(next, target.id, { [anchor.name]: value });
}

function arrow(id: string, wanted: Connection, source: FlowNode, target: FlowNode): FlowEdge {
  const number = /-output-(\d+)$/.exec(wanted.sourceHandle ?? "")?.[1];
  const human = source.data.name === "humanInputAgentflow";
  const label = human ? (number === "0" ? "proceed" : "reject") : number;
  const data = {
    sourceColor: source.data.color,
    targetColor: target.data.color,
    ...(label !== undefined && { edgeLabel: label }),
    isHumanInput: human,
  };
  return { ...wanted, id, type: "agentFlow", data, ...(source.parentNode && { zIndex: 9999 }) };
}

/** The drawing without these edges, and without the references that they left. */
export function disconnected(drawing: Drawing, ids: ReadonlySet<string>): Drawing {
  const gone = drawing.edges.filter((edge) => ids.has(edge.id));
  if (!gone.length) return drawing;
  return gone.reduce(unreferenced, { ...drawing, edges: drawing.edges.filter((edge) => !ids.has(edge.id)) });
}

function unreferenced(drawing: Drawing, edge: FlowEdge): Drawing {
  const target = nodeOf(drawing, edge.target);
  const anchor = target && anchorOf(target, edge.targetHandle);
  if (!anchor) return drawing;
  const value = target.data.inputs?.[anchor.name];
  const rest = Array.isArray(value) ? value.filter((item) => item !== reference(edge.source)) : "";
  return withInputs(drawing, target.id, { [anchor.name]: rest });
}

/** The drawing without these nodes, what is inside of them, and their connections. */
export function removed(drawing: Drawing, ids: ReadonlySet<string>): Drawing {
  const gone = (node: FlowNode) => ids.has(node.id) || (node.parentNode !== undefined && ids.has(node.parentNode));
  const all = new Set(drawing.nodes.filter(gone).map((node) => node.id));
  const edges = drawing.edges.filter((edge) => all.has(edge.source) || all.has(edge.target));
  const rest = disconnected(drawing, new Set(edges.map((edge) => edge.id)));
  return { ...rest, nodes: rest.nodes.filter((node) => !all.has(node.id)) };
}

/** The drawing with another of a node's outputs chosen; connections from the former one go. */
export function withOutput(drawing: Drawing, id: string, name: string): Drawing {
  const edges = drawing.edges.filter((edge) => edge.source === id).map((edge) => edge.id);
  return withData(disconnected(drawing, new Set(edges)), id, { outputs: { output: name } });
}
