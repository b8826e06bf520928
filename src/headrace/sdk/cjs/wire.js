"use strict";
/** From the wire's JSON to typed values: what does not have the expected fields is not passed off as if it had. */
Object.defineProperty(exports, "__esModule", { value: true });
exports.object = object;
exports.chunkOf = chunkOf;
exports.eventOf = eventOf;
exports.misfit = misfit;
const events_js_1 = require("./events.js");
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
/** The JSON object in a text. Throws when it is something else. */
function object(text) {
    const value = JSON.parse(text);
    if (!isObject(value))
        throw new Error("it is no JSON object");
    return value;
}
/** The chunk that a frame holds, in either dialect. Throws when it holds none. */
function chunkOf(frame) {
    const chunk = frame.event === "message" ? object(frame.data) : named(frame);
    if (typeof chunk.event !== "string")
        throw new Error("an event needs a text `event`");
    if (frame.id)
        Object.defineProperty(chunk, "id", { value: frame.id });
    return chunk;
}
/** The event of a frame that names it: texts come as they are, all else as JSON. */
function named({ event, data }) {
    const shape = Object.hasOwn(events_js_1.EVENTS, event) ? events_js_1.EVENTS[event]?.data : "unknown";
    const structured = typeof shape === "object" ? shape[0] !== "optional" : shape === "object";
    if (!structured)
        return { event, data };
    try {
        return { event, data: JSON.parse(data) };
    }
    catch {
        return { event, data }; // not the payload that this version knows
    }
}
/** The chunk's event; `unknown` when its kind or its payload is not known. */
function eventOf(chunk) {
    const kind = chunk.event;
    const fields = chunk;
    if (Object.hasOwn(events_js_1.EVENTS, kind) && !misfit(fields, events_js_1.EVENTS[kind]))
        return fields;
    return { event: "unknown", kind, data: chunk.data, fields };
}
/**
 * Where a value differs from its shape, as a path; undefined when it fits.
 *
 * In a value that fits, what is null for absent is left out, and defaults are filled in; another one stays as it is.
 */
function misfit(value, shape) {
    const edits = [];
    const path = differs(value, shape, "$", edits);
    if (path === undefined)
        for (const edit of edits)
            edit();
    return path;
}
function differs(value, shape, path, edits) {
    if (shape === "unknown")
        return undefined;
    if (shape === "object")
        return isObject(value) ? undefined : path;
    if (shape === "integer")
        return Number.isInteger(value) ? undefined : path;
    if (typeof shape === "string")
        return typeof value === shape ? undefined : path;
    if (isList(shape)) {
        if (!Array.isArray(value))
            return path;
        return first(value.map((item, at) => differs(item, shape[1], `${path}[${at}]`, edits)));
    }
    if (!isObject(value))
        return path;
    return first(Object.entries(shape).map(([name, field]) => differsIn(value, name, field, `${path}.${name}`, edits)));
}
function differsIn(record, name, field, path, edits) {
    const optional = Array.isArray(field) && field[0] === "optional";
    if (!optional)
        return Object.hasOwn(record, name) ? differs(record[name], field, path, edits) : path;
    const absent = record[name] === undefined || (record[name] === null && field[2] === undefined);
    if (!absent)
        return differs(record[name], field[1], path, edits);
    edits.push(() => {
        if (field[2] === undefined)
            delete record[name];
        else
            record[name] = structuredClone(field[2]);
    });
    return undefined;
}
const isList = (shape) => Array.isArray(shape);
const first = (paths) => paths.find((path) => path !== undefined);
