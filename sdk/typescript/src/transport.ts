/** Moves the bytes of an answer, and connects again when the connection breaks; what to do says response.ts. */

import { HeadraceError } from "./errors.js";
import { type HeadraceEvent, RUN_INFO, type RunInfo, type Shape } from "./events.js";
import type { Ask, Server } from "./request.js";
import { ResponseReader } from "./response.js";
import type { Chunk } from "./wire.js";

const LONGEST_TIMER = 2 ** 31 - 1; // a longer one would fire at once
const CLOSED = new Error("closed by its reader"); // ends the reading without a word

/** One connection. Whatever waits for it stops waiting when it is closed, also when `fetch` knows no signals. */
class Connection {
  readonly #abort = new AbortController();
  readonly signal = this.#abort.signal;
  #giveUp: ((reason: unknown) => void) | undefined; // of what waits

  /** What the work gives. A silence of more than `ms` closes the connection. One at a time. */
  async within<T>(ms: number, work: Promise<T>): Promise<T> {
    const late = () =>
      this.close(
        new DOMException("nothing came in time (see `idleTimeout`, `answerTimeout` and `timeout`)", "TimeoutError"),
      );
    const timer = ms > LONGEST_TIMER ? undefined : setTimeout(late, ms);
    try {
      // No race with a promise that lasts as long as the connection: it would keep every piece of the stream.
      return await new Promise<T>((resolve, reject) => {
        this.#giveUp = reject;
        if (this.signal.aborted) reject(this.signal.reason);
        work.then(resolve, reject);
      });
    } finally {
      clearTimeout(timer);
      this.#giveUp = undefined;
    }
  }

  close(reason: unknown): void {
    this.#abort.abort(reason);
    this.#giveUp?.(reason);
  }
}

/** The body at once, where the platform cannot stream it. */
async function whole(response: Response): Promise<{ done: boolean; value: Uint8Array | undefined }> {
  return { done: true, value: new Uint8Array(await response.arrayBuffer()) };
}

/** One answer, over as many connections as it takes. */
export class Call {
  readonly answer: ResponseReader;
  readonly #fetch: typeof fetch;
  readonly #server: Server;
  readonly #ask: Ask;
  #connection: Connection | undefined; // none once its last byte has come: to abort it then would end its keep-alive
  #response: Response | undefined;
  #over: { reason: unknown } | undefined; // why there shall be no more
  #wake: (() => void) | undefined; // ends the pause between two requests

  constructor(fetch: typeof globalThis.fetch, server: Server, ask: Ask) {
    this.#fetch = fetch;
    this.#server = server;
    this.#ask = ask;
    this.answer = new ResponseReader(server, ask);
  }

  /** Sends the request, unless its answer has begun. Resolves when the answer's headers are there. */
  async open(): Promise<Response> {
    const { signal } = this.#ask;
    if (signal?.aborted) this.#abandon();
    signal?.addEventListener("abort", this.#abandon);
    while (!this.#response) {
      try {
        if (this.#over) throw this.#over.reason;
        this.#response = await this.#send(this.answer.request());
      } catch (error) {
        await this.#again(error).catch((final: unknown) => {
          this.close();
          throw final;
        });
      }
    }
    return this.#response;
  }

  async #send(request: Ask): Promise<Response> {
    const { url, method, headers, body, kind } = request;
    const connection = new Connection();
    this.#connection = connection;
    const sent = this.#fetch(url, { method, headers, signal: connection.signal, body: body ?? null });
    const response = await this.#moved(kind, connection, sent);
    if (response.ok) {
      this.answer.begin(response.headers);
      return response;
    }
    const text = await this.#moved(kind, connection, response.text());
    this.#connection = undefined;
    throw this.answer.refused(response, text, request);
  }

  /** What the work gives; its failure as an error of the tree. */
  async #moved<T>(kind: Ask["kind"], connection: Connection, work: Promise<T>): Promise<T> {
    try {
      return await connection.within(this.#server.silence(kind), work);
    } catch (error) {
      if (this.#over) throw this.#over.reason;
      const { name, message, code } = ((error as Error).cause ?? error) as Error & { code?: string };
      // Node's fetch has limits of its own: five minutes for each silence.
      const silent = name === "TimeoutError" || code === "UND_ERR_HEADERS_TIMEOUT" || code === "UND_ERR_BODY_TIMEOUT";
      throw this.answer.failed(message || code || String(error), silent, error);
    }
  }

  /** Waits for the time of the next request. Throws when there shall be none. */
  async #again(error: unknown): Promise<void> {
    if (this.#over) throw this.#over.reason;
    this.#connection?.close(CLOSED);
    this.#response = undefined;
    if (!(error instanceof HeadraceError)) throw error;
    const ms = this.answer.pause(error);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** The stream, chunk by chunk, however often the connection breaks, or what a JSON answer to it amounts to. */
  async *chunks(): AsyncGenerator<Chunk, void> {
    try {
      while (!this.answer.arrived) {
        const response = await this.open();
        try {
          for await (const data of this.#bytes(response)) yield* this.answer.feed(data);
          this.answer.finish();
        } catch (error) {
          if (this.answer.arrived) break; // after the `end` event a broken connection does not matter
          await this.#again(error);
        }
      }
      if (this.#ask.kind === "stream") yield* this.answer.unfolded();
    } catch (error) {
      if (error !== CLOSED) throw error;
    } finally {
      this.close();
    }
  }

  async *#bytes(response: Response): AsyncGenerator<Uint8Array, void> {
    const connection = this.#connection;
    const reader = response.body?.getReader();
    const read: () => ReturnType<typeof whole> = () => reader?.read() ?? whole(response);
    while (connection) {
      const { done, value } = await this.#moved(this.#ask.kind, connection, read());
      if (value) yield value;
      if (done) break;
    }
    this.#connection = undefined;
  }

  /** The answer's events. */
  async *events(): AsyncGenerator<HeadraceEvent, void> {
    for await (const chunk of this.chunks()) yield this.answer.event(chunk);
  }

  /** The JSON answer. */
  async json<T>(shape: Shape): Promise<T> {
    for await (const _ of this.chunks());
    return this.answer.decoded(shape);
  }

  /** Ends the run that the answer comes from. */
  async cancel(): Promise<RunInfo> {
    const ask = this.#server.cancel(this.answer.runId);
    return new Call(this.#fetch, this.#server, ask).json(RUN_INFO);
  }

  /** Closes the connection, for good. */
  close(reason: unknown = CLOSED): void {
    this.#over ??= { reason };
    this.#ask.signal?.removeEventListener("abort", this.#abandon);
    this.#connection?.close(reason);
    this.#wake?.();
  }

  readonly #abandon = () => this.close(this.#ask.signal?.reason);
}
