"use strict";
/** The client: `HeadraceClient`, and the streams that it gives. */
Object.defineProperty(exports, "__esModule", { value: true });
exports.HeadraceClient = exports.Stream = exports.RunReader = void 0;
const events_js_1 = require("./events.js");
const request_js_1 = require("./request.js");
const transport_js_1 = require("./transport.js");
/**
 * What one run says, piece by piece, each once; over another connection when one breaks.
 *
 * Leaving a `for await` loop early closes the connection. Reading rejects with the error that the server answers with,
 * and with `ConnectionFailed` when the stream cannot go on.
 */
class RunReader {
    /** @internal */
    call;
    #items;
    /** @internal */
    constructor(call, items) {
        this.call = call;
        this.#items = items;
    }
    /** The run's id, once the answer has begun, if the server names one. */
    get runId() {
        return this.call.answer.runId;
    }
    /** Id of the last event that was read, `<run>:<number>`: what a resumed stream follows. */
    get lastEventId() {
        return this.call.answer.lastEventId;
    }
    /** Sends the request, and resolves when the server has accepted it; reading does the same by itself. */
    async open() {
        await this.call.open();
        return this;
    }
    /** The next piece. The first step sends the request, unless it is under way. */
    next() {
        return this.#items.next();
    }
    /** Closes the connection. What becomes of the run is a matter of `onDisconnect`. */
    async return() {
        this.call.close();
        return this.#items.return();
    }
    /** Closes the connection; reading ends. What becomes of the run is a matter of `onDisconnect`. */
    async close() {
        await this.return();
    }
    /**
     * Stops the run. The stream then ends with `abort` and `end`, unless it had ended. Resolves to what is known of the run.
     *
     * Rejects with `invalid_request` when the stream has not begun.
     */
    async cancel() {
        return this.call.cancel();
    }
    /** Itself: every loop goes on where the last one stopped. */
    [Symbol.asyncIterator]() {
        return this;
    }
}
exports.RunReader = RunReader;
/**
 * The events of one run. Each way to read goes on where the last one stopped.
 *
 * An `error` event is an event like others; `text` and `final` throw its error after the last event.
 */
class Stream extends RunReader {
    /** @internal */
    constructor(call) {
        super(call, call.events());
    }
    /** The answer's text in pieces. Throws the error of an `error` event after the last piece. */
    async *text() {
        for await (const event of this)
            if (event.event === "token")
                yield event.data;
        this.call.answer.result();
    }
    /**
     * Reads to the end and gives the whole answer, with what was read before.
     *
     * Throws the error of an `error` event. The answer of a cancelled run is what there is of it, and says `aborted`.
     */
    async final() {
        for await (const _ of this)
            ;
        return this.call.answer.result();
    }
}
exports.Stream = Stream;
/** A connection to a Headrace or Flowise server. It holds no resources, and may serve any number of calls at once. */
class HeadraceClient {
    #server;
    #fetch;
    /** Throws `invalid_request` when the address or the key cannot be used. */
    constructor(options = {}) {
        this.#server = new request_js_1.Server(options);
        // Called late and on nothing: the platform's own must not be unbound, and may be replaced.
        this.#fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
    }
    async createPrediction(data, options = {}) {
        const { chatflowId, streaming, ...body } = data;
        const asked = streaming ? { ...body, streaming } : body;
        const ask = this.#server.predict(chatflowId, asked, options.idempotencyKey, options.signal);
        const call = this.#call(ask);
        if (ask.kind !== "stream")
            return call.json({});
        return new RunReader(call, call.chunks()).open();
    }
    /** Asks a flow and streams its answer. A flow that does not stream gives its answer in one token. */
    stream(flow, question, options = {}) {
        return new Stream(this.#call(this.#server.question(flow, question, "stream", options)));
    }
    /** Asks a flow and waits for the whole answer. */
    async predict(flow, question, options = {}) {
        return new Stream(this.#call(this.#server.question(flow, question, "answer", options))).final();
    }
    /** Asks a flow and waits for nothing: `resume` reads the answer, `run` says how far it is. */
    async start(flow, question, options = {}) {
        return this.#call(this.#server.question(flow, question, "call", options)).json(events_js_1.RUN_INFO);
    }
    /**
     * The events of a run after the event number `after`, and on with it as it goes on. Needs no question.
     *
     * With `after`, what the stream's `text` and `final` give lacks what came before. Reading rejects with `run_not_found`
     * when the server does not know the run, or no longer.
     */
    resume(runId, { after = 0, signal } = {}) {
        return new Stream(this.#call(this.#server.events(runId, `${runId}:${after}`, signal)));
    }
    /** What is known of a run. Rejects with `run_not_found`. */
    async run(runId, { signal } = {}) {
        return this.#call(this.#server.run(runId, signal)).json(events_js_1.RUN_INFO);
    }
    /** What is known of a chat's runs, newest first. */
    async runs(flow, chatId, { signal } = {}) {
        return this.#call(this.#server.runs(flow, chatId, signal)).json(["list", events_js_1.RUN_INFO]);
    }
    /** Stops a run; one that is over stays as it is. Rejects with `run_not_found`. */
    async cancel(runId, { signal } = {}) {
        return this.#call(this.#server.cancel(runId, signal)).json(events_js_1.RUN_INFO);
    }
    /** All flows. Needs a key with the permission `chatflows:view`. */
    async flows({ signal } = {}) {
        return this.#call(this.#server.flows(signal)).json(["list", events_js_1.FLOW_ROW]);
    }
    /** How a flow's chat looks and what it takes: starter prompts, uploads, title. */
    async chatConfig(flow, { signal } = {}) {
        return this.#call(this.#server.chatConfig(flow, signal)).json({});
    }
    /** Reads files into what goes along with a question as `uploads`. */
    async attach(flow, chatId, files, { signal } = {}) {
        const ask = this.#server.attach(flow, chatId, files, signal);
        const found = await this.#call(ask).json(["list", events_js_1.ATTACHMENT]);
        return found.map(({ name, mimeType, content }) => ({ type: "file:full", name, mime: mimeType, data: content }));
    }
    /** Rates an answer by its `chatMessageId`, with a remark if there is one; another time changes the rating. */
    async rate(flow, messageId, rating, { remark, signal } = {}) {
        return this.#call(this.#server.rate(flow, messageId, rating, remark, signal)).json(events_js_1.FEEDBACK);
    }
    #call(ask) {
        return new transport_js_1.Call(this.#fetch, this.#server, ask);
    }
}
exports.HeadraceClient = HeadraceClient;
