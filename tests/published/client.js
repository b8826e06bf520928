// A prediction with npm's flowise-sdk, as a process: a job as JSON comes in, a JSON line a chunk goes out.
// node client.js FOLDER < job.json          FOLDER holds node_modules/flowise-sdk
const { FlowiseClient } = require(require.resolve("flowise-sdk", { paths: [process.argv[2]] }));

async function main() {
  const job = JSON.parse(require("fs").readFileSync(0, "utf8"));
  const client = new FlowiseClient({ baseUrl: job.baseUrl, apiKey: job.apiKey });
  try {
    const answer = await client.createPrediction(job.data);
    if (!answer[Symbol.asyncIterator]) return console.log(JSON.stringify({ chunk: answer }));
    for await (const chunk of answer) console.log(JSON.stringify({ chunk }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}

main();
