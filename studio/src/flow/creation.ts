/** New nodes, as flow files have them. */

import { branchesOf } from "./branches";
import {
  type Anchor,
  type Drawing,
  type FlowNode,
  type FlowType,
  type Input,
  ITERATION,
  isAgentFlow,
  NOTE,
  type NodeData,
  type OutputAnchor,
  type Position,
} from "./drawing";
import type { NodeKind } from "./kinds";

const SIZES: Readonly<Record<string, { width: number; height: number }>> = {
  [ITERATION]: { width: 480, height: 260 },
  [NOTE]: { width: 240, height: 140 },
};

/** Types of values are words such as `asyncOptions`; those of connections are names of classes. */
export const isParameter = (input: Input): boolean => /^[a-z]\w*$/.test(input.type);

/** An id that no node of the drawing has: the kind's name and the first free number. */
export function freeId(drawing: Drawing, name: string): string {
  const taken = new Set(drawing.nodes.map((node) => node.id));
  let number = 0;
  while (taken.has(`${name}_${number}`)) number++;
  return `${name}_${number}`;
}

/** A node of this kind with its defaults, for a place on the canvas. */
export function created(kind: NodeKind, drawing: Drawing, type: FlowType, position: Position): FlowNode {
  const id = freeId(drawing, kind.name);
  const data = isAgentFlow(type) ? agentData(kind, id, drawing) : chatData(kind, id);
  const shape = kind.type === "StickyNote" ? NOTE : kind.name === "iterationAgentflow" ? ITERATION : undefined;
  const size = shape && SIZES[shape];
  return {
    id,
    position,
    type: shape ?? (isAgentFlow(type) ? "agentFlow" : "customNode"),
    data,
    ...(size && { ...size, style: size }),
  };
}

function common(kind: NodeKind, id: string): NodeData {
  const every = [...(kind.credential ? [kind.credential] : []), ...kind.inputs];
  const identified = every.map((input) => ({ ...input, id: `${id}-input-${input.name}-${input.type}` }));
  const { name, label, version, type, category, description, baseClasses } = kind;
  return {
    id,
    label,
    version,
    name,
    type,
    category,
    description,
    baseClasses,
    inputParams: identified.filter(isParameter),
    inputAnchors: identified.filter((input) => !isParameter(input)) as Anchor[],
    inputs: defaultsOf(kind.inputs),
    outputAnchors: [],
    outputs: {},
  };
}

/** The values that inputs begin with; "" stands for those that are not set. */
export function defaultsOf(inputs: readonly Input[]): Record<string, unknown> {
  return Object.fromEntries(inputs.map((input) => [input.name, input.default ?? ""]));
}

function chatData(kind: NodeKind, id: string): NodeData {
  const output = (name: string, label: string, classes: readonly string[]): OutputAnchor => ({
    id: `${id}-output-${name}-${classes.join("|")}`,
    name,
    label,
    type: classes.join(" | "),
  });
  const [first] = kind.outputs ?? [];
  if (!first) return { ...common(kind, id), outputAnchors: [output(kind.name, kind.type, kind.baseClasses)] };
  const options = (kind.outputs ?? []).map((one) => output(one.name, one.label, one.baseClasses ?? kind.baseClasses));
  return {
    ...common(kind, id),
    outputAnchors: [{ name: "output", label: "Output", type: "options", options, default: first.name }],
    outputs: { output: first.name },
  };
}

function agentData(kind: NodeKind, id: string, drawing: Drawing): NodeData {
  const data = { ...common(kind, id), color: kind.color ?? "", ...(kind.hideInput && { hideInput: true }) };
  const same = drawing.nodes.filter((node) => node.data.name === kind.name).length;
  const label = kind.name === "startAgentflow" || kind.type === "StickyNote" ? kind.label : `${kind.label} ${same}`;
  return { ...data, label, ...branchesOf({ ...data, label }) };
}
