/** Everything that can go wrong, as one tree. Which codes there are, and what each means, is in events.ts. */
import { ERRORS } from "./events.js";
/** Root of the tree. The message is safe to show to anyone: it never holds the API key. */
export class HeadraceError extends Error {
    /** The code that this version takes the error for; the same as `code`, unless a newer server sent one of its own. */
    kind;
    /** What went wrong, as the server named it. */
    code;
    /** The HTTP status that it came with or that its code stands for; undefined when no answer came. */
    status;
    /** Whether the same request may succeed later. */
    retryable;
    /** Seconds to wait before another attempt, when known. */
    retryAfter;
    /** How many requests in a row brought nothing, when the library gave up for that. */
    attempts;
    /** Id of the last event that was read until then. */
    lastEventId;
    /** Takes status and `retryable` from the code, unless the details say otherwise. */
    constructor(message, kind = "internal", details = {}) {
        super(message, details.cause === undefined ? undefined : { cause: details.cause });
        const [status, retryable, family] = ERRORS[kind];
        this.name = family;
        this.kind = kind;
        this.code = details.code || kind;
        this.status = details.status ?? (status || undefined);
        this.retryable = details.retryable ?? retryable;
        this.retryAfter = details.retryAfter;
    }
}
/** The caller must change something, or slow down. */
export class RequestError extends HeadraceError {
}
/** The flow cannot run as it is. */
export class FlowError extends HeadraceError {
}
/** The model's provider refused or failed. */
export class ProviderError extends HeadraceError {
}
/** The server gave no answer, or the answer broke off. */
export class ConnectionFailed extends HeadraceError {
}
const FAMILIES = {
    RequestError,
    FlowError,
    ProviderError,
    ConnectionFailed,
};
/** The error of a kind, as its class. */
export function failure(message, kind, details) {
    return new (FAMILIES[ERRORS[kind][2]] ?? HeadraceError)(message, kind, details);
}
/** The kind for a code from the wire; the one of the status when there is no code or an unknown one. */
export function kindOf(code, status = 500) {
    if (code !== undefined && Object.hasOwn(ERRORS, code))
        return code;
    if (code === undefined && [502, 503, 504].includes(status))
        return "connection_failed"; // a proxy answered instead
    const kinds = Object.keys(ERRORS);
    const fits = (kind) => ERRORS[kind][2] !== "ProviderError" || kind === "provider_error";
    const alike = kinds.filter((kind) => ERRORS[kind][0] === status && fits(kind));
    const isRoot = (kind) => kinds.find((other) => ERRORS[other][2] === ERRORS[kind][2]) === kind;
    const known = alike.find(isRoot) ?? alike[0]; // a family's root is more general; parents come before their children
    return known ?? (status >= 400 && status < 500 ? "invalid_request" : "internal");
}
