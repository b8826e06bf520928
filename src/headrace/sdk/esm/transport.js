/** Moves the bytes of an answer, and connects again when the connection breaks; what to do says response.ts. */
import { HeadraceError } from "./errors.js";
import { RUN_INFO } from "./events.js";
import { ResponseReader } from "./response.js";
const LONGEST_TIMER = 2 ** 31 - 1; // a longer one would fire at once
const CLOSED = new Error("closed by its reader"); // ends the reading without a word
/** One connection. Whatever waits for it stops waiting when it is closed, also when `fetch` knows no signals. */
class Connection {
    #abort = new AbortController();
    signal = this.#abort.signal;
    #giveUp; // of what waits
    /** What the work gives. A silence of more than `ms` closes the connection. One at a time. */
    async within(ms, work) {
        const late = () => this.close(new DOMException("nothing came in time (see `idleTimeout`, `answerTimeout` and `timeout`)", "TimeoutError"));
        const timer = ms > LONGEST_TIMER ? undefined : setTimeout(late, ms);
        try {
            // No race with a promise that lasts as long as the connection: it would keep every piece of the stream.
            return await new Promise((resolve, reject) => {
                this.#giveUp = reject;
                if (this.signal.aborted)
                    reject(this.signal.reason);
                work.then(resolve, reject);
            });
        }
        finally {
            clearTimeout(timer);
            this.#giveUp = undefined;
        }
    }
    close(reason) {
        this.#abort.abort(reason);
        this.#giveUp?.(reason);
    }
}
/** The body at once, where the platform cannot stream it. */
async function whole(response) {
    return { done: true, value: new Uint8Array(await response.arrayBuffer()) };
}
/** One answer, over as many connections as it takes. */
export class Call {
    answer;
    #fetch;
    #server;
    #ask;
    #connection; // none once its last byte has come: to abort it then would end its keep-alive
    #response;
    #over; // why there shall be no more
    #wake; // ends the pause between two requests
    constructor(fetch, server, ask) {
        this.#fetch = fetch;
        this.#server = server;
        this.#ask = ask;
        this.answer = new ResponseReader(server, ask);
    }
    /** Sends the request, unless its answer has begun. Resolves when the answer's headers are there. */
    async open() {
        const { signal } = this.#ask;
        if (signal?.aborted)
            this.#abandon();
        signal?.addEventListener("abort", this.#abandon);
        while (!this.#response) {
            try {
                if (this.#over)
                    throw this.#over.reason;
                this.#response = await this.#send(this.answer.request());
            }
            catch (error) {
                await this.#again(error).catch((final) => {
                    this.close();
                    throw final;
                });
            }
        }
        return this.#response;
    }
    async #send(request) {
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
    async #moved(kind, connection, work) {
        try {
            return await connection.within(this.#server.silence(kind), work);
        }
        catch (error) {
            if (this.#over)
                throw this.#over.reason;
            const { name, message, code } = (error.cause ?? error);
            // Node's fetch has limits of its own: five minutes for each silence.
            const silent = name === "TimeoutError" || code === "UND_ERR_HEADERS_TIMEOUT" || code === "UND_ERR_BODY_TIMEOUT";
            throw this.answer.failed(message || code || String(error), silent, error);
        }
    }
    /** Waits for the time of the next request. Throws when there shall be none. */
    async #again(error) {
        if (this.#over)
            throw this.#over.reason;
        this.#connection?.close(CLOSED);
        this.#response = undefined;
        if (!(error instanceof HeadraceError))
            throw error;
        const ms = this.answer.pause(error);
        await new Promise((resolve) => {
            const timer = setTimeout(resolve, ms);
            this.#wake = () => {
                clearTimeout(timer);
                resolve();
            };
        });
    }
    /** The stream, chunk by chunk, however often the connection breaks, or what a JSON answer to it amounts to. */
    async *chunks() {
        try {
            while (!this.answer.arrived) {
                const response = await this.open();
                try {
                    for await (const data of this.#bytes(response))
                        yield* this.answer.feed(data);
                    this.answer.finish();
                }
                catch (error) {
                    if (this.answer.arrived)
                        break; // after the `end` event a broken connection does not matter
                    await this.#again(error);
                }
            }
            if (this.#ask.kind === "stream")
                yield* this.answer.unfolded();
        }
        catch (error) {
            if (error !== CLOSED)
                throw error;
        }
        finally {
            this.close();
        }
    }
    async *#bytes(response) {
        const connection = this.#connection;
        const reader = response.body?.getReader();
        const read = () => reader?.read() ?? whole(response);
        while (connection) {
            const { done, value } = await this.#moved(this.#ask.kind, connection, read());
            if (value)
                yield value;
            if (done)
                break;
        }
        this.#connection = undefined;
    }
    /** The answer's events. */
    async *events() {
        for await (const chunk of this.chunks())
            yield this.answer.event(chunk);
    }
    /** The JSON answer. */
    async json(shape) {
        for await (const _ of this.chunks())
            ;
        return this.answer.decoded(shape);
    }
    /** Ends the run that the answer comes from. */
    async cancel() {
        const ask = this.#server.cancel(this.answer.runId);
        return new Call(this.#fetch, this.#server, ask).json(RUN_INFO);
    }
    /** Closes the connection, for good. */
    close(reason = CLOSED) {
        this.#over ??= { reason };
        this.#ask.signal?.removeEventListener("abort", this.#abandon);
        this.#connection?.close(reason);
        this.#wake?.();
    }
    #abandon = () => this.close(this.#ask.signal?.reason);
}
