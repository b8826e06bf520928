/** Moves the bytes of an answer, and connects again when the connection breaks; what to do says response.ts. */
import { type HeadraceEvent, type RunInfo, type Shape } from "./events.js";
import type { Ask, Server } from "./request.js";
import { ResponseReader } from "./response.js";
import type { Chunk } from "./wire.js";
/** One answer, over as many connections as it takes. */
export declare class Call {
    #private;
    readonly answer: ResponseReader;
    constructor(fetch: typeof globalThis.fetch, server: Server, ask: Ask);
    /** Sends the request, unless its answer has begun. Resolves when the answer's headers are there. */
    open(): Promise<Response>;
    /** The stream, chunk by chunk, however often the connection breaks, or what a JSON answer to it amounts to. */
    chunks(): AsyncGenerator<Chunk, void>;
    /** The answer's events. */
    events(): AsyncGenerator<HeadraceEvent, void>;
    /** The JSON answer. */
    json<T>(shape: Shape): Promise<T>;
    /** Ends the run that the answer comes from. */
    cancel(): Promise<RunInfo>;
    /** Closes the connection, for good. */
    close(reason?: unknown): void;
}
