/**
 * Server-Sent Events: a push decoder. It knows neither `fetch` nor what the data means.
 *
 * Rules: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
 */
/** A dispatched event: its type ("message" unless named), its data, and the last event id seen so far. */
export interface ServerSentEvent {
    event: string;
    data: string;
    id: string;
}
/** Turns an event stream's bytes, cut anywhere, into events. */
export declare class Decoder {
    #private;
    /** Id of the last event that came whole: where to resume. */
    lastId: string;
    /** Reconnection time in milliseconds, once the stream named one. */
    retry: number | undefined;
    /** The events that `chunk` completes. What follows the last blank line waits for the next chunk. */
    feed(chunk: Uint8Array): ServerSentEvent[];
}
