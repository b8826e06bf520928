// Drives the TypeScript library for the Python tests: a job as JSON comes in on each line, its outcome goes out.
// node driver.mjs PACKAGE < jobs          PACKAGE is the built library's module
import { createInterface } from "node:readline";
import { setImmediate } from "node:timers/promises";
import { pathToFileURL } from "node:url";

const { HeadraceClient, Decoder, chunkOf, eventOf } = await import(pathToFileURL(process.argv[2]).href);

async function list(items) {
  const all = [];
  for await (const item of items) all.push(item);
  return all;
}

async function taken(stream, count) {
  const items = [];
  for (let left = count; left > 0; left--) items.push((await stream.next()).value);
  return items;
}

// The chunk's text as it came, and its id.
const said = (chunk) => [JSON.stringify(chunk), chunk.id ?? ""];

// Node 18 has no global File.
const named = ([name, bytes, type]) => Object.assign(new Blob([new Uint8Array(bytes)], { type }), { name });

const place = (stream) => [stream.runId ?? null, stream.lastEventId ?? null];

function told({ name, message, kind, code, status, retryable, retryAfter, attempts, lastEventId, stack }) {
  return { name, message, kind, code, status, retryable, retryAfter, attempts, lastEventId, stack };
}

const jobs = {
  call: (client, { name, args }) => client[name](...args),
  attach: (client, { args: [flow, chat, files, options] }) => client.attach(flow, chat, files.map(named), options),
  predict: (client, { flow, question, options }) => client.predict(flow, question, options),
  chunks: async (client, { data }) => {
    const answer = await client.createPrediction(data);
    return answer[Symbol.asyncIterator] ? { chunks: (await list(answer)).map(said) } : { answer };
  },
  leave_chunks: async (client, { flow, question }) => {
    for await (const _ of await client.createPrediction({ chatflowId: flow, question, streaming: true })) break;
  },
  resumed: (client, { run, after }) => list(client.resume(run, { after })),
  cancel_unbegun: (client, { flow, question }) => client.stream(flow, question).cancel(),
  cancelled: async (client, { flow, question, count }) => {
    const stream = client.stream(flow, question);
    await taken(stream, count);
    return [await stream.cancel(), await list(stream), await stream.final()];
  },
  events: (client, { flow, question, options }) => list(client.stream(flow, question, options)),
  read: async (client, { flow, question }) => {
    const events = [];
    try {
      for await (const event of client.stream(flow, question)) events.push(event);
    } catch (error) {
      return { events, error: told(error) };
    }
    return { events };
  },
  text: (client, { flow, question }) => list(client.stream(flow, question).text()),
  final: (client, { flow, question, options }) => client.stream(flow, question, options).final(),
  place: async (client, { flow, question, count }) => {
    const stream = await client.stream(flow, question).open();
    const places = [place(stream)];
    for (let left = count; left > 0; left--) {
      await stream.next();
      places.push(place(stream));
    }
    await stream.close();
    return places;
  },
  first_then_final: async (client, { flow, question }) => {
    const stream = client.stream(flow, question);
    await stream.next();
    return stream.final();
  },
  final_after_close: async (client, { flow, question }) => {
    const stream = client.stream(flow, question);
    await stream.next();
    await stream.close();
    if (!(await stream.next()).done) throw new Error("a closed stream goes on");
    return stream.final();
  },
  leave: async (client, { flow, question, options }) => {
    for await (const _ of client.stream(flow, question, options)) break;
  },
  twice: async (client, { flow, question }) => {
    await client.stream(flow, question).final();
    await setImmediate(); // Node's fetch frees a connection a turn after its last byte
    await client.predict(flow, question);
  },
  many: (client, { asked }) => Promise.all(asked.map(([flow, question]) => list(client.stream(flow, question)))),
  decoded: (_, { streams }) =>
    streams.map((bytes) => {
      const decoder = new Decoder();
      const events = decoder.feed(new Uint8Array(bytes));
      return { events, lastId: decoder.lastId, retry: decoder.retry ?? null };
    }),
  classified: (_, { texts }) => texts.map((data) => eventOf(chunkOf({ event: "message", data, id: "" }))),
};

async function outcome({ job, setup, ...rest }) {
  try {
    return { value: (await jobs[job](new HeadraceClient(setup), rest)) ?? null };
  } catch (error) {
    return { error: told(error) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await outcome(JSON.parse(line)))}\n`);
}
