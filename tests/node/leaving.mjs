// Two streams over one HTTP/2 connection: one is left after its first frames. Prints its run's state and the other.
// node leaving.mjs URL CERTIFICATE FLOW
import { readFileSync } from "node:fs";
import { connect, constants } from "node:http2";

const [url, certificate, flow] = process.argv.slice(2);
const session = connect(url, { ca: readFileSync(certificate) });

function ask(question) {
  const path = `/api/v1/prediction/${flow}`;
  const stream = session.request({ ":path": path, ":method": "POST", "content-type": "application/json" });
  stream.end(JSON.stringify({ question, streaming: true, onDisconnect: "cancel" }));
  return stream;
}

async function text(stream) {
  let all = "";
  for await (const part of stream.setEncoding("utf8")) all += part;
  return all;
}

const other = text(ask("/count 50 | /pace 10"));
const left = ask("/count 500 | /pace 10");
const path = await new Promise((resolve) => {
  left.on("response", (headers) => resolve(`/api/v1/runs/${headers["x-run-id"]}`));
});
left.once("data", () => left.close(constants.NGHTTP2_CANCEL));
left.resume();

let state = "running";
while (state === "running") state = JSON.parse(await text(session.request({ ":path": path }))).state;
console.log(JSON.stringify({ state, other: await other }));
session.close();
