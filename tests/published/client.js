// A prediction with npm's flowise-sdk or ours, as a process: a job as JSON comes in, a JSON line a chunk goes out.
// node client.js PACKAGE CLASS < job.json          PACKAGE is the package's folder
const Client = require(process.argv[2])[process.argv[3]];

async function main() {
  const job = JSON.parse(require("fs").readFileSync(0, "utf8"));
  const client = new Client({ baseUrl: job.baseUrl, apiKey: job.apiKey });
  try {
    const answer = await client.createPrediction(job.data);
    if (!answer[Symbol.asyncIterator]) return console.log(JSON.stringify({ chunk: answer }));
    for await (const chunk of answer) console.log(JSON.stringify({ chunk }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}

main();
