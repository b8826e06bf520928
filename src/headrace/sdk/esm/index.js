/**
 * Client for Headrace and Flowise servers.
 *
 * @packageDocumentation
 */
export { HeadraceClient, RunReader, Stream } from "./client.js";
export { ConnectionFailed, FlowError, HeadraceError, ProviderError, RequestError, } from "./errors.js";
export { fold } from "./fold.js";
export { Decoder } from "./sse.js";
export { chunkOf, eventOf } from "./wire.js";
