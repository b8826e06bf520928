/** The server: predictions and runs by the TypeScript library, administration and configuration by plain requests. */

import { HeadraceClient } from "./sdk/index.js";
import * as storage from "./storage.js";
import { listening } from "./wire.js";

/** Where the server is; a proxy may have put it below a path. */
export const BASE = new URL("./", location.href.split(/[?#]/)[0]).href.replace(/\/$/, "");

/** The library, with its frames told as they come. */
export function client(tell = () => {}) {
  return new HeadraceClient({ baseUrl: BASE, apiKey: storage.key.get(), fetch: listening(tell), attempts: 3 });
}

/** A refused request: its status, and the server's words. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** A request for JSON. Throws Refused. */
export async function ask(path, { method = "GET", body } = {}) {
  const headers = { Accept: "application/json" };
  if (storage.key.get()) headers.Authorization = `Bearer ${storage.key.get()}`;
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(`${BASE}/api/v1/${path}`, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Refused(0, "the server does not answer: is it running?");
  }
  const text = await response.text();
  if (response.ok) return JSON.parse(text);
  throw new Refused(response.status, messageOf(text) || `the server answered with HTTP status ${response.status}`);
}

function messageOf(text) {
  try {
    return JSON.parse(text).message;
  } catch {
    return text.slice(0, 300);
  }
}

/** All flows; needs a key. */
export const flows = () => ask("chatflows");

/** One flow with its coverage; needs a key. */
export const flow = (id) => ask(`chatflows/${encodeURIComponent(id)}`);

/** What everybody may see of a flow: its nodes without secrets, and its starter prompts. */
export const publicFlow = (id) => ask(`public-chatbotConfig/${encodeURIComponent(id)}`);

/** Stores what an exported file holds, and says what became of it; needs a key. */
export const importFile = (content, name) =>
  ask(`export-import/import?name=${encodeURIComponent(name)}`, { method: "POST", body: content });
