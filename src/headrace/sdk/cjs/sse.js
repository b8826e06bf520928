"use strict";
/**
 * Server-Sent Events: a push decoder. It knows neither `fetch` nor what the data means.
 *
 * Rules: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
 */
Object.defineProperty(exports, "__esModule", { value: true });
exports.Decoder = void 0;
/** Turns an event stream's bytes, cut anywhere, into events. */
class Decoder {
    /** Id of the last event that came whole: where to resume. */
    lastId = "";
    /** Reconnection time in milliseconds, once the stream named one. */
    retry;
    #utf8 = new TextDecoder(); // drops one byte order mark, and keeps a cut character for the next chunk
    #partial = []; // a line's fragments: joining once keeps one giant line linear
    #afterCr = false;
    #id = "";
    #event = "";
    #data = [];
    /** The events that `chunk` completes. What follows the last blank line waits for the next chunk. */
    feed(chunk) {
        let text = this.#utf8.decode(chunk, { stream: true });
        if (this.#afterCr && text) {
            this.#afterCr = false;
            if (text[0] === "\n")
                text = text.slice(1);
        }
        if (!text)
            return [];
        const lines = text.split(/\r\n|\r|\n/);
        const rest = lines.pop();
        this.#afterCr = text.endsWith("\r");
        const events = [];
        for (const end of lines) {
            const line = this.#partial.length ? this.#partial.join("") + end : end;
            this.#partial = [];
            const event = this.#line(line);
            if (event)
                events.push(event);
        }
        if (rest)
            this.#partial.push(rest);
        return events;
    }
    #line(line) {
        if (!line)
            return this.#dispatch();
        const colon = line.indexOf(":");
        if (colon < 0)
            this.#field(line, "");
        else if (colon > 0)
            this.#field(line.slice(0, colon), line.slice(colon + (line[colon + 1] === " " ? 2 : 1)));
        return undefined; // a colon in front makes a comment
    }
    #field(name, value) {
        if (name === "data")
            this.#data.push(value);
        else if (name === "event")
            this.#event = value;
        else if (name === "id" && !value.includes("\0"))
            this.#id = value;
        else if (name === "retry" && /^[0-9]+$/.test(value))
            this.retry = Number(value);
    }
    #dispatch() {
        const event = this.#event || "message";
        const data = this.#data;
        this.#event = "";
        this.#data = [];
        this.lastId = this.#id;
        return data.length ? { event, data: data.join("\n"), id: this.lastId } : undefined;
    }
}
exports.Decoder = Decoder;
