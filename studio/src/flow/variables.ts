/** What a text of a node can refer to: the question, state, form fields, variables, and what earlier nodes give. */

import { type Drawing, type FlowNode, type FlowType, isAgentFlow, labelOf, nodeOf, type Values } from "./drawing";
import { listOf } from "./values";

export interface Variable {
  /** What stands in the text, without its braces. */
  name: string;
  label: string;
}

/** The nodes from which arrows lead to this one, and to the iteration that it is in; nearest first. */
export function before(drawing: Drawing, id: string): FlowNode[] {
  const found = new Set<string>();
  const next = [id, nodeOf(drawing, id)?.parentNode ?? ""];
  for (let at = 0; at < next.length; at++)
    for (const edge of drawing.edges)
      if (edge.target === next[at] && !found.has(edge.source) && edge.source !== id) {
        found.add(edge.source);
        next.push(edge.source);
      }
  return [...found].map((one) => nodeOf(drawing, one)).filter((node) => node !== undefined);
}

/** The variables for a node's texts; `stored` are the names of the server's own. */
export function variablesFor(drawing: Drawing, type: FlowType, node: FlowNode, stored: readonly string[]): Variable[] {
  const vars = stored.map((name) => ({ name: `$vars.${name}`, label: "Variable of the server" }));
  const common = [
    { name: "question", label: "What the person asks" },
    { name: "chat_history", label: "What was said before" },
    { name: "file_attachment", label: "Texts of attached files" },
  ];
  if (!isAgentFlow(type)) {
    const others = drawing.nodes.filter((other) => other.id !== node.id && other.type === "customNode");
    const outputs = others.map((other) => ({
      name: `${other.id}.data.instance`,
      label: `Output of ${labelOf(other)}`,
    }));
    return [...common, ...outputs, ...vars];
  }
  const start = drawing.nodes.find((one) => one.data.name === "startAgentflow")?.data.inputs ?? {};
  return [
    ...common,
    ...before(drawing, node.id).map((one) => ({ name: one.id, label: `Output of ${labelOf(one)}` })),
    ...(node.parentNode ? [{ name: "$iteration", label: "The item of the iteration" }] : []),
    ...keys(start.startState, "key").map((key) => ({ name: `$flow.state.${key}`, label: "State of the flow" })),
    ...keys(start.formInputTypes, "name").map((key) => ({ name: `$form.${key}`, label: "Field of the form" })),
    { name: "$flow.sessionId", label: "The session" },
    { name: "current_date_time", label: "Date and time" },
    ...vars,
  ];
}

function keys(list: unknown, name: string): string[] {
  return listOf<Values>(list)
    .map((item) => String(item[name] ?? ""))
    .filter(Boolean);
}
