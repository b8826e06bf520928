/** What the client asks, without I/O: requests to a server, and the errors that come back in their place. */
import { failure, kindOf } from "./errors.js";
import { object } from "./wire.js";
/** Where the server is: requests to it and errors from it. */
export class Server {
    /** The address without a user's name and password, for messages. */
    name;
    limits;
    #url;
    #key;
    #authorization;
    constructor(options) {
        const given = (options.baseUrl || "http://localhost:3000").trim().replace(/\/+$/, "");
        this.name = given.slice(given.lastIndexOf("@") + 1);
        this.#key = (options.apiKey ?? "").trim();
        const { timeout = 30_000, idleTimeout = 60_000, answerTimeout = 600_000, attempts = 5, backoff = 500 } = options;
        this.limits = { timeout, idleTimeout, answerTimeout, attempts, backoff };
        if (!/^https?:\/\//.test(given))
            throw invalid(`baseUrl ${quoted(this.name)} must start with http:// or https://`);
        if (!fitsAHeader(this.#key))
            throw invalid("the API key has characters that no HTTP header can carry; was it pasted whole?");
        let url;
        try {
            url = new URL(given);
        }
        catch {
            throw invalid(`baseUrl ${quoted(this.name)} is no address`);
        }
        // fetch refuses addresses with a password in them.
        const user = url.username && `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
        this.#url = user ? given.replace(/\/\/.*@/, "//") : given;
        if (user)
            this.name = this.#url;
        this.#authorization = this.#key
            ? `Bearer ${this.#key}`
            : user && `Basic ${btoa(String.fromCharCode(...new TextEncoder().encode(user)))}`;
    }
    /** A prediction; the body says how it is answered. It always has a key, so that it may be sent again. */
    predict(flow, body, key, signal) {
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
    question(flow, question, kind, options) {
        const { sessionId, overrideConfig, history, uploads, form, humanInput, chatId, onDisconnect } = options;
        const config = sessionId ? { ...overrideConfig, sessionId } : overrideConfig;
        const body = {
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
    events(run, after, signal) {
        const headers = { "Last-Event-ID": after };
        return this.#ask("stream", "GET", `runs/${encodeURIComponent(run)}/events`, { headers, start: after, signal });
    }
    /** What is known of a run. */
    run(run, signal) {
        return this.#ask("call", "GET", `runs/${encodeURIComponent(run)}`, { signal });
    }
    /** What is known of a chat's runs. */
    runs(flow, chat, signal) {
        return this.#ask("call", "GET", `runs?${new URLSearchParams({ flowId: flow, chatId: chat })}`, { signal });
    }
    /** The end of a run, whether or not it is over already. Throws when there is none. */
    cancel(run, signal) {
        if (!run)
            throw invalid("there is no run to cancel: the stream has not begun, or the server names no run");
        return this.#ask("call", "POST", `runs/${encodeURIComponent(run)}/cancel`, { signal });
    }
    /** All flows. */
    flows(signal) {
        return this.#ask("call", "GET", "chatflows", { signal });
    }
    /** How a flow's chat looks and what it takes. */
    chatConfig(flow, signal) {
        return this.#ask("call", "GET", `public-chatbotConfig/${encodeURIComponent(flow)}`, { signal });
    }
    /** The texts of files. */
    attach(flow, chat, files, signal) {
        const body = new FormData();
        for (const file of files)
            body.append("files", file, file.name);
        const path = `attachments/${encodeURIComponent(flow)}/${encodeURIComponent(chat)}`;
        return this.#ask("call", "POST", path, { body, signal });
    }
    /** A rating of an answer. */
    rate(flow, messageId, rating, content, signal) {
        return this.#ask("call", "POST", `feedback/${encodeURIComponent(flow)}`, {
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify({ messageId, rating, content }),
            signal,
        });
    }
    #ask(kind, method, path, more) {
        const headers = { Accept: "text/event-stream, application/json", ...more.headers };
        if (this.#authorization)
            headers.Authorization = this.#authorization;
        for (const [name, value] of Object.entries(headers)) {
            if (!fitsAHeader(value))
                throw invalid(`${name} ${quoted(value)} has characters that no HTTP header can carry`);
        }
        const { body, start = "", signal } = more;
        const ask = { kind, method, url: `${this.#url}/api/v1/${path}`, headers, start, signal };
        return body === undefined ? ask : { ...ask, body };
    }
    /** How long the answer to a request may be silent, in milliseconds. */
    silence(kind) {
        const { timeout, idleTimeout, answerTimeout } = this.limits;
        return kind === "stream" ? idleTimeout : kind === "answer" ? answerTimeout : timeout;
    }
    /** The error that an answer with an error status stands for. */
    refused(response, text) {
        const { status, headers } = response;
        const { message, code } = refusal(text, headers.get("content-type") ?? "");
        const retryAfter = seconds(headers.get("retry-after"));
        const said = message || `${this.name} answered with HTTP status ${status}`;
        return this.#error(said, kindOf(code, status), { code, status, retryAfter });
    }
    /** The error that an `error` event stands for. */
    failed({ data, code, retryable, retryAfter }) {
        return this.#error(data, kindOf(code), { code, retryable, retryAfter });
    }
    /** The error for an answer that did not come, not whole, or not such that it can be read. */
    lost(reason, details = {}) {
        return this.#error(`${this.name}: ${reason}`, "connection_failed", details);
    }
    #error(message, kind, details) {
        return failure(this.#key ? message.replaceAll(this.#key, "***") : message, kind, details);
    }
}
const invalid = (message) => failure(message, "invalid_request");
const quoted = (text) => `'${JSON.stringify(text).slice(1, -1)}'`;
const fitsAHeader = (value) => /^[ -~]*$/.test(value);
/** Message and code of an HTTP error: Headrace's and Flowise's, or that of Flowise's key check, or a plain text. */
function refusal(text, type) {
    const texts = (value) => (typeof value === "string" ? value : undefined);
    try {
        const { message, error, code } = object(text);
        return { message: texts(message) || texts(error), code: texts(code) };
    }
    catch {
        return { message: type.includes("html") ? "" : text.trim().slice(0, 500) }; // a proxy's page says nothing
    }
}
/** `Retry-After` is a number of seconds or a date. */
function seconds(retryAfter) {
    if (!retryAfter)
        return undefined;
    if (/^[0-9]+$/.test(retryAfter))
        return Number(retryAfter);
    const at = / GMT$/.test(retryAfter) ? Date.parse(retryAfter) : Number.NaN;
    return Number.isNaN(at) ? undefined : Math.max(0, (at - Date.now()) / 1000);
}
/** A new random text. Node 18 has no global `crypto`; nothing is protected by the key, so any chance will do there. */
function newKey() {
    const bytes = new Uint8Array(16);
    if (globalThis.crypto)
        crypto.getRandomValues(bytes);
    else
        for (const at of bytes.keys())
            bytes[at] = Math.random() * 256;
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
