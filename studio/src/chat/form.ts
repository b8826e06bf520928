/** The form of an agent flow's Start node. */

import type { Drawing, Values } from "../flow/drawing";
import { listOf } from "../flow/values";

export interface FormField {
  type: string;
  name: string;
  label: string;
  options: readonly string[];
}

/** The title and the fields; undefined for a flow that begins with a question. */
export function formOf(drawing: Drawing): { title: string; fields: readonly FormField[] } | undefined {
  const inputs = drawing.nodes.find((node) => node.data.name === "startAgentflow")?.data.inputs;
  if (inputs?.startInputType !== "formInput") return undefined;
  const fields = listOf<Values>(inputs.formInputTypes).map((item) => ({
    type: String(item.type ?? "string"),
    name: String(item.name ?? ""),
    label: String(item.label ?? ""),
    options: listOf<Values>(item.addOptions).map((one) => String(one.option)),
  }));
  return { title: String(inputs.formTitle ?? ""), fields: fields.filter((field) => field.name) };
}

/** What is sent: numbers as numbers, and false where nothing is ticked. */
export function filled(
  fields: readonly FormField[],
  values: Readonly<Record<string, string | boolean>>,
): Record<string, unknown> {
  return Object.fromEntries(
    fields.map(({ name, type }) => {
      const value = values[name] ?? (type === "boolean" ? false : "");
      return [name, type === "number" && value !== "" ? Number(value) : value];
    }),
  );
}
