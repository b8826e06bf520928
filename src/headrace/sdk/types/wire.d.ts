/** From the wire's JSON to typed values: what does not have the expected fields is not passed off as if it had. */
import { type HeadraceEvent, type Shape } from "./events.js";
import type { ServerSentEvent } from "./sse.js";
/** An event as it came over the wire, without a look at its payload. */
export interface Chunk {
    /** Its kind, such as "token". */
    event: string;
    /** Its payload: the text of a `token`, an object or a list for others. */
    data: any;
    /** Its id in the stream, `<run>:<number>`, if it has one. Not enumerable: a chunk prints as `{ event, data }`. */
    readonly id?: string;
}
/** An object that came as JSON. */
export type Json = Record<string, unknown>;
/** The JSON object in a text. Throws when it is something else. */
export declare function object(text: string): Json;
/** The chunk that a frame holds, in either dialect. Throws when it holds none. */
export declare function chunkOf(frame: ServerSentEvent): Chunk;
/** The chunk's event; `unknown` when its kind or its payload is not known. */
export declare function eventOf(chunk: Chunk): HeadraceEvent;
/**
 * Where a value differs from its shape, as a path; undefined when it fits.
 *
 * In a value that fits, what is null for absent is left out, and defaults are filled in; another one stays as it is.
 */
export declare function misfit(value: unknown, shape: Shape): string | undefined;
