// Predictions with npm's flowise-sdk or ours: a job as JSON comes in on a line, a JSON line a chunk goes out.
// After a job's chunks comes an empty line.
// node client.js PACKAGE CLASS < jobs          PACKAGE is the package's folder
const Client = require(process.argv[2])[process.argv[3]];

async function asked(job) {
  const client = new Client({ baseUrl: job.baseUrl, apiKey: job.apiKey });
  try {
    const answer = await client.createPrediction(job.data);
    if (!answer[Symbol.asyncIterator]) return console.log(JSON.stringify({ chunk: answer }));
    for await (const chunk of answer) console.log(JSON.stringify({ chunk }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}

async function main() {
  for await (const line of require("readline").createInterface({ input: process.stdin })) {
    await asked(JSON.parse(line));
    console.log();
  }
}

main();
