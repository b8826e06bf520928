import { describe, expect, test } from "vitest";
import { EVENTS } from "../src/events.js";
import { unfold } from "../src/fold.js";
import { type Chunk, chunkOf, eventOf, fold } from "../src/index.js";
import { answer, golden, read, stream } from "./wire.js";

const chunk = (fields: object) => structuredClone(fields) as Chunk;

describe.each(golden)("the golden stream %s", (name) => {
  const frames = read(stream(name)).events;

  test("folds to its answer", () => {
    expect(fold(frames.map((frame) => eventOf(chunkOf(frame))))).toEqual(answer(name));
  });

  test("gives chunks that are its JSON, with ids that do not show", () => {
    for (const [at, frame] of frames.entries()) {
      const parsed = chunkOf(frame);
      expect(JSON.stringify(parsed)).toBe(JSON.stringify(JSON.parse(frame.data)));
      expect(parsed.id).toBe(`${name}:${at + 1}`);
    }
  });

  test("folds to the same in the named dialect, but for what has no place there", () => {
    const events = frames.map((frame) => {
      const { event, data } = JSON.parse(frame.data);
      return eventOf(chunkOf({ event, data: typeof data === "string" ? data : (JSON.stringify(data) ?? ""), id: "" }));
    });
    const { error, ...same } = fold(events);
    const { error: expected, ...rest } = answer(name) as { error?: { data: string } };
    expect([same, error?.data]).toEqual([rest, expected?.data]);
  });
});

test("the named dialect has texts as they are and all else as JSON", () => {
  const named = (event: string, data: string) => chunkOf({ event, data, id: "" });
  expect(named("token", '{"a":1}')).toEqual({ event: "token", data: '{"a":1}' });
  expect(named("end", "[DONE]")).toEqual({ event: "end", data: "[DONE]" });
  expect(named("start", "Once")).toEqual({ event: "start", data: "Once" });
  expect(named("metadata", '{"chatId":"c"}')).toEqual({ event: "metadata", data: { chatId: "c" } });
  expect(named("sourceDocuments", "[]")).toEqual({ event: "sourceDocuments", data: [] });
  expect(named("weather", "sunny")).toEqual({ event: "weather", data: "sunny" });
  expect(eventOf(named("metadata", "no JSON"))).toMatchObject({ event: "unknown", kind: "metadata", data: "no JSON" });
});

test.each(["no JSON", "5", "null", "[]", '{"event":5}', "{}"])("a frame with %s holds no event", (data) => {
  expect(() => chunkOf({ event: "message", data, id: "" })).toThrow();
});

test.each(["toString", "constructor", "__proto__", "hasOwnProperty"])("a kind called %s is an unknown one", (event) => {
  expect(eventOf(chunkOf({ event: "message", data: JSON.stringify({ event, data: "x" }), id: "" }))).toMatchObject({
    event: "unknown",
    kind: event,
  });
  expect(eventOf(chunkOf({ event, data: "x", id: "" }))).toMatchObject({ event: "unknown", kind: event });
});

test("nothing that comes over the wire reaches a prototype", () => {
  const hostile = '{"event":"metadata","data":{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}}';
  const answer = fold([eventOf(chunkOf({ event: "message", data: hostile, id: "" }))]);
  expect(answer).toEqual({ text: "" });
  expect("polluted" in answer || "polluted" in {}).toBe(false);
});

test("null is the same as absent, and defaults are filled in", () => {
  expect(eventOf(chunk({ event: "error", data: "x", code: null }))).toEqual({ event: "error", data: "x" });
  expect(eventOf(chunk({ event: "end" }))).toEqual({ event: "end", data: "[DONE]" });
  expect(eventOf(chunk({ event: "end", data: null })).event).toBe("unknown");
  const documents = eventOf(chunk({ event: "sourceDocuments", data: [{ pageContent: "a" }, { pageContent: "b" }] }));
  expect(documents.data).toEqual([
    { pageContent: "a", metadata: {} },
    { pageContent: "b", metadata: {} },
  ]);
});

test("an answer unfolds to a stream that folds to it", () => {
  const whole = {
    text: "Hello",
    sourceDocuments: [{ pageContent: "a", metadata: {} }],
    chatId: "c",
    usage: { input_tokens: 1, output_tokens: 2, total_tokens: 3 },
  };
  expect(fold(unfold(whole))).toEqual(whole);
  expect([...unfold({})].map(({ event }) => event)).toEqual(["metadata", "end"]);
});

test("there is a shape for each kind of event", () => {
  expect(Object.keys(EVENTS)).toHaveLength(25);
});
