/** For pages with the chat widget of npm's flowise-embed: brings back the answer that a reload has cut off. */

/** Starts the widget anew once it has the answer that it missed. `Chatbot` and `props` are what it was started with. */
export async function restore(Chatbot, props) {
  if (!(await catchUp(props))) return;
  const full = document.querySelector("flowise-fullchatbot");
  if (full) {
    full.replaceWith(full.cloneNode());
    Chatbot.initFull(props);
  } else {
    const button = { ...props.theme?.button, autoWindowOpen: { autoOpen: true, openDelay: 0 } };
    Chatbot.init({ ...props, theme: { ...props.theme, button } });
  }
}

/** Waits for the answer to the last question and puts it where the widget keeps its chat. Whether there was one. */
export async function catchUp({ chatflowid, apiHost, onRequest }) {
  const key = `${chatflowid}_EXTERNAL`;
  const { chatId, chatHistory = [] } = kept(key);
  if (chatHistory.at(-1)?.type !== "userMessage") return false;
  const call = async (path, options = {}) => {
    await onRequest?.(options);
    return fetch(`${apiHost}/api/v1/${path}`, options);
  };
  const listed = await call(`runs?${new URLSearchParams({ flowId: chatflowid, chatId })}`);
  const [run] = listed.ok ? await listed.json() : [];
  if (!run || chatHistory.some((message) => message.messageId === run.chatMessageId)) return false;
  await (await call(`runs/${run.id}/events`)).text(); // ends with the run; heartbeats keep the connection alive
  const headers = { "Content-Type": "application/json", "Last-Event-ID": `${run.id}:0` };
  const reply = await call(`prediction/${chatflowid}`, { method: "POST", headers, body: "{}" });
  const { text, message, chatMessageId: messageId, ...rest } = await reply.json();
  const now = kept(key);
  if (now.chatHistory?.length !== chatHistory.length) return false; // the visitor has gone on meanwhile
  now.chatHistory.push({ ...rest, type: "apiMessage", message: text ?? message, messageId });
  localStorage.setItem(key, JSON.stringify(now));
  return true;
}

function kept(key) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? {};
  } catch {
    return {};
  }
}
