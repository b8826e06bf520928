/** The node types of the server, as `GET /api/v1/nodes` describes them, for the palette. */

import { type FlowType, type Input, isAgentFlow, NOTE } from "./drawing";

export interface NodeKind {
  name: string;
  label: string;
  version: number;
  type: string;
  category: string;
  icon?: string;
  description: string;
  baseClasses: readonly string[];
  inputs: readonly Input[];
  outputs?: readonly { name: string; label: string; baseClasses?: readonly string[] }[];
  credential?: Input;
  color?: string;
  hideInput?: boolean;
}

export interface Category {
  name: string;
  kinds: readonly NodeKind[];
}

const AGENT_FLOWS = "Agent Flows";

/** The kind of notes, which only pages know. */
function noteKind(agents: boolean): NodeKind {
  const name = agents ? "stickyNoteAgentflow" : NOTE;
  return {
    name,
    label: "Sticky Note",
    version: 1,
    type: "StickyNote",
    category: agents ? AGENT_FLOWS : "Utilities",
    description: "A text on the canvas, for people",
    baseClasses: ["StickyNote"],
    inputs: [{ name: "note", label: "", type: "string", optional: true, placeholder: "Write a note" }],
    ...(agents && { color: "#fee440" }),
  };
}

/** The kinds that a flow of this type is drawn with. */
export function kindsFor(kinds: readonly NodeKind[], type: FlowType): NodeKind[] {
  const agents = isAgentFlow(type);
  const found = kinds.filter((kind) => (kind.category === AGENT_FLOWS) === agents);
  return [...found, noteKind(agents)];
}

/** The kinds that have every word, by category: those that are called so first, those that only say so last. */
export function searched(kinds: readonly NodeKind[], text: string): Category[] {
  const ranked = kinds.map((kind) => ({ kind, rank: rankOf(kind, text.trim().toLowerCase()) }));
  const found = ranked.filter(({ rank }) => rank < NOT_FOUND).sort((one, other) => one.rank - other.rank);
  const groups = new Map<string, NodeKind[]>();
  for (const { kind } of found) groups.set(kind.category, [...(groups.get(kind.category) ?? []), kind]);
  return [...groups].map(([name, members]) => ({ name, kinds: members }));
}

const NOT_FOUND = 4;

function rankOf(kind: NodeKind, text: string): number {
  const names = [kind.label, kind.name].map((name) => name.toLowerCase());
  const has = (said: string) => text.split(/\s+/).every((word) => said.toLowerCase().includes(word));
  if (names.includes(text)) return 0;
  if (names.some((name) => name.startsWith(text))) return 1;
  if (has(`${kind.label} ${kind.name} ${kind.category}`)) return 2;
  return has(`${kind.label} ${kind.description}`) ? 3 : NOT_FOUND;
}

/** The colour of a category in chatflows, where nodes have none of their own: the server's formula. */
export function colorOf(category: string): string {
  let sum = 0;
  for (let at = 0; at < category.length; at++) sum += category.charCodeAt(at) * (at + 7);
  return `hsl(${(sum * 47) % 360}, 45%, 40%)`;
}
