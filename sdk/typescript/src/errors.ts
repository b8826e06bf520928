/** Everything that can go wrong, as one tree. Which codes there are, and what each means, is in events.ts. */

import { ERRORS, type ErrorCode } from "./events.js";

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
export class HeadraceError extends Error {
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
  constructor(message: string, kind: ErrorCode = "internal", details: ErrorDetails = {}) {
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
export class RequestError extends HeadraceError {}

/** The flow cannot run as it is. */
export class FlowError extends HeadraceError {}

/** The model's provider refused or failed. */
export class ProviderError extends HeadraceError {}

/** The server gave no answer, or the answer broke off. */
export class ConnectionFailed extends HeadraceError {}

const FAMILIES: { readonly [family: string]: typeof HeadraceError } = {
  RequestError,
  FlowError,
  ProviderError,
  ConnectionFailed,
};

/** The error of a kind, as its class. */
export function failure(message: string, kind: ErrorCode, details?: ErrorDetails): HeadraceError {
  return new (FAMILIES[ERRORS[kind][2]] ?? HeadraceError)(message, kind, details);
}

/** The kind for a code from the wire; the one of the status when there is no code or an unknown one. */
export function kindOf(code: string | undefined, status = 500): ErrorCode {
  if (code !== undefined && Object.hasOwn(ERRORS, code)) return code as ErrorCode;
  if (code === undefined && [502, 503, 504].includes(status)) return "connection_failed"; // a proxy answered instead
  const kinds = Object.keys(ERRORS) as ErrorCode[];
  const fits = (kind: ErrorCode) => ERRORS[kind][2] !== "ProviderError" || kind === "provider_error";
  const alike = kinds.filter((kind) => ERRORS[kind][0] === status && fits(kind));
  const isRoot = (kind: ErrorCode) => kinds.find((other) => ERRORS[other][2] === ERRORS[kind][2]) === kind;
  const known = alike.find(isRoot) ?? alike[0]; // a family's root is more general; parents come before their children
  return known ?? (status >= 400 && status < 500 ? "invalid_request" : "internal");
}
