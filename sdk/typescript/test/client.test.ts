/** What the Python tests, which drive the library against a scripted and the real server, cannot see. */

import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ConnectionFailed, HeadraceClient, HeadraceError, RequestError } from "../src/index.js";

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

const TOKEN = 'id:r:1\ndata:{"event":"token","data":"Hi"}\n\n';
const END = 'id:r:2\ndata:{"event":"end","data":"[DONE]"}\n\n';
const STREAM = { "Content-Type": "text/event-stream", "X-Run-Id": "r" };

let server: Server;
let url: string;
let answer: Answer;
let seen: IncomingMessage[];

beforeEach(async () => {
  seen = [];
  server = createServer((request, response) => {
    seen.push(request);
    answer(request, response);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterEach(async () => {
  vi.unstubAllGlobals();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const streams =
  (...pieces: string[]): Answer =>
  (_, response) => {
    response.writeHead(200, STREAM);
    for (const piece of pieces) response.write(piece);
  };

const whole: Answer = (_, response) => response.writeHead(200, STREAM).end(TOKEN + END);

/** Resolves when the server notices that its reader has gone. */
const left = () => once(seen[0]?.socket as IncomingMessage["socket"], "close");

test("an aborted signal ends the wait with its reason, and closes the connection", async () => {
  answer = streams(TOKEN);
  const abort = new AbortController();
  const stream = new HeadraceClient({ baseUrl: url }).stream("f", "Hi", { signal: abort.signal });
  expect((await stream.next()).value).toEqual({ event: "token", data: "Hi" });
  const waiting = stream.next();
  abort.abort(new Error("enough"));
  await expect(waiting).rejects.toThrow("enough");
  await left();
  expect(await stream.next()).toEqual({ done: true, value: undefined });
});

test("an aborted signal ends the pause between two attempts", async () => {
  const busy = vi.fn(async () => new Response("", { status: 503, headers: { "Retry-After": "60" } }));
  const abort = new AbortController();
  const waiting = new HeadraceClient({ fetch: busy }).predict("f", "Hi", { signal: abort.signal });
  await vi.waitFor(() => expect(busy).toHaveBeenCalled());
  await new Promise((resolve) => setImmediate(resolve)); // the pause has begun
  abort.abort();
  await expect(waiting).rejects.toMatchObject({ name: "AbortError" });
  expect(busy).toHaveBeenCalledOnce();
});

test("a signal that is aborted already sends nothing", async () => {
  const client = new HeadraceClient({ baseUrl: url });
  const signal = AbortSignal.abort(new Error("never"));
  await expect(client.predict("f", "Hi", { signal })).rejects.toThrow("never");
  await expect(client.run("r", { signal })).rejects.toThrow("never");
  expect(seen).toHaveLength(0);
});

test("a signal keeps nothing of a call that is over", async () => {
  answer = whole;
  const { signal } = new AbortController();
  const [add, remove] = [vi.spyOn(signal, "addEventListener"), vi.spyOn(signal, "removeEventListener")];
  const client = new HeadraceClient({ baseUrl: url });
  await client.stream("f", "Hi", { signal }).final();
  for await (const _ of client.stream("f", "Hi", { signal })) break;
  answer = (_, response) => response.writeHead(404).end();
  await expect(client.stream("f", "Hi", { signal }).open()).rejects.toMatchObject({ kind: "not_found" });
  const listeners = new Set(add.mock.calls.map(([, listener]) => listener));
  expect(new Set(remove.mock.calls.map(([, listener]) => listener))).toEqual(listeners);
  expect(listeners.size).toBe(3);
});

test("closing a stream ends a step that waits", async () => {
  answer = streams(TOKEN);
  const stream = new HeadraceClient({ baseUrl: url }).stream("f", "Hi");
  await stream.next();
  const waiting = stream.next();
  await stream.close();
  expect(await waiting).toEqual({ done: true, value: undefined });
  await left();
});

test("a stream that was opened and never read can be closed", async () => {
  answer = streams(TOKEN);
  const chunks = await new HeadraceClient({ baseUrl: url }).createPrediction({
    chatflowId: "f",
    question: "Hi",
    streaming: true,
  });
  expect(chunks.runId).toBe("r");
  await chunks.close();
  await left();
});

test("leaving the text early closes the connection", async () => {
  answer = streams(TOKEN);
  for await (const text of new HeadraceClient({ baseUrl: url }).stream("f", "Hi").text()) {
    expect(text).toBe("Hi");
    break;
  }
  await left();
});

test("a refusal rejects before there is a stream to read", async () => {
  answer = (_, response) => response.writeHead(401).end('{"error":"Unauthorized Access"}');
  const asked = new HeadraceClient({ baseUrl: url }).createPrediction({
    chatflowId: "f",
    question: "",
    streaming: true,
  });
  await expect(asked).rejects.toBeInstanceOf(RequestError);
  await expect(asked).rejects.toMatchObject({
    name: "RequestError",
    code: "unauthorized",
    status: 401,
    retryable: false,
  });
});

test("a fetch of one's own is used, and one without streams or signals will do", async () => {
  answer = whole;
  const asked: string[] = [];
  const own = async (input: unknown, init?: RequestInit) => {
    asked.push(String(input));
    const response = await fetch(String(input), { ...init, signal: null });
    return new Proxy(response, {
      get: (target, name) => {
        const value = name === "body" ? undefined : Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  };
  const client = new HeadraceClient({ baseUrl: url, fetch: own as typeof fetch });
  expect((await client.stream("f", "Hi").final()).text).toBe("Hi");
  expect(asked).toEqual([`${url}/api/v1/prediction/f`]);
});

test("the time limits hold with a fetch that knows no signals", async () => {
  const client = new HeadraceClient({ fetch: () => new Promise(() => undefined), timeout: 20, attempts: 1 });
  const error = await client.run("r").catch((error: unknown) => error);
  expect(error).toBeInstanceOf(ConnectionFailed);
  expect(error).toMatchObject({ status: undefined, attempts: 1, retryable: true });
  expect(String(error)).toContain("`timeout`");
});

test("a limit of Infinity waits as long as it takes", async () => {
  answer = (request, response) => setTimeout(() => whole(request, response), 20);
  const client = new HeadraceClient({ baseUrl: url, idleTimeout: Number.POSITIVE_INFINITY, attempts: 1 });
  expect((await client.stream("f", "Hi").final()).text).toBe("Hi");
});

test("the platform's fetch is looked up for each request, and called on nothing", async () => {
  const client = new HeadraceClient({ baseUrl: url });
  const calls: unknown[] = [];
  vi.stubGlobal("fetch", function (this: unknown) {
    calls.push(this);
    return Promise.resolve(new Response('{"text":"Hi"}', { headers: { "Content-Type": "application/json" } }));
  });
  expect(await client.predict("f", "Hi")).toEqual({ text: "Hi" });
  expect(calls).toEqual([globalThis]);
});

test("there are keys without a global crypto, as in Node 18", async () => {
  answer = whole;
  const client = new HeadraceClient({ baseUrl: url });
  await client.stream("f", "Hi").final();
  vi.stubGlobal("crypto", undefined);
  await client.stream("f", "Hi").final();
  await client.stream("f", "Hi").final();
  const keys = seen.map(({ headers }) => String(headers["idempotency-key"]));
  for (const key of keys) expect(key).toMatch(/^[0-9a-f]{32}$/);
  expect(new Set(keys).size).toBe(3);
});

test("a user and a password in the address are sent, unless there is a key", async () => {
  answer = whole;
  const baseUrl = url.replace("//", "//m%C3%A9:s%40crt@");
  await new HeadraceClient({ baseUrl }).stream("f", "Hi").final();
  await new HeadraceClient({ baseUrl: `${baseUrl}/`, apiKey: " key\n" }).stream("f", "Hi").final();
  const sent = seen.map(({ headers }) => headers.authorization);
  expect(sent).toEqual([`Basic ${Buffer.from("mé:s@crt").toString("base64")}`, "Bearer key"]);
});

test.each([
  ["localhost:3000", "", /^baseUrl 'localhost:3000' must start with http/],
  ["me:secret@host", "", /^baseUrl 'host' must start/],
  ["http://host:port", "", /^baseUrl 'http:\/\/host:port' is no address/],
  ["", "sk-\nsecret", /API key has characters/],
  ["", "sk-secrét", /API key has characters/],
])("the address %j with the key %j is refused at once", (baseUrl, apiKey, complaint) => {
  const make = () => new HeadraceClient({ baseUrl, apiKey });
  expect(make).toThrow(complaint);
  expect(make).toThrow(HeadraceError);
  expect(make).not.toThrow(/secr/);
});

test("what is null in a question is left out, and what a flow is given stays as it is", async () => {
  let body = "";
  answer = async (request, response) => {
    for await (const data of request) body += data;
    response.writeHead(200, { "Content-Type": "application/json" }).end("{}");
  };
  const client = new HeadraceClient({ baseUrl: url });
  await client.createPrediction({
    chatflowId: "f",
    question: "Hi",
    chatId: null,
    streaming: false,
    overrideConfig: { stop: null, list: [null] },
    leadEmail: undefined,
  });
  expect(JSON.parse(body)).toEqual({ question: "Hi", overrideConfig: { stop: null, list: [null] } });
});
