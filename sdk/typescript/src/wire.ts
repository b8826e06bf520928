/** From the wire's JSON to typed values: what does not have the expected fields is not passed off as if it had. */

import { EVENTS, type Fields, type HeadraceEvent, type Shape } from "./events.js";
import type { ServerSentEvent } from "./sse.js";

/** An event as it came over the wire, without a look at its payload. */
export interface Chunk {
  /** Its kind, such as "token". */
  event: string;
  /** Its payload: the text of a `token`, an object or a list for others. */
  // biome-ignore lint/suspicious/noExplicitAny: the documented clients' users read the fields of payloads unasked
  data: any;
  /** Its id in the stream, `<run>:<number>`, if it has one. Not enumerable: a chunk prints as `{ event, data }`. */
  readonly id?: string;
}

/** An object that came as JSON. */
export type Json = Record<string, unknown>;

const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The JSON object in a text. Throws when it is something else. */
export function object(text: string): Json {
  const value: unknown = JSON.parse(text);
  if (!isObject(value)) throw new Error("it is no JSON object");
  return value;
}

/** The chunk that a frame holds, in either dialect. Throws when it holds none. */
export function chunkOf(frame: ServerSentEvent): Chunk {
  const chunk = frame.event === "message" ? object(frame.data) : named(frame);
  if (typeof chunk.event !== "string") throw new Error("an event needs a text `event`");
  if (frame.id) Object.defineProperty(chunk, "id", { value: frame.id });
  return chunk as unknown as Chunk;
}

/** The event of a frame that names it: texts come as they are, all else as JSON. */
function named({ event, data }: ServerSentEvent): Json {
  const shape = Object.hasOwn(EVENTS, event) ? EVENTS[event]?.data : "unknown";
  const structured = typeof shape === "object" ? shape[0] !== "optional" : shape === "object";
  if (!structured) return { event, data };
  try {
    return { event, data: JSON.parse(data) };
  } catch {
    return { event, data }; // not the payload that this version knows
  }
}

/** The chunk's event; `unknown` when its kind or its payload is not known. */
export function eventOf(chunk: Chunk): HeadraceEvent {
  const kind = chunk.event;
  const fields = chunk as unknown as Json;
  if (Object.hasOwn(EVENTS, kind) && !misfit(fields, EVENTS[kind] as Fields)) return fields as unknown as HeadraceEvent;
  return { event: "unknown", kind, data: chunk.data, fields };
}

/**
 * Where a value differs from its shape, as a path; undefined when it fits.
 *
 * In a value that fits, what is null for absent is left out, and defaults are filled in; another one stays as it is.
 */
export function misfit(value: unknown, shape: Shape): string | undefined {
  const edits: (() => void)[] = [];
  const path = differs(value, shape, "$", edits);
  if (path === undefined) for (const edit of edits) edit();
  return path;
}

function differs(value: unknown, shape: Shape, path: string, edits: (() => void)[]): string | undefined {
  if (shape === "unknown") return undefined;
  if (shape === "object") return isObject(value) ? undefined : path;
  if (shape === "integer") return Number.isInteger(value) ? undefined : path;
  if (typeof shape === "string") return typeof value === shape ? undefined : path;
  if (isList(shape)) {
    if (!Array.isArray(value)) return path;
    return first(value.map((item, at) => differs(item, shape[1], `${path}[${at}]`, edits)));
  }
  if (!isObject(value)) return path;
  return first(Object.entries(shape).map(([name, field]) => differsIn(value, name, field, `${path}.${name}`, edits)));
}

function differsIn(record: Json, name: string, field: Fields[string], path: string, edits: (() => void)[]) {
  const optional = Array.isArray(field) && field[0] === "optional";
  if (!optional) return Object.hasOwn(record, name) ? differs(record[name], field as Shape, path, edits) : path;
  const absent = record[name] === undefined || (record[name] === null && field[2] === undefined);
  if (!absent) return differs(record[name], field[1], path, edits);
  edits.push(() => {
    if (field[2] === undefined) delete record[name];
    else record[name] = structuredClone(field[2]);
  });
  return undefined;
}

const isList = (shape: Shape): shape is readonly ["list", Shape] => Array.isArray(shape);

const first = (paths: (string | undefined)[]) => paths.find((path) => path !== undefined);
