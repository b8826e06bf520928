/** What the client asks, without I/O: requests to a server, and the errors that come back in their place. */

import { type ErrorDetails, failure, type HeadraceError, kindOf } from "./errors.js";
import type {
  ContinueFor,
  ERRORS,
  ErrorEvent,
  FileUpload,
  HistoryMessage,
  HumanInput,
  PredictionRequest,
  Rating,
} from "./events.js";
import { object } from "./wire.js";

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
export type NamedBlob = Blob & { readonly name: string };

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

type More = Partial<Pick<Ask, "headers" | "body" | "start">> & CallOptions;

/** Where the server is: requests to it and errors from it. */
export class Server {
  /** The address without a user's name and password, for messages. */
  readonly name: string;
  readonly limits: Readonly<Record<"timeout" | "idleTimeout" | "answerTimeout" | "attempts" | "backoff", number>>;
  readonly #url: string;
  readonly #key: string;
  readonly #authorization: string;

  constructor(options: HeadraceClientOptions) {
    const given = (options.baseUrl || "http://localhost:3000").trim().replace(/\/+$/, "");
    this.name = given.slice(given.lastIndexOf("@") + 1);
    this.#key = (options.apiKey ?? "").trim();
    const { timeout = 30_000, idleTimeout = 60_000, answerTimeout = 600_000, attempts = 5, backoff = 500 } = options;
    this.limits = { timeout, idleTimeout, answerTimeout, attempts, backoff };
    if (!/^https?:\/\//.test(given)) throw invalid(`baseUrl ${quoted(this.name)} must start with http:// or https://`);
    if (!fitsAHeader(this.#key))
      throw invalid("the API key has characters that no HTTP header can carry; was it pasted whole?");
    let url: URL;
    try {
      url = new URL(given);
    } catch {
      throw invalid(`baseUrl ${quoted(this.name)} is no address`);
    }
    // fetch refuses addresses with a password in them.
    const user = url.username && `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
    this.#url = user ? given.replace(/\/\/.*@/, "//") : given;
    if (user) this.name = this.#url;
    this.#authorization = this.#key
      ? `Bearer ${this.#key}`
      : user && `Basic ${btoa(String.fromCharCode(...new TextEncoder().encode(user)))}`;
  }

  /** A prediction; the body says how it is answered. It always has a key, so that it may be sent again. */
  predict(flow: string, body: PredictionRequest, key?: string, signal?: AbortSignal): Ask {
    const streams = body.streaming === true || body.streaming === "true";
    const kind = body.background ? "call" : streams ? "stream" : "answer";
    const headers = { "Content-Type": "application/json", "Idempotency-Key": key || newKey() };
    return this.#ask(kind, "POST", `prediction/${encodeURIComponent(flow)}`, {
      headers,
      body: JSON.stringify(Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null))),
      signal,
    });
  }

  /** A prediction in the words of the typed methods. As a "call" it runs in the background. */
  question(flow: string, question: string, kind: Kind, options: AskOptions): Ask {
    const { sessionId, overrideConfig, history, uploads, form, humanInput, chatId, onDisconnect } = options;
    const config = sessionId ? { ...overrideConfig, sessionId } : overrideConfig;
    const body: PredictionRequest = {
      question: (form || humanInput) && !question ? undefined : question,
      streaming: kind === "stream" || undefined,
      chatId,
      overrideConfig: config,
      history: history?.length ? history : undefined,
      uploads: uploads?.length ? uploads : undefined,
      form,
      humanInput,
      background: kind === "call" || undefined,
      onDisconnect,
    };
    return this.predict(flow, body, options.idempotencyKey, options.signal);
  }

  /** The events of a run that come after the one with the id `after`. */
  events(run: string, after: string, signal?: AbortSignal): Ask {
    const headers = { "Last-Event-ID": after };
    return this.#ask("stream", "GET", `runs/${encodeURIComponent(run)}/events`, { headers, start: after, signal });
  }

  /** What is known of a run. */
  run(run: string, signal?: AbortSignal): Ask {
    return this.#ask("call", "GET", `runs/${encodeURIComponent(run)}`, { signal });
  }

  /** What is known of a chat's runs. */
  runs(flow: string, chat: string, signal?: AbortSignal): Ask {
    return this.#ask("call", "GET", `runs?${new URLSearchParams({ flowId: flow, chatId: chat })}`, { signal });
  }

  /** The end of a run, whether or not it is over already. Throws when there is none. */
  cancel(run: string | undefined, signal?: AbortSignal): Ask {
    if (!run) throw invalid("there is no run to cancel: the stream has not begun, or the server names no run");
    return this.#ask("call", "POST", `runs/${encodeURIComponent(run)}/cancel`, { signal });
  }

  /** All flows. */
  flows(signal?: AbortSignal): Ask {
    return this.#ask("call", "GET", "chatflows", { signal });
  }

  /** How a flow's chat looks and what it takes. */
  chatConfig(flow: string, signal?: AbortSignal): Ask {
    return this.#ask("call", "GET", `public-chatbotConfig/${encodeURIComponent(flow)}`, { signal });
  }

  /** The texts of files. */
  attach(flow: string, chat: string, files: Iterable<NamedBlob>, signal?: AbortSignal): Ask {
    const body = new FormData();
    for (const file of files) body.append("files", file, file.name);
    const path = `attachments/${encodeURIComponent(flow)}/${encodeURIComponent(chat)}`;
    return this.#ask("call", "POST", path, { body, signal });
  }

  /** A rating of an answer. */
  rate(flow: string, messageId: string, rating: Rating, content?: string, signal?: AbortSignal): Ask {
    return this.#ask("call", "POST", `feedback/${encodeURIComponent(flow)}`, {
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ messageId, rating, content }),
      signal,
    });
  }

  #ask(kind: Kind, method: string, path: string, more: More): Ask {
    const headers: Record<string, string> = { Accept: "text/event-stream, application/json", ...more.headers };
    if (this.#authorization) headers.Authorization = this.#authorization;
    for (const [name, value] of Object.entries(headers)) {
      if (!fitsAHeader(value)) throw invalid(`${name} ${quoted(value)} has characters that no HTTP header can carry`);
    }
    const { body, start = "", signal } = more;
    const ask = { kind, method, url: `${this.#url}/api/v1/${path}`, headers, start, signal };
    return body === undefined ? ask : { ...ask, body };
  }

  /** How long the answer to a request may be silent, in milliseconds. */
  silence(kind: Kind): number {
    const { timeout, idleTimeout, answerTimeout } = this.limits;
    return kind === "stream" ? idleTimeout : kind === "answer" ? answerTimeout : timeout;
  }

  /** The error that an answer with an error status stands for. */
  refused(response: Response, text: string): HeadraceError {
    const { status, headers } = response;
    const { message, code } = refusal(text, headers.get("content-type") ?? "");
    const retryAfter = seconds(headers.get("retry-after"));
    const said = message || `${this.name} answered with HTTP status ${status}`;
    return this.#error(said, kindOf(code, status), { code, status, retryAfter });
  }

  /** The error that an `error` event stands for. */
  failed({ data, code, retryable, retryAfter }: ErrorEvent): HeadraceError {
    return this.#error(data, kindOf(code), { code, retryable, retryAfter });
  }

  /** The error for an answer that did not come, not whole, or not such that it can be read. */
  lost(reason: string, details: ErrorDetails = {}): HeadraceError {
    return this.#error(`${this.name}: ${reason}`, "connection_failed", details);
  }

  #error(message: string, kind: keyof typeof ERRORS, details: ErrorDetails): HeadraceError {
    return failure(this.#key ? message.replaceAll(this.#key, "***") : message, kind, details);
  }
}

const invalid = (message: string) => failure(message, "invalid_request");
const quoted = (text: string) => `'${JSON.stringify(text).slice(1, -1)}'`;
const fitsAHeader = (value: string) => /^[ -~]*$/.test(value);

/** Message and code of an HTTP error: Headrace's and Flowise's, or that of Flowise's key check, or a plain text. */
function refusal(text: string, type: string): { message?: string | undefined; code?: string | undefined } {
  const texts = (value: unknown) => (typeof value === "string" ? value : undefined);
  try {
    const { message, error, code } = object(text);
    return { message: texts(message) || texts(error), code: texts(code) };
  } catch {
    return { message: type.includes("html") ? "" : text.trim().slice(0, 500) }; // a proxy's page says nothing
  }
}

/** `Retry-After` is a number of seconds or a date. */
function seconds(retryAfter: string | null): number | undefined {
  if (!retryAfter) return undefined;
  if (/^[0-9]+$/.test(retryAfter)) return Number(retryAfter);
  const at = / GMT$/.test(retryAfter) ? Date.parse(retryAfter) : Number.NaN;
  return Number.isNaN(at) ? undefined : Math.max(0, (at - Date.now()) / 1000);
}

/** A new random text. Node 18 has no global `crypto`; nothing is protected by the key, so any chance will do there. */
function newKey(): string {
  const bytes = new Uint8Array(16);
  if (globalThis.crypto) crypto.getRandomValues(bytes);
  else for (const at of bytes.keys()) bytes[at] = Math.random() * 256;
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
