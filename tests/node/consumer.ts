// What users write, as the compiler sees it: compiled against the installed package, by ESM's and by CommonJS's rules.
import {
  type Chunk,
  ConnectionFailed,
  type ErrorCode,
  HeadraceClient,
  HeadraceError,
  type HeadraceEvent,
  type Prediction,
  type RunInfo,
} from "headrace-sdk";

// The shape of the documented example.
async function test_streaming() {
  const client = new HeadraceClient({ baseUrl: "http://localhost:3000" });
  try {
    const prediction = await client.createPrediction({
      chatflowId: "<chatflow-id>",
      question: "What is the capital of France?",
      streaming: true,
    });
    for await (const chunk of prediction) {
      const { event, data }: Chunk = chunk;
      console.log(event, data);
    }
  } catch (error) {
    console.error("Error:", error);
  }
}

function told(event: HeadraceEvent): string {
  switch (event.event) {
    case "token":
      return event.data;
    case "sourceDocuments":
      return event.data.map((document) => document.pageContent).join();
    case "metadata":
      return event.data.chatId ?? "";
    case "error":
      return `${event.code} ${event.retryAfter}`;
    case "unknown":
      return `${event.kind} ${event.fields.station}`;
    default:
      // @ts-expect-error: the tokens were taken above
      if (event.event === "token") return "";
      return event.event;
  }
}

async function typed(client: HeadraceClient) {
  const answer: Prediction = await client.createPrediction({ chatflowId: "f", question: "Hi" });
  const run: RunInfo = await client.createPrediction({ chatflowId: "f", question: "Hi", background: true });
  const either = await client.createPrediction({ chatflowId: "f", question: "Hi", streaming: Math.random() > 0.5 });
  const stream = client.stream("f", "Hi", {
    chatId: null,
    onDisconnect: { continueFor: 30 },
    signal: AbortSignal.abort(),
  });
  for await (const event of stream) told(event);
  for await (const text of stream.text()) text.toUpperCase();
  const final: Prediction = await stream.final();
  const cancelled: RunInfo = await stream.cancel();
  const code: ErrorCode = new ConnectionFailed("x").kind;
  const uploads = await client.attach("f", "c", document.querySelector<HTMLInputElement>("input")?.files ?? []);
  await client.predict("f", "Hi", { uploads });
  const names: string[] = (await client.flows()).map((flow) => flow.name);
  const title: unknown = (await client.chatConfig("f")).title;
  const remark: string | undefined = (await client.rate("f", "m", "THUMBS_DOWN", { remark: "too short" })).content;
  return [
    names,
    title,
    remark,
    answer,
    run,
    either,
    final,
    cancelled,
    code,
    run.state === "finished",
    run.links.events,
  ];
}

async function refused(client: HeadraceClient) {
  // @ts-expect-error: a flow is needed
  await client.createPrediction({ question: "Hi" });
  // @ts-expect-error: a question is a text
  await client.createPrediction({ chatflowId: "f", question: 5 });
  // @ts-expect-error: there is no such field
  await client.createPrediction({ chatflowId: "f", question: "Hi", chatID: "c" });
  // @ts-expect-error: nor there
  client.stream("f", "Hi", { chat_id: "c" });
  // @ts-expect-error: nor such a policy
  client.stream("f", "Hi", { onDisconnect: "stop" });
  // @ts-expect-error: an upload has a type
  client.stream("f", "Hi", { uploads: [{ name: "a.png" }] });
  // @ts-expect-error: an answer is no stream
  for await (const _ of await client.createPrediction({ chatflowId: "f", question: "Hi" }));
  // @ts-expect-error: a stream has no text of its own
  (await client.createPrediction({ chatflowId: "f", question: "Hi", streaming: true })).text;
  // @ts-expect-error: a file has a name
  await client.attach("f", "c", [new Blob(["text"])]);
  // @ts-expect-error: thumbs point up or down
  await client.rate("f", "m", "THUMBS_SIDEWAYS");
  // @ts-expect-error: times are numbers
  new HeadraceClient({ timeout: "30s" });
  // @ts-expect-error: there is no such code
  const code: ErrorCode = "teapot";
  // @ts-expect-error: a run is not in this state
  const over = (await client.run("r")).state === "over";
  // @ts-expect-error: errors are not changed
  new HeadraceError("x").code = "y";
  return [code, over];
}

export { refused, test_streaming, typed };
