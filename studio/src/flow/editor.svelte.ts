/** The drawing that is worked on: every change is one step that can be undone, without limit. */

import { SvelteMap } from "svelte/reactivity";
import { branchesOf } from "./branches";
import { copied, pasted } from "./clipboard";
import { type Connection, connected, disconnected, refusal, removed, withOutput } from "./connection";
import { created } from "./creation";
import {
  type Drawing,
  type FlowNode,
  type FlowType,
  isAgentFlow,
  nodeOf,
  type Position,
  type Values,
  withData,
  withInputs,
  withNodes,
  withPositions,
} from "./drawing";
import type { NodeKind } from "./kinds";
import type { Size } from "./layout";

/** What a try shows of a node. */
export type Light = "running" | "done" | "failed" | "waiting";

/** Something that keeps the flow from answering, or a warning. */
export interface Finding {
  node: string;
  label: string;
  input: string;
  stops: boolean;
  message: string;
}

/** What an agent flow tells of a node that has run. */
export interface Trace {
  nodeId: string;
  status: string;
  data?: { input?: unknown; output?: unknown; error?: unknown };
}

export class Editor {
  readonly type: FlowType;
  drawing = $state.raw<Drawing>({ nodes: [], edges: [] });
  selected = $state.raw<ReadonlySet<string>>(new Set());
  findings = $state.raw<readonly Finding[]>([]);
  /** What the last try showed, by node. */
  readonly lights = new SvelteMap<string, Light>();
  readonly traces = new SvelteMap<string, Trace>();
  #past = $state.raw<readonly Drawing[]>([]);
  #future = $state.raw<readonly Drawing[]>([]);
  #topic = "";

  constructor(type: FlowType, drawing: Drawing) {
    this.type = type;
    this.drawing = drawing;
  }

  get canUndo(): boolean {
    return this.#past.length > 0;
  }

  get canRedo(): boolean {
    return this.#future.length > 0;
  }

  /** The only selected node; undefined for none and for several. */
  get node(): FlowNode | undefined {
    const [id] = this.selected;
    return this.selected.size === 1 && id ? nodeOf(this.drawing, id) : undefined;
  }

  /** Takes a step. Steps that follow each other on the same topic, such as letters typed in a field, are undone as one. */
  change(next: Drawing, topic = ""): void {
    if (next === this.drawing) return;
    if (!topic || topic !== this.#topic) this.#past = [...this.#past, this.drawing];
    this.#topic = topic;
    this.#future = [];
    this.drawing = next;
  }

  /** Ends the step: what is typed next, in another field, is undone on its own. */
  settle(): void {
    this.#topic = "";
  }

  undo(): void {
    this.#step(this.#past, (past) => {
      this.#past = past;
      this.#future = [...this.#future, this.drawing];
    });
  }

  redo(): void {
    this.#step(this.#future, (future) => {
      this.#future = future;
      this.#past = [...this.#past, this.drawing];
    });
  }

  #step(from: readonly Drawing[], keep: (rest: readonly Drawing[]) => void): void {
    const drawing = from.at(-1);
    if (!drawing) return;
    keep(from.slice(0, -1));
    this.#topic = "";
    this.drawing = drawing;
  }

  select(...ids: string[]): void {
    if (ids.length === this.selected.size && ids.every((id) => this.selected.has(id))) return;
    this.selected = new Set(ids);
  }

  /** Adds a node and selects it; inside of an iteration when one is named. Says why, where a flow cannot have it. */
  add(kind: NodeKind, position: Position, parent?: FlowNode): string {
    if (kind.name === "startAgentflow" && this.drawing.nodes.some((node) => node.data.name === kind.name))
      return "The flow has its Start node already.";
    const node = created(kind, this.drawing, this.type, position);
    const inside = parent && { parentNode: parent.id, extent: "parent" };
    this.change({ ...this.drawing, nodes: [...this.drawing.nodes, { ...node, ...inside }] });
    this.select(node.id);
    return "";
  }

  /** Connects, or says why not. */
  connect(wanted: Connection): string {
    const reason = refusal(this.drawing, wanted);
    if (!reason) this.change(connected(this.drawing, wanted));
    return reason;
  }

  disconnect(...ids: string[]): void {
    this.change(disconnected(this.drawing, new Set(ids)));
  }

  remove(ids: ReadonlySet<string> = this.selected): void {
    if (!ids.size) return;
    this.change(removed(this.drawing, ids));
    this.select();
  }

  move(places: ReadonlyMap<string, Position>, topic = ""): void {
    const next = withPositions(this.drawing, places);
    if (next.nodes.some((node, at) => node !== this.drawing.nodes[at])) this.change(next, topic);
  }

  resize(id: string, position: Position, size: Size): void {
    const next = withNodes(withPositions(this.drawing, new Map([[id, position]])), (node) =>
      node.id === id ? { ...node, ...size, style: { ...node.style, ...size } } : node,
    );
    this.change(next);
  }

  setLabel(id: string, label: string): void {
    this.change(withData(this.drawing, id, { label }), `label ${id}`);
  }

  setInputs(id: string, changes: Values): void {
    const next = withInputs(this.drawing, id, changes);
    const topic = `input ${id} ${Object.keys(changes)}`;
    this.change(isAgentFlow(this.type) ? rebranched(next, id) : next, topic);
  }

  setCredential(id: string, credential: string): void {
    this.change(withData(this.drawing, id, { credential }));
  }

  setOutput(id: string, name: string): void {
    this.change(withOutput(this.drawing, id, name));
  }

  /** What is selected, as text. */
  copy(): string {
    return copied(this.drawing, this.selected);
  }

  /** Adds what the text holds; false when that is no part of a drawing. */
  paste(text: string): boolean {
    const found = pasted(this.drawing, text);
    if (!found) return false;
    this.change(found.drawing);
    this.select(...found.ids);
    return true;
  }
}

/** The drawing with a node's outputs as its inputs have them, and without arrows from outputs that are gone. */
function rebranched(drawing: Drawing, id: string): Drawing {
  const node = nodeOf(drawing, id);
  const branches = node && branchesOf(node.data);
  if (!branches || branches.outputAnchors?.length === node.data.outputAnchors?.length) return drawing;
  const handles = new Set(branches.outputAnchors?.map((anchor) => anchor.id));
  const gone = drawing.edges.filter((edge) => edge.source === id && !handles.has(edge.sourceHandle ?? ""));
  return withData(disconnected(drawing, new Set(gone.map((edge) => edge.id))), id, branches);
}
