/** The golden streams and cases of tests/wire, which Python's tests read too. */

import { readdirSync, readFileSync } from "node:fs";
import type { ServerSentEvent } from "../src/sse.js";
import { Decoder } from "../src/sse.js";

const folder = new URL("../../../tests/wire/", import.meta.url);
const utf8 = new TextEncoder();

export interface Case {
  name: string;
  /** A text stands for its UTF-8. */
  pieces: (string | number[])[];
  events: ServerSentEvent[];
  lastId?: string;
  retry?: number;
}

export const cases: Case[] = JSON.parse(readFileSync(new URL("cases.json", folder), "utf8"));

export const golden: string[] = readdirSync(folder).flatMap((name) => /^(.*)\.sse$/.exec(name)?.[1] ?? []);

export const stream = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(`${name}.sse`, folder)));

export const answer = (name: string): unknown => JSON.parse(readFileSync(new URL(`${name}.json`, folder), "utf8"));

export const bytes = (piece: string | number[]): Uint8Array =>
  typeof piece === "string" ? utf8.encode(piece) : new Uint8Array(piece);

export function joined(pieces: Uint8Array[]): Uint8Array {
  return new Uint8Array(pieces.flatMap((piece) => [...piece]));
}

export function read(...pieces: Uint8Array[]): {
  events: ServerSentEvent[];
  lastId: string;
  retry: number | undefined;
} {
  const decoder = new Decoder();
  const events = pieces.flatMap((piece) => decoder.feed(piece));
  return { events, lastId: decoder.lastId, retry: decoder.retry };
}
