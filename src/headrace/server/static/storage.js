/** What the browser keeps: the key for this tab, chats for this browser. Without storage everything works until the page is closed. */

const CHATS = 20; // of a flow
const TURNS = 100; // of a chat
const memory = new Map();

function read(storage, name) {
  try {
    return window[storage].getItem(name) ?? undefined;
  } catch {
    return memory.get(name);
  }
}

function write(storage, name, value) {
  try {
    if (value === undefined) window[storage].removeItem(name);
    else window[storage].setItem(name, value);
  } catch {
    memory.set(name, value);
  }
}

export const key = {
  get: () => read("sessionStorage", "headrace.key") ?? "",
  set: (value) => write("sessionStorage", "headrace.key", value || undefined),
};

export const theme = {
  get: () => read("localStorage", "headrace.theme") ?? "",
  set: (value) => write("localStorage", "headrace.theme", value || undefined),
};

/** A new random text that nobody can guess. */
export function fresh() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The chats of a flow in this browser, newest first: `{id, at, turns: [{question, key, run, error, humanInput}]}`. */
export function chats(flow) {
  try {
    const found = JSON.parse(read("localStorage", `headrace.chats.${flow}`) ?? "[]");
    return Array.isArray(found)
      ? found.filter((chat) => typeof chat?.id === "string" && Array.isArray(chat.turns))
      : [];
  } catch {
    return [];
  }
}

/** Keeps a chat as it is now. */
export function keep(flow, chat) {
  const turns = chat.turns.slice(-TURNS).map(({ question, key, run, error, humanInput }) => ({
    question,
    key,
    run,
    error,
    humanInput,
  }));
  const others = chats(flow).filter((other) => other.id !== chat.id);
  write(
    "localStorage",
    `headrace.chats.${flow}`,
    JSON.stringify([{ id: chat.id, at: chat.at, turns }, ...others].slice(0, CHATS)),
  );
}

/** Forgets the chats of a flow. */
export const forget = (flow) => write("localStorage", `headrace.chats.${flow}`, undefined);

/** The chat that this tab is in. */
export const current = {
  get: (flow) => read("sessionStorage", `headrace.chat.${flow}`),
  set: (flow, chat) => write("sessionStorage", `headrace.chat.${flow}`, chat),
};
