/** How the client reads an answer, without I/O: from bytes to events, and on when a connection breaks. */
import type { HeadraceError } from "./errors.js";
import type { HeadraceEvent, Prediction, Shape } from "./events.js";
import type { Ask, Server } from "./request.js";
import { type Chunk } from "./wire.js";
/** One answer as it comes in, over as many connections as it takes. */
export declare class ResponseReader {
    #private;
    runId: string | undefined;
    lastEventId: string | undefined;
    /** Whether the answer has come whole. */
    arrived: boolean;
    constructor(server: Server, ask: Ask);
    /** What to send next: once the run is known, never the question itself but what is missing of its stream. */
    request(): Ask;
    /** The error that an error status stands for. */
    refused(response: Response, text: string, request: Ask): HeadraceError;
    /** Takes the headers of a success. */
    begin(headers: Headers): void;
    /**
     * The chunks that `data` completes, without those that came before; none when the answer is no stream.
     *
     * A chunk counts as received when it is taken, so what a failure leaves over comes with the next connection.
     */
    feed(data: Uint8Array): Generator<Chunk, void>;
    /** Takes notice that no byte will follow. Throws when the stream is not whole. */
    finish(): void;
    /** The error for a failure to move bytes. */
    failed(reason: string, silent: boolean, cause: unknown): HeadraceError;
    /** Milliseconds to wait before the next request. Throws the error when there shall be none. */
    pause(error: HeadraceError): number;
    /** The chunk's event, which now counts as read. */
    event(chunk: Chunk): HeadraceEvent;
    /** The shortest stream that an answer which came as JSON amounts to; nothing when it was a stream. */
    unfolded(): Generator<Chunk, void>;
    /** The whole answer. Throws the error of the stream's `error` event, and when the stream was not read to its end. */
    result(): Prediction;
    /** The JSON answer. Throws when it is something else, or does not have the shape. */
    decoded<T>(shape: Shape): T;
}
