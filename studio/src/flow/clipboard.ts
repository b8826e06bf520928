/** Parts of drawings as text, for the clipboard: they can be pasted into another tab, and into another server's page. */

import { freeId } from "./creation";
import type { Drawing, FlowEdge, FlowNode, Position } from "./drawing";

interface Part {
  nodes: FlowNode[];
  edges: FlowEdge[];
}

const STEP = 40; // pixels that a copy is beside what it was copied of

/** These nodes with the edges between them, as text. */
export function copied(drawing: Drawing, ids: ReadonlySet<string>): string {
  const nodes = drawing.nodes.filter((node) => ids.has(node.id) || (node.parentNode && ids.has(node.parentNode)));
  const inside = new Set(nodes.map((node) => node.id));
  const edges = drawing.edges.filter((edge) => inside.has(edge.source) && inside.has(edge.target));
  return JSON.stringify({ nodes, edges } satisfies Part);
}

/** The drawing with what the text holds, under ids of its own, and these ids; undefined for a text that holds no nodes. */
export function pasted(drawing: Drawing, text: string): { drawing: Drawing; ids: string[] } | undefined {
  const part = partOf(text);
  if (!part) return undefined;
  const ids = new Map<string, string>();
  const known = { ...drawing, nodes: [...drawing.nodes] };
  for (const node of part.nodes) {
    const id = freeId(known, node.data.name);
    ids.set(node.id, id);
    known.nodes.push({ ...node, id });
  }
  const renamed = renaming(ids);
  const nodes = part.nodes.map((node) => beside(renamed(node), ids.has(node.parentNode ?? "")));
  const edges = part.edges.map(renamed);
  return {
    drawing: { ...drawing, nodes: [...drawing.nodes, ...nodes], edges: [...drawing.edges, ...edges] },
    ids: [...ids.values()],
  };
}

function partOf(text: string): Part | undefined {
  try {
    const found = JSON.parse(text);
    const whole = Array.isArray(found?.nodes) && Array.isArray(found.edges);
    return whole && found.nodes.every((node: FlowNode) => node.id && node.position && node.data?.name) && found;
  } catch {
    return undefined;
  }
}

/** Puts the new ids wherever the old ones stand: ids, handles, references within texts. */
function renaming(ids: ReadonlyMap<string, string>): <T>(value: T) => T {
  const names = [...ids.keys()].sort((one, other) => other.length - one.length).map(escaped);
  const pattern = new RegExp(`(?<![A-Za-z0-9_])(?:${names.join("|")})(?![A-Za-z0-9_])`, "g");
  const put = (value: unknown): unknown => {
    if (typeof value === "string") return value.replace(pattern, (id) => ids.get(id) ?? id);
    if (Array.isArray(value)) return value.map(put);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, put(item)]));
  };
  return <T>(value: T) => put(value) as T;
}

function escaped(text: string): string {
  return text.replace(/[^A-Za-z0-9_]/g, "\\$&");
}

const moved = ({ x, y }: Position) => ({ x: x + STEP, y: y + STEP });

/** Beside the original; what is inside of another copied node moves with that. */
function beside(node: FlowNode, inside: boolean): FlowNode {
  const { parentNode, extent, ...free } = node;
  if (inside) return node;
  const at = node.positionAbsolute ?? node.position;
  return { ...free, position: moved(at), ...(node.positionAbsolute && { positionAbsolute: moved(at) }) };
}
