/** What the client asks, without I/O: requests to a server, and the errors that come back in their place. */
import { type ErrorDetails, type HeadraceError } from "./errors.js";
import type { ContinueFor, ErrorEvent, FileUpload, HistoryMessage, HumanInput, PredictionRequest, Rating } from "./events.js";
/** How a client is set up. Times are in milliseconds; `Infinity` waits for ever. */
export interface HeadraceClientOptions {
    /** Where the server is; http://localhost:3000 when absent. A user and password in it are sent with each request. */
    baseUrl?: string | undefined;
    /** Sent as a bearer token. */
    apiKey?: string | undefined;
    /** In place of the platform's own `fetch`. */
    fetch?: typeof globalThis.fetch | undefined;
    /** Bounds the wait for what is answered at once: all but predictions and streams (30 s). */
    timeout?: number | undefined;
    /** Bounds each silence of a stream, the one before its beginning too; there is a sign of life every 15 s (60 s). */
    idleTimeout?: number | undefined;
    /** Bounds the wait for an answer without streaming, which comes when the run is done (10 min). */
    answerTimeout?: number | undefined;
    /** After so many requests in a row that brought nothing, the error is thrown; 1 never tries again (5). */
    attempts?: number | undefined;
    /** About the first pause between two requests; it doubles up to a minute (500). */
    backoff?: number | undefined;
}
/** What may come with any request. */
export interface CallOptions {
    /** Ends the wait and closes the connection; the run goes on, unless `onDisconnect` says otherwise. */
    signal?: AbortSignal | undefined;
}
/** A file with its bytes and media type: a browser's `File`, or any other Blob that has a name. */
export type NamedBlob = Blob & {
    readonly name: string;
};
/** What may come with a question. */
export interface AskOptions extends CallOptions {
    /** The thread; the server makes one when absent. */
    chatId?: string | null | undefined;
    /** The memory to use, when it is not the thread's; wins over `overrideConfig.sessionId`. */
    sessionId?: string | null | undefined;
    /** Parameters of the flow's nodes, as far as the flow lets callers set them. */
    overrideConfig?: Record<string, unknown> | null | undefined;
    /** Earlier turns that the server has not stored itself. */
    history?: HistoryMessage[] | null | undefined;
    /** Files. */
    uploads?: FileUpload[] | null | undefined;
    /** For an agent flow that begins with a form, its values by name; the question is "" then. */
    form?: Record<string, unknown> | null | undefined;
    /** The answer to an agent flow that has stopped to ask a person; the question is "" then. */
    humanInput?: HumanInput | null | undefined;
    /** What becomes of the run when nobody reads it any more; the flow decides when absent. */
    onDisconnect?: "continue" | "cancel" | ContinueFor | null | undefined;
    /** The same key and question join the run that there is; a new key for each call when absent. */
    idempotencyKey?: string | undefined;
}
/**
 * How an answer is read. A "stream" goes on with the run's events when it breaks off; an "answer" takes as long as its
 * run, so its silence is no reason to ask again; a "call" is over at once.
 */
export type Kind = "stream" | "answer" | "call";
/** A request, and how its answer is read. `start` is the id of the event that the answer follows. */
export interface Ask {
    readonly kind: Kind;
    readonly url: string;
    readonly method: string;
    readonly headers: Record<string, string>;
    readonly body?: string | FormData;
    readonly start: string;
    readonly signal: AbortSignal | undefined;
}
/** Where the server is: requests to it and errors from it. */
export declare class Server {
    #private;
    /** The address without a user's name and password, for messages. */
    readonly name: string;
    readonly limits: Readonly<Record<"timeout" | "idleTimeout" | "answerTimeout" | "attempts" | "backoff", number>>;
    constructor(options: HeadraceClientOptions);
    /** A prediction; the body says how it is answered. It always has a key, so that it may be sent again. */
    predict(flow: string, body: PredictionRequest, key?: string, signal?: AbortSignal): Ask;
    /** A prediction in the words of the typed methods. As a "call" it runs in the background. */
    question(flow: string, question: string, kind: Kind, options: AskOptions): Ask;
    /** The events of a run that come after the one with the id `after`. */
    events(run: string, after: string, signal?: AbortSignal): Ask;
    /** What is known of a run. */
    run(run: string, signal?: AbortSignal): Ask;
    /** What is known of a chat's runs. */
    runs(flow: string, chat: string, signal?: AbortSignal): Ask;
    /** The end of a run, whether or not it is over already. Throws when there is none. */
    cancel(run: string | undefined, signal?: AbortSignal): Ask;
    /** All flows. */
    flows(signal?: AbortSignal): Ask;
    /** How a flow's chat looks and what it takes. */
    chatConfig(flow: string, signal?: AbortSignal): Ask;
    /** The texts of files. */
    attach(flow: string, chat: string, files: Iterable<NamedBlob>, signal?: AbortSignal): Ask;
    /** A rating of an answer. */
    rate(flow: string, messageId: string, rating: Rating, content?: string, signal?: AbortSignal): Ask;
    /** How long the answer to a request may be silent, in milliseconds. */
    silence(kind: Kind): number;
    /** The error that an answer with an error status stands for. */
    refused(response: Response, text: string): HeadraceError;
    /** The error that an `error` event stands for. */
    failed({ data, code, retryable, retryAfter }: ErrorEvent): HeadraceError;
    /** The error for an answer that did not come, not whole, or not such that it can be read. */
    lost(reason: string, details?: ErrorDetails): HeadraceError;
}
