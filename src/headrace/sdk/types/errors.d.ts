/** Everything that can go wrong, as one tree. Which codes there are, and what each means, is in events.ts. */
import { type ErrorCode } from "./events.js";
/** What is known of an error beside its message. */
export interface ErrorDetails {
    /** The code as it came over the wire, when it differs from the one that it is taken for. */
    code?: string | undefined;
    /** The HTTP status that it came with. */
    status?: number | undefined;
    retryable?: boolean | undefined;
    retryAfter?: number | undefined;
    cause?: unknown;
}
/** Root of the tree. The message is safe to show to anyone: it never holds the API key. */
export declare class HeadraceError extends Error {
    /** The code that this version takes the error for; the same as `code`, unless a newer server sent one of its own. */
    readonly kind: ErrorCode;
    /** What went wrong, as the server named it. */
    readonly code: string;
    /** The HTTP status that it came with or that its code stands for; undefined when no answer came. */
    readonly status: number | undefined;
    /** Whether the same request may succeed later. */
    readonly retryable: boolean;
    /** Seconds to wait before another attempt, when known. */
    readonly retryAfter: number | undefined;
    /** How many requests in a row brought nothing, when the library gave up for that. */
    attempts?: number;
    /** Id of the last event that was read until then. */
    lastEventId?: string | undefined;
    /** Takes status and `retryable` from the code, unless the details say otherwise. */
    constructor(message: string, kind?: ErrorCode, details?: ErrorDetails);
}
/** The caller must change something, or slow down. */
export declare class RequestError extends HeadraceError {
}
/** The flow cannot run as it is. */
export declare class FlowError extends HeadraceError {
}
/** The model's provider refused or failed. */
export declare class ProviderError extends HeadraceError {
}
/** The server gave no answer, or the answer broke off. */
export declare class ConnectionFailed extends HeadraceError {
}
/** The error of a kind, as its class. */
export declare function failure(message: string, kind: ErrorCode, details?: ErrorDetails): HeadraceError;
/** The kind for a code from the wire; the one of the status when there is no code or an unknown one. */
export declare function kindOf(code: string | undefined, status?: number): ErrorCode;
