// Chats with a flow through the clients of other protocols: a job as JSON comes in on a line, its result goes out on one.
// A resumed stream is told of first, once it is open.
// node chat_protocols.mjs PACKAGES < jobs       PACKAGES is a folder with the installed packages
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const packages = createRequire(`${process.argv[2]}/`);
const { DefaultChatTransport, readUIMessageStream } = await import(pathToFileURL(packages.resolve("ai")));
const { HttpAgent } = packages("@ag-ui/client");

/** The message that a UI message stream amounts to. */
async function message(stream) {
  let last = null;
  for await (const next of readUIMessageStream({ stream, terminateOnError: true })) last = next;
  return last;
}

const actions = {
  async "ai-sdk"({ api, chatId, text, body, resume }) {
    const transport = new DefaultChatTransport({ api, body });
    if (resume) {
      const stream = await transport.reconnectToStream({ chatId });
      console.log(JSON.stringify({ opened: stream !== null }));
      return stream && (await message(stream));
    }
    const messages = [{ id: "m", role: "user", parts: [{ type: "text", text }] }];
    return message(await transport.sendMessages({ trigger: "submit-message", chatId, messages }));
  },

  async "ag-ui"({ url, threadId, runId, text, resume }) {
    const agent = new HttpAgent({ url, threadId, initialMessages: [{ id: "m", role: "user", content: text }] });
    const events = [];
    const { newMessages } = await agent.runAgent(
      { runId, resume },
      { onEvent: ({ event }) => void events.push(event) },
    );
    return { newMessages, events };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { action, ...job } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ result: await actions[action](job) }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
