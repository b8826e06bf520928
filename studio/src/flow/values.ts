/** Values of inputs that flow files hold as they are, or as JSON texts. */

import type { Values } from "./drawing";

function read(value: unknown): unknown {
  if (typeof value !== "string") return value;
  try {
    return JSON.parse(value);
  } catch {
    return undefined;
  }
}

/** The list; an empty one for what is none. */
export function listOf<Item>(value: unknown): Item[] {
  const found = read(value);
  return Array.isArray(found) ? found : [];
}

/** The object; an empty one for what is none. */
export function recordOf(value: unknown): Values {
  const found = read(value);
  return found !== null && typeof found === "object" && !Array.isArray(found) ? (found as Values) : {};
}
