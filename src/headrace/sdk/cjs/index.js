"use strict";
/**
 * Client for Headrace and Flowise servers.
 *
 * @packageDocumentation
 */
Object.defineProperty(exports, "__esModule", { value: true });
exports.eventOf = exports.chunkOf = exports.Decoder = exports.fold = exports.RequestError = exports.ProviderError = exports.HeadraceError = exports.FlowError = exports.ConnectionFailed = exports.Stream = exports.RunReader = exports.HeadraceClient = void 0;
var client_js_1 = require("./client.js");
Object.defineProperty(exports, "HeadraceClient", { enumerable: true, get: function () { return client_js_1.HeadraceClient; } });
Object.defineProperty(exports, "RunReader", { enumerable: true, get: function () { return client_js_1.RunReader; } });
Object.defineProperty(exports, "Stream", { enumerable: true, get: function () { return client_js_1.Stream; } });
var errors_js_1 = require("./errors.js");
Object.defineProperty(exports, "ConnectionFailed", { enumerable: true, get: function () { return errors_js_1.ConnectionFailed; } });
Object.defineProperty(exports, "FlowError", { enumerable: true, get: function () { return errors_js_1.FlowError; } });
Object.defineProperty(exports, "HeadraceError", { enumerable: true, get: function () { return errors_js_1.HeadraceError; } });
Object.defineProperty(exports, "ProviderError", { enumerable: true, get: function () { return errors_js_1.ProviderError; } });
Object.defineProperty(exports, "RequestError", { enumerable: true, get: function () { return errors_js_1.RequestError; } });
var fold_js_1 = require("./fold.js");
Object.defineProperty(exports, "fold", { enumerable: true, get: function () { return fold_js_1.fold; } });
var sse_js_1 = require("./sse.js");
Object.defineProperty(exports, "Decoder", { enumerable: true, get: function () { return sse_js_1.Decoder; } });
var wire_js_1 = require("./wire.js");
Object.defineProperty(exports, "chunkOf", { enumerable: true, get: function () { return wire_js_1.chunkOf; } });
Object.defineProperty(exports, "eventOf", { enumerable: true, get: function () { return wire_js_1.eventOf; } });
