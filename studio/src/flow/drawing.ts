/** A flow's drawing: the nodes and edges of a flow file. Fields that the studio does not know stay as they are. */

export interface Position {
  x: number;
  y: number;
}

/** An input of a node that takes a value, in the words of flow files. */
export interface Input {
  id?: string;
  name: string;
  label: string;
  type: string;
  description?: string;
  placeholder?: string;
  optional?: boolean;
  default?: unknown;
  options?: readonly (Choice | string)[];
  additionalParams?: boolean;
  list?: boolean;
  acceptVariable?: boolean;
  loadMethod?: string;
  fileType?: string;
  rows?: number;
  step?: number;
  array?: readonly Input[];
  show?: Rules;
  hide?: Rules;
  credentialNames?: readonly string[];
}

/** Values that other inputs must have; texts are patterns. */
export type Rules = Readonly<Record<string, unknown>>;

export interface Choice {
  name: string;
  label: string;
  description?: string;
}

/** An input that another node is connected to. `type` names the classes that fit, with ` | ` between them. */
export interface Anchor {
  id: string;
  name: string;
  label: string;
  type: string;
  description?: string;
  optional?: boolean;
  list?: boolean;
  show?: Rules;
  hide?: Rules;
}

/** An output; one with `options` is what the node's author has chosen among them. */
export interface OutputAnchor {
  id?: string;
  name: string;
  label: string;
  type?: string;
  description?: string;
  options?: readonly OutputAnchor[];
  default?: string;
}

export interface NodeData {
  id: string;
  name: string;
  label: string;
  version?: number;
  type?: string;
  category?: string;
  description?: string;
  color?: string;
  hideInput?: boolean;
  hideOutput?: boolean;
  baseClasses?: readonly string[];
  inputParams?: readonly Input[];
  inputAnchors?: readonly Anchor[];
  inputs?: Values;
  outputAnchors?: readonly OutputAnchor[];
  outputs?: Readonly<Record<string, unknown>>;
  credential?: string;
  [more: string]: unknown;
}

export type Values = Readonly<Record<string, unknown>>;

export interface FlowNode {
  id: string;
  type: string;
  position: Position;
  positionAbsolute?: Position;
  parentNode?: string;
  extent?: string;
  width?: number;
  height?: number;
  style?: { width?: number; height?: number };
  data: NodeData;
  [more: string]: unknown;
}

export interface FlowEdge {
  id: string;
  source: string;
  sourceHandle?: string | null;
  target: string;
  targetHandle?: string | null;
  type?: string;
  data?: { edgeLabel?: string; label?: string; [more: string]: unknown };
  [more: string]: unknown;
}

export interface Drawing {
  nodes: readonly FlowNode[];
  edges: readonly FlowEdge[];
  [more: string]: unknown;
}

/** Chatflows connect parts; agent flows are steps with arrows. */
export type FlowType = "CHATFLOW" | "AGENTFLOW" | "MULTIAGENT" | "ASSISTANT";

export const NOTE = "stickyNote"; // the type of notes, which belong to no flow of values
export const ITERATION = "iteration";

/**
 * Reads a flow's `flowData`. What a file that was written by hand may lack is made: places of nodes, ids of edges.
 * Throws an Error for what is no drawing.
 */
export function readDrawing(text: string): Drawing {
  const found = JSON.parse(text);
  if (!Array.isArray(found?.nodes) || !Array.isArray(found.edges)) throw new Error("the flow has no nodes and edges");
  const placed = (node: FlowNode, at: number) => (node.position ? node : { ...node, position: { x: 0, y: 160 * at } });
  const named = (edge: FlowEdge) => (edge.id ? edge : { ...edge, id: edgeId(edge) });
  return { ...found, nodes: found.nodes.map(placed), edges: found.edges.map(named) };
}

type Ends = Pick<FlowEdge, "source" | "sourceHandle" | "target" | "targetHandle">;

/** The id of a connection, as builders make it. */
export const edgeId = ({ source, sourceHandle, target, targetHandle }: Ends): string =>
  `${source}-${sourceHandle}-${target}-${targetHandle}`;

export const writeDrawing = (drawing: Drawing): string => JSON.stringify(drawing);

export const isAgentFlow = (type: FlowType): boolean => type === "AGENTFLOW";

/** Steps of agent flows are connected by arrows; parts of chatflows by what they give each other. */
export const isStep = (node: FlowNode): boolean => node.type === "agentFlow" || node.type === ITERATION;

export const labelOf = (node: FlowNode): string => node.data.label || node.data.name || node.id;

export function nodeOf(drawing: Drawing, id: string): FlowNode | undefined {
  return drawing.nodes.find((node) => node.id === id);
}

/** The drawing with some of its nodes replaced by what `change` makes of them. */
export function withNodes(drawing: Drawing, change: (node: FlowNode) => FlowNode): Drawing {
  return { ...drawing, nodes: drawing.nodes.map(change) };
}

/** The drawing with other values of a node's data. */
export function withData(drawing: Drawing, id: string, data: Partial<NodeData>): Drawing {
  return withNodes(drawing, (node) => (node.id === id ? { ...node, data: { ...node.data, ...data } } : node));
}

/** The drawing with other values of some of a node's inputs. */
export function withInputs(drawing: Drawing, id: string, changes: Values): Drawing {
  return withData(drawing, id, { inputs: { ...nodeOf(drawing, id)?.data.inputs, ...changes } });
}

/** The drawing with nodes at other places. */
export function withPositions(drawing: Drawing, places: ReadonlyMap<string, Position>): Drawing {
  return withNodes(drawing, (node) => {
    const place = places.get(node.id);
    if (!place || (place.x === node.position.x && place.y === node.position.y)) return node;
    const moved = { x: place.x - node.position.x, y: place.y - node.position.y };
    const absolute = node.positionAbsolute;
    return {
      ...node,
      position: { x: place.x, y: place.y },
      ...(absolute && { positionAbsolute: { x: absolute.x + moved.x, y: absolute.y + moved.y } }),
    };
  });
}
