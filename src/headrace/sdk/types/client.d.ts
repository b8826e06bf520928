/** The client: `HeadraceClient`, and the streams that it gives. */
import { type Feedback, type FileUpload, type FlowRow, type HeadraceEvent, type Prediction, type PredictionRequest, type Rating, type RunInfo } from "./events.js";
import type { AskOptions, CallOptions, HeadraceClientOptions, NamedBlob } from "./request.js";
import type { Chunk } from "./wire.js";
/** A question to a flow, for `createPrediction`. */
export interface PredictionData extends PredictionRequest {
    /** The flow. */
    chatflowId: string;
    /** The user's text. */
    question: string;
}
/** What may come with `createPrediction` beside its data. */
export type PredictionOptions = Pick<AskOptions, "signal" | "idempotencyKey">;
/**
 * What one run says, piece by piece, each once; over another connection when one breaks.
 *
 * Leaving a `for await` loop early closes the connection. Reading rejects with the error that the server answers with,
 * and with `ConnectionFailed` when the stream cannot go on.
 */
export declare class RunReader<T> implements AsyncIterableIterator<T> {
    #private;
    /** The run's id, once the answer has begun, if the server names one. */
    get runId(): string | undefined;
    /** Id of the last event that was read, `<run>:<number>`: what a resumed stream follows. */
    get lastEventId(): string | undefined;
    /** Sends the request, and resolves when the server has accepted it; reading does the same by itself. */
    open(): Promise<this>;
    /** The next piece. The first step sends the request, unless it is under way. */
    next(): Promise<IteratorResult<T, void>>;
    /** Closes the connection. What becomes of the run is a matter of `onDisconnect`. */
    return(): Promise<IteratorResult<T, void>>;
    /** Closes the connection; reading ends. What becomes of the run is a matter of `onDisconnect`. */
    close(): Promise<void>;
    /**
     * Stops the run. The stream then ends with `abort` and `end`, unless it had ended. Resolves to what is known of the run.
     *
     * Rejects with `invalid_request` when the stream has not begun.
     */
    cancel(): Promise<RunInfo>;
    /** Itself: every loop goes on where the last one stopped. */
    [Symbol.asyncIterator](): this;
}
/**
 * The events of one run. Each way to read goes on where the last one stopped.
 *
 * An `error` event is an event like others; `text` and `final` throw its error after the last event.
 */
export declare class Stream extends RunReader<HeadraceEvent> {
    /** The answer's text in pieces. Throws the error of an `error` event after the last piece. */
    text(): AsyncGenerator<string, void>;
    /**
     * Reads to the end and gives the whole answer, with what was read before.
     *
     * Throws the error of an `error` event. The answer of a cancelled run is what there is of it, and says `aborted`.
     */
    final(): Promise<Prediction>;
}
/** A connection to a Headrace or Flowise server. It holds no resources, and may serve any number of calls at once. */
export declare class HeadraceClient {
    #private;
    /** Throws `invalid_request` when the address or the key cannot be used. */
    constructor(options?: HeadraceClientOptions);
    /**
     * Asks a flow, as Flowise's library does.
     *
     * With `streaming` it resolves to the stream's chunks once the server has accepted the question; a flow that does not
     * stream gives its answer in one token. Without, it resolves to the answer's JSON object.
     */
    createPrediction(data: PredictionData & {
        background: true;
    }, options?: PredictionOptions): Promise<RunInfo>;
    createPrediction(data: PredictionData & {
        streaming: true | "true";
        background?: false | null | undefined;
    }, options?: PredictionOptions): Promise<RunReader<Chunk>>;
    createPrediction(data: PredictionData & {
        streaming?: false | null | undefined;
        background?: false | null | undefined;
    }, options?: PredictionOptions): Promise<Prediction & Record<string, unknown>>;
    createPrediction(data: PredictionData, options?: PredictionOptions): Promise<RunInfo | RunReader<Chunk> | (Prediction & Record<string, unknown>)>;
    /** Asks a flow and streams its answer. A flow that does not stream gives its answer in one token. */
    stream(flow: string, question: string, options?: AskOptions): Stream;
    /** Asks a flow and waits for the whole answer. */
    predict(flow: string, question: string, options?: AskOptions): Promise<Prediction>;
    /** Asks a flow and waits for nothing: `resume` reads the answer, `run` says how far it is. */
    start(flow: string, question: string, options?: AskOptions): Promise<RunInfo>;
    /**
     * The events of a run after the event number `after`, and on with it as it goes on. Needs no question.
     *
     * With `after`, what the stream's `text` and `final` give lacks what came before. Reading rejects with `run_not_found`
     * when the server does not know the run, or no longer.
     */
    resume(runId: string, { after, signal }?: CallOptions & {
        after?: number | undefined;
    }): Stream;
    /** What is known of a run. Rejects with `run_not_found`. */
    run(runId: string, { signal }?: CallOptions): Promise<RunInfo>;
    /** What is known of a chat's runs, newest first. */
    runs(flow: string, chatId: string, { signal }?: CallOptions): Promise<RunInfo[]>;
    /** Stops a run; one that is over stays as it is. Rejects with `run_not_found`. */
    cancel(runId: string, { signal }?: CallOptions): Promise<RunInfo>;
    /** All flows. Needs a key with the permission `chatflows:view`. */
    flows({ signal }?: CallOptions): Promise<FlowRow[]>;
    /** How a flow's chat looks and what it takes: starter prompts, uploads, title. */
    chatConfig(flow: string, { signal }?: CallOptions): Promise<Record<string, unknown>>;
    /** Reads files into what goes along with a question as `uploads`. */
    attach(flow: string, chatId: string, files: Iterable<NamedBlob>, { signal }?: CallOptions): Promise<FileUpload[]>;
    /** Rates an answer by its `chatMessageId`, with a remark if there is one; another time changes the rating. */
    rate(flow: string, messageId: string, rating: Rating, { remark, signal }?: CallOptions & {
        remark?: string | undefined;
    }): Promise<Feedback>;
}
