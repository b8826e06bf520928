// Drives the TypeScript library for the Python tests: a job as JSON comes in on each line, its outcome goes out.
// node driver.mjs PACKAGE < jobs          PACKAGE is the built library's module
import { createInterface } from "node:readline";
import { setImmediate } from "node:timers/promises";
import { pathToFileURL } from "node:url";

const { HeadraceClient } = await import(pathToFileURL(process.argv[2]).href);

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

const place = (stream) => [stream.runId ?? null, stream.lastEventId ?? null];

const jobs = {
  call: (client, { name, args }) => client[name](...args),
  predict: (client, { flow, options }) => client.predict(flow, "Hi", options),
  chunks: async (client, { data }) => {
    const answer = await client.createPrediction(data);
    return answer[Symbol.asyncIterator] ? { chunks: (await list(answer)).map(said) } : { answer };
  },
  leave_chunks: async (client, { flow }) => {
    for await (const _ of await client.createPrediction({ chatflowId: flow, question: "Hi", streaming: true })) break;
  },
  resumed: (client, { run, after }) => list(client.resume(run, { after })),
  cancel_unbegun: (client, { flow }) => client.stream(flow, "Hi").cancel(),
  cancelled: async (client, { flow, count }) => {
    const stream = client.stream(flow, "Hi");
    await taken(stream, count);
    return [await stream.cancel(), await list(stream), await stream.final()];
  },
  events: (client, { flow, options }) => list(client.stream(flow, "Hi", options)),
  text: (client, { flow }) => list(client.stream(flow, "Hi").text()),
  final: (client, { flow, options }) => client.stream(flow, "Hi", options).final(),
  place: async (client, { flow, count }) => {
    const stream = await client.stream(flow, "Hi").open();
    const places = [place(stream)];
    for (let left = count; left > 0; left--) {
      await stream.next();
      places.push(place(stream));
    }
    await stream.close();
    return places;
  },
  first_then_final: async (client, { flow }) => {
    const stream = client.stream(flow, "Hi");
    await stream.next();
    return stream.final();
  },
  final_after_close: async (client, { flow }) => {
    const stream = client.stream(flow, "Hi");
    await stream.next();
    await stream.close();
    if (!(await stream.next()).done) throw new Error("a closed stream goes on");
    return stream.final();
  },
  leave: async (client, { flow, options }) => {
    const stream = client.stream(flow, "Hi", options);
    for await (const _ of stream) break;
    return stream.runId ?? null;
  },
  twice: async (client, { flow }) => {
    await client.stream(flow, "Hi").final();
    await setImmediate(); // Node's fetch frees a connection a turn after its last byte
    await client.predict(flow, "Hi");
  },
  many: (client, { flows }) =>
    Promise.all(
      flows.map(async ([flow, question]) => {
        const stream = client.stream(flow, question);
        return [await list(stream), stream.lastEventId];
      }),
    ),
};

async function outcome({ job, setup, ...rest }) {
  try {
    return { value: (await jobs[job](new HeadraceClient(setup), rest)) ?? null };
  } catch (error) {
    const { name, message, kind, code, status, retryable, retryAfter, attempts, lastEventId, stack } = error;
    return { error: { name, message, kind, code, status, retryable, retryAfter, attempts, lastEventId, stack } };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await outcome(JSON.parse(line)))}\n`);
}
