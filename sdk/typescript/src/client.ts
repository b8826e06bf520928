/** The client: `HeadraceClient`, and the streams that it gives. */

import {
  ATTACHMENT,
  type Attachment,
  FEEDBACK,
  type Feedback,
  type FileUpload,
  FLOW_ROW,
  type FlowRow,
  type HeadraceEvent,
  type Prediction,
  type PredictionRequest,
  type Rating,
  RUN_INFO,
  type RunInfo,
} from "./events.js";
import type { Ask, AskOptions, CallOptions, HeadraceClientOptions, NamedBlob } from "./request.js";
import { Server } from "./request.js";
import { Call } from "./transport.js";
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
export class RunReader<T> implements AsyncIterableIterator<T> {
  /** @internal */
  protected readonly call: Call;
  readonly #items: AsyncGenerator<T, void>;

  /** @internal */
  constructor(call: Call, items: AsyncGenerator<T, void>) {
    this.call = call;
    this.#items = items;
  }

  /** The run's id, once the answer has begun, if the server names one. */
  get runId(): string | undefined {
    return this.call.answer.runId;
  }

  /** Id of the last event that was read, `<run>:<number>`: what a resumed stream follows. */
  get lastEventId(): string | undefined {
    return this.call.answer.lastEventId;
  }

  /** Sends the request, and resolves when the server has accepted it; reading does the same by itself. */
  async open(): Promise<this> {
    await this.call.open();
    return this;
  }

  /** The next piece. The first step sends the request, unless it is under way. */
  next(): Promise<IteratorResult<T, void>> {
    return this.#items.next();
  }

  /** Closes the connection. What becomes of the run is a matter of `onDisconnect`. */
  async return(): Promise<IteratorResult<T, void>> {
    this.call.close();
    return this.#items.return();
  }

  /** Closes the connection; reading ends. What becomes of the run is a matter of `onDisconnect`. */
  async close(): Promise<void> {
    await this.return();
  }

  /**
   * Stops the run. The stream then ends with `abort` and `end`, unless it had ended. Resolves to what is known of the run.
   *
   * Rejects with `invalid_request` when the stream has not begun.
   */
  async cancel(): Promise<RunInfo> {
    return this.call.cancel();
  }

  /** Itself: every loop goes on where the last one stopped. */
  [Symbol.asyncIterator](): this {
    return this;
  }
}

/**
 * The events of one run. Each way to read goes on where the last one stopped.
 *
 * An `error` event is an event like others; `text` and `final` throw its error after the last event.
 */
export class Stream extends RunReader<HeadraceEvent> {
  /** @internal */
  constructor(call: Call) {
    super(call, call.events());
  }

  /** The answer's text in pieces. Throws the error of an `error` event after the last piece. */
  async *text(): AsyncGenerator<string, void> {
    for await (const event of this) if (event.event === "token") yield event.data;
    this.call.answer.result();
  }

  /**
   * Reads to the end and gives the whole answer, with what was read before.
   *
   * Throws the error of an `error` event. The answer of a cancelled run is what there is of it, and says `aborted`.
   */
  async final(): Promise<Prediction> {
    for await (const _ of this);
    return this.call.answer.result();
  }
}

/** A connection to a Headrace or Flowise server. It holds no resources, and may serve any number of calls at once. */
export class HeadraceClient {
  readonly #server: Server;
  readonly #fetch: typeof fetch;

  /** Throws `invalid_request` when the address or the key cannot be used. */
  constructor(options: HeadraceClientOptions = {}) {
    this.#server = new Server(options);
    // Called late and on nothing: the platform's own must not be unbound, and may be replaced.
    this.#fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
  }

  /**
   * Asks a flow, as Flowise's library does.
   *
   * With `streaming` it resolves to the stream's chunks once the server has accepted the question; a flow that does not
   * stream gives its answer in one token. Without, it resolves to the answer's JSON object.
   */
  createPrediction(data: PredictionData & { background: true }, options?: PredictionOptions): Promise<RunInfo>;
  createPrediction(
    data: PredictionData & { streaming: true | "true"; background?: false | null | undefined },
    options?: PredictionOptions,
  ): Promise<RunReader<Chunk>>;
  createPrediction(
    data: PredictionData & { streaming?: false | null | undefined; background?: false | null | undefined },
    options?: PredictionOptions,
  ): Promise<Prediction & Record<string, unknown>>;
  createPrediction(
    data: PredictionData,
    options?: PredictionOptions,
  ): Promise<RunInfo | RunReader<Chunk> | (Prediction & Record<string, unknown>)>;
  async createPrediction(data: PredictionData, options: PredictionOptions = {}): Promise<unknown> {
    const { chatflowId, streaming, ...body } = data;
    const asked = streaming ? { ...body, streaming } : body;
    const ask = this.#server.predict(chatflowId, asked, options.idempotencyKey, options.signal);
    const call = this.#call(ask);
    if (ask.kind !== "stream") return call.json({});
    return new RunReader(call, call.chunks()).open();
  }

  /** Asks a flow and streams its answer. A flow that does not stream gives its answer in one token. */
  stream(flow: string, question: string, options: AskOptions = {}): Stream {
    return new Stream(this.#call(this.#server.question(flow, question, "stream", options)));
  }

  /** Asks a flow and waits for the whole answer. */
  async predict(flow: string, question: string, options: AskOptions = {}): Promise<Prediction> {
    return new Stream(this.#call(this.#server.question(flow, question, "answer", options))).final();
  }

  /** Asks a flow and waits for nothing: `resume` reads the answer, `run` says how far it is. */
  async start(flow: string, question: string, options: AskOptions = {}): Promise<RunInfo> {
    return this.#call(this.#server.question(flow, question, "call", options)).json(RUN_INFO);
  }

  /**
   * The events of a run after the event number `after`, and on with it as it goes on. Needs no question.
   *
   * With `after`, what the stream's `text` and `final` give lacks what came before. Reading rejects with `run_not_found`
   * when the server does not know the run, or no longer.
   */
  resume(runId: string, { after = 0, signal }: CallOptions & { after?: number | undefined } = {}): Stream {
    return new Stream(this.#call(this.#server.events(runId, `${runId}:${after}`, signal)));
  }

  /** What is known of a run. Rejects with `run_not_found`. */
  async run(runId: string, { signal }: CallOptions = {}): Promise<RunInfo> {
    return this.#call(this.#server.run(runId, signal)).json(RUN_INFO);
  }

  /** What is known of a chat's runs, newest first. */
  async runs(flow: string, chatId: string, { signal }: CallOptions = {}): Promise<RunInfo[]> {
    return this.#call(this.#server.runs(flow, chatId, signal)).json(["list", RUN_INFO]);
  }

  /** Stops a run; one that is over stays as it is. Rejects with `run_not_found`. */
  async cancel(runId: string, { signal }: CallOptions = {}): Promise<RunInfo> {
    return this.#call(this.#server.cancel(runId, signal)).json(RUN_INFO);
  }

  /** All flows. Needs a key with the permission `chatflows:view`. */
  async flows({ signal }: CallOptions = {}): Promise<FlowRow[]> {
    return this.#call(this.#server.flows(signal)).json(["list", FLOW_ROW]);
  }

  /** How a flow's chat looks and what it takes: starter prompts, uploads, title. */
  async chatConfig(flow: string, { signal }: CallOptions = {}): Promise<Record<string, unknown>> {
    return this.#call(this.#server.chatConfig(flow, signal)).json({});
  }

  /** Reads files into what goes along with a question as `uploads`. */
  async attach(
    flow: string,
    chatId: string,
    files: Iterable<NamedBlob>,
    { signal }: CallOptions = {},
  ): Promise<FileUpload[]> {
    const ask = this.#server.attach(flow, chatId, files, signal);
    const found = await this.#call(ask).json<Attachment[]>(["list", ATTACHMENT]);
    return found.map(({ name, mimeType, content }) => ({ type: "file:full", name, mime: mimeType, data: content }));
  }

  /** Rates an answer by its `chatMessageId`, with a remark if there is one; another time changes the rating. */
  async rate(
    flow: string,
    messageId: string,
    rating: Rating,
    { remark, signal }: CallOptions & { remark?: string | undefined } = {},
  ): Promise<Feedback> {
    return this.#call(this.#server.rate(flow, messageId, rating, remark, signal)).json(FEEDBACK);
  }

  #call(ask: Ask): Call {
    return new Call(this.#fetch, this.#server, ask);
  }
}
