/** Which inputs of a node are shown: those whose rules hold for the other inputs' values. */

import type { Rules, Values } from "./drawing";

interface Ruled {
  show?: Rules;
  hide?: Rules;
}

/** Whether an input is shown. In rules `$index` stands for the number of the item that the input belongs to. */
export function isShown(input: Ruled, values: Values, index?: number): boolean {
  const holds = ([path, wanted]: [string, unknown]) => matches(valueAt(values, path, index), wanted);
  const hidden = Object.entries(input.hide ?? {});
  return Object.entries(input.show ?? {}).every(holds) && !(hidden.length && hidden.every(holds));
}

function valueAt(values: Values, path: string, index?: number): unknown {
  const steps = path.replace("[$index]", index === undefined ? "" : `.${index}`).split(".");
  return steps.reduce<unknown>((value, step) => (value as Values | undefined)?.[step], values);
}

function matches(value: unknown, wanted: unknown): boolean {
  if (Array.isArray(wanted)) return wanted.some((one) => matches(value, one));
  if (Array.isArray(value)) return value.some((one) => matches(one, wanted));
  if (typeof wanted !== "string") return value === wanted;
  const said = String(value ?? "");
  if (said === wanted) return true;
  try {
    return new RegExp(wanted).test(said);
  } catch {
    return false; // a text that is no pattern
  }
}
