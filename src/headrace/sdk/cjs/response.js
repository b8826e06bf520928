"use strict";
/** How the client reads an answer, without I/O: from bytes to events, and on when a connection breaks. */
Object.defineProperty(exports, "__esModule", { value: true });
exports.ResponseReader = void 0;
const events_js_1 = require("./events.js");
const fold_js_1 = require("./fold.js");
const sse_js_1 = require("./sse.js");
const wire_js_1 = require("./wire.js");
const LONGEST_PAUSE = 60_000; // milliseconds; who is asked to wait longer gets the error instead
/** The same request may well succeed later. */
const PASSING = ["connection_failed", "rate_limited", "storage_error", "interrupted"];
/** One answer as it comes in, over as many connections as it takes. */
class ResponseReader {
    runId;
    lastEventId;
    /** Whether the answer has come whole. */
    arrived = false;
    #server;
    #ask;
    #fold = new fold_js_1.Fold();
    #decoder = new sse_js_1.Decoder();
    #body = [];
    #utf8 = new TextDecoder();
    #streams = false;
    #seq = -1; // number of the last event
    #known = -1; // the same, of the last one that came over an earlier connection
    #failures = 0; // requests in a row that brought no event
    #taken = false; // the server has answered with a success
    #final = false; // another request would bring the same failure
    #retry = 0; // milliseconds, from the stream's `retry:`
    #error;
    #complete = false; // the end has been read
    constructor(server, ask) {
        this.#server = server;
        this.#ask = ask;
        this.#advance(ask.start);
    }
    /** What to send next: once the run is known, never the question itself but what is missing of its stream. */
    request() {
        if (this.runId === undefined || this.#ask.kind !== "stream")
            return this.#ask;
        return this.#server.events(this.runId, this.lastEventId ?? `${this.runId}:0`, this.#ask.signal);
    }
    /** The error that an error status stands for. */
    refused(response, text, request) {
        // The run itself failed, and its key leads back to it.
        this.#final = response.headers.has("x-run-id") && "Idempotency-Key" in request.headers;
        const error = this.#server.refused(response, text);
        const gone = this.#ask.kind === "stream" && this.#taken && /not_found$/.test(error.kind);
        if (!gone)
            return error;
        const lost = `the stream broke off, and run '${this.runId}' cannot be resumed: ${error.message}`;
        return this.#server.lost(lost, { retryable: false, cause: error });
    }
    /** Takes the headers of a success. */
    begin(headers) {
        this.#taken = true;
        this.runId ??= headers.get("x-run-id") ?? undefined;
        this.#streams = (headers.get("content-type") ?? "").startsWith("text/event-stream");
        this.#body = [];
        this.#utf8 = new TextDecoder();
        this.#decoder = new sse_js_1.Decoder();
        this.#known = this.#seq;
    }
    /**
     * The chunks that `data` completes, without those that came before; none when the answer is no stream.
     *
     * A chunk counts as received when it is taken, so what a failure leaves over comes with the next connection.
     */
    *feed(data) {
        if (!this.#streams) {
            this.#body.push(this.#utf8.decode(data, { stream: true }));
            return;
        }
        for (const frame of this.#decoder.feed(data)) {
            if (!frame.data.trim())
                continue; // a sign of life, as some libraries send it
            const chunk = this.#parsed(() => (0, wire_js_1.chunkOf)(frame), "a frame of the stream is not an event");
            if (!this.#advance(frame.id))
                continue;
            this.#failures = 0;
            this.arrived ||= chunk.event === "end";
            yield chunk;
        }
        this.#advance(this.#decoder.lastId); // a frame may have an id and no data
    }
    #parsed(parse, complaint) {
        try {
            return parse();
        }
        catch (error) {
            throw this.#server.lost(`${complaint}: ${error.message}`, { retryable: false, cause: error });
        }
    }
    /** Takes an event's id. Whether the event is a new one, which without numbers every event is. */
    #advance(id) {
        const [, run, number] = /^(.+):([0-9]+)$/s.exec(id) ?? [];
        if (run) {
            if (Number(number) <= this.#known)
                return false;
            this.#seq = Number(number);
        }
        if (id) {
            this.lastEventId = id;
            this.runId ??= run;
        }
        return true;
    }
    /** Takes notice that no byte will follow. Throws when the stream is not whole. */
    finish() {
        if (this.#streams && !this.arrived)
            throw this.#server.lost("the stream broke off before its `end` event");
        this.arrived = true;
    }
    /** The error for a failure to move bytes. */
    failed(reason, silent, cause) {
        this.#final = silent && this.#ask.kind === "answer";
        return this.#server.lost(reason, { cause });
    }
    /** Milliseconds to wait before the next request. Throws the error when there shall be none. */
    pause(error) {
        this.#failures += 1;
        const { attempts, backoff } = this.#server.limits;
        const least = (error.retryAfter ?? 0) * 1000;
        if (!this.#mayPass(error) || least > LONGEST_PAUSE)
            throw error;
        if (this.#failures >= attempts) {
            throw Object.assign(error, { attempts: this.#failures, lastEventId: this.lastEventId });
        }
        if (this.#decoder.retry !== undefined)
            this.#retry = Math.min(this.#decoder.retry, LONGEST_PAUSE);
        const growing = Math.min(backoff * 2 ** Math.min(this.#failures - 1, 16), LONGEST_PAUSE);
        return Math.max(least, this.#retry) + growing * (0.5 + Math.random() / 2);
    }
    #mayPass(error) {
        // A server that names no run, as Flowise, does not know the key either: asking it again would pay twice.
        const repeatable = !("Idempotency-Key" in this.#ask.headers && this.#taken && this.runId === undefined);
        return repeatable && !this.#final && error.retryable && PASSING.includes(error.kind);
    }
    /** The chunk's event, which now counts as read. */
    event(chunk) {
        const event = (0, wire_js_1.eventOf)(chunk);
        this.#fold.add(event);
        this.#complete ||= chunk.event === "end";
        if (event.event === "error")
            this.#error = event;
        else if (chunk.event === "error")
            this.#error = { event: "error", data: JSON.stringify(chunk.data) ?? "" };
        return event;
    }
    /** The shortest stream that an answer which came as JSON amounts to; nothing when it was a stream. */
    *unfolded() {
        if (this.#isJson)
            yield* (0, fold_js_1.unfold)(this.decoded(events_js_1.PREDICTION));
    }
    /** The whole answer. Throws the error of the stream's `error` event, and when the stream was not read to its end. */
    result() {
        if (this.#error)
            throw this.#server.failed(this.#error);
        if (this.#isJson)
            return this.decoded(events_js_1.PREDICTION);
        if (!this.#complete)
            throw this.#server.lost("the answer was left before its end");
        return this.#fold.prediction;
    }
    get #isJson() {
        return this.arrived && !this.#streams;
    }
    /** The JSON answer. Throws when it is something else, or does not have the shape. */
    decoded(shape) {
        return this.#parsed(() => {
            const value = JSON.parse(this.#body.join(""));
            const path = (0, wire_js_1.misfit)(value, shape);
            if (path)
                throw new Error(`${path} is not what it should be`);
            return value;
        }, "the answer is neither a stream nor the expected JSON");
    }
}
exports.ResponseReader = ResponseReader;
