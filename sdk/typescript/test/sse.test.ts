import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bytes, cases, golden, joined, read, stream } from "./wire.js";

const name = fc.constantFrom("data", "event", "id", "retry", "message", "", "data ", "\ufeffdata");
const value = fc.string({ unit: fc.constantFrom(..."aé🙂\0 :1\u2028\u0085\u000b"), maxLength: 6 });
const line = fc.oneof(
  fc.constant(""),
  fc.tuple(name, value).map((field) => field.join(":")),
  name,
  fc.constant(": comment"),
);
const text = fc
  .array(fc.tuple(line, fc.constantFrom("\n", "\r", "\r\n")), { maxLength: 20 })
  .map((lines) => bytes(lines.flat().join("")));
const noise = fc.uint8Array({ maxLength: 40 }); // invalid UTF-8 above all
const anyStream = fc.array(fc.oneof(text, noise), { maxLength: 3 }).map(joined);

const single = (all: Uint8Array) => Array.from(all, (byte) => new Uint8Array([byte]));

describe.each(cases)("$name", ({ pieces, events, lastId = "", retry }) => {
  const expected = { events, lastId, retry };
  const whole = joined(pieces.map(bytes));

  test("as it is", () => expect(read(...pieces.map(bytes))).toEqual(expected));
  test("byte by byte", () => expect(read(...single(whole))).toEqual(expected));
  test("cut at every place", () => {
    for (const at of whole.keys()) expect(read(whole.slice(0, at), whole.slice(at))).toEqual(expected);
  });
});

test("any cut of any stream gives the same events", () => {
  const cuts = fc.array(fc.nat(300), { maxLength: 8 });
  fc.assert(
    fc.property(anyStream, cuts, (all, places) => {
      const sorted = [0, ...places.sort((a, b) => a - b), all.length];
      const pieces = sorted.slice(1).map((end, at) => all.slice(sorted[at], end));
      expect(read(...pieces)).toEqual(read(all));
      expect(read(...single(all))).toEqual(read(all));
    }),
    { numRuns: 500 },
  );
});

test.each(golden)("the golden stream %s is the same however it is cut", (name) => {
  const all = stream(name);
  const expected = read(all);
  expect(expected.events.length).toBeGreaterThan(4);
  for (const at of all.keys()) expect(read(all.slice(0, at), all.slice(at))).toEqual(expected);
});
