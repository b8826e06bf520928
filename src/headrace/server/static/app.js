/** The playground: puts the parts together, and holds the address and the key. */

import * as api from "./api.js";
import { Chat } from "./chat.js";
import { showCode } from "./code.js";
import { announce, at, button, el } from "./dom.js";
import { FlowList } from "./flows.js";
import { Graph } from "./graph.js";
import { Inspector } from "./inspector.js";
import { Lights } from "./lights.js";
import { RunList } from "./runs.js";
import * as storage from "./storage.js";

const TABS = ["live", "runs", "code"];
const THEMES = [
  ["", "as the system", "◐"],
  ["light", "light", "☀"],
  ["dark", "dark", "☾"],
];

const graph = new Graph(at("graph"));
const inspector = new Inspector(at("events"));
const chat = new Chat({ inspector, lights: new Lights({ nodes: [], edges: [] }) });
const runs = new RunList(at("view-runs"), chat);
const flows = new FlowList(at("flows"), openFlow, askForKey);
let bound = false; // whether the flow needs a key

/** Shows a flow: with a key all that is known of it, without what everybody may see. */
async function openFlow(id) {
  closeFlows();
  try {
    const known = flows.rows.find((row) => row.id === id);
    const config = await api.publicFlow(id);
    const drawing = JSON.parse(config.flowData);
    bound = Boolean(known?.apikeyid);
    chat.lights = new Lights(drawing);
    chat.open({ id, name: known?.name ?? (config.title || "This flow"), config });
    graph.show(drawing, known?.coverage.missing);
    named(known?.name ?? "Playground");
    flows.choose(id);
    history.replaceState(null, "", `?flow=${encodeURIComponent(id)}`);
    showCode(at("view-code"), { flow: chat.flow, bound });
    ready(true);
  } catch (error) {
    welcome(error.message);
  }
}

/** Whether there is a flow to ask. */
function ready(yes) {
  for (const name of ["question", "send", "new-chat"]) at(name).disabled = !yes;
}

function named(name) {
  at("flow-name").textContent = name;
}

function welcome(wrong) {
  ready(false);
  const first = flows.rows.length
    ? "Choose a flow on the left, or drop a flow file anywhere."
    : "Open a flow by its id, or enter the server's key to see all of them. The server prints both when it starts.";
  at("turns").replaceChildren(
    el(
      "div",
      { class: "hello" },
      el("h2", {}, "Playground"),
      wrong ? el("p", { class: "error" }, wrong) : "",
      el("p", {}, first),
      el(
        "div",
        { class: "prompts" },
        storage.key.get() ? "" : button("Enter a key", askForKey, { class: "chip" }),
        button("Flows", openFlows, { class: "chip only-narrow" }),
      ),
    ),
  );
}

// The key

function askForKey() {
  at("key").value = storage.key.get();
  at("key-error").textContent = "";
  at("key-dialog").showModal();
}

async function useKey(key) {
  storage.key.set(key.trim());
  const wrong = await flows.load(Boolean(storage.key.get()));
  at("open-key").toggleAttribute("data-set", Boolean(storage.key.get()) && !wrong);
  at("open-key").textContent = storage.key.get() && !wrong ? "Key ✓" : "Key";
  return storage.key.get() ? wrong : "";
}

at("open-key").addEventListener("click", askForKey);
at("cancel-key").addEventListener("click", () => at("key-dialog").close());
at("forget-key").addEventListener("click", async () => {
  await useKey("");
  at("key-dialog").close();
});
at("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const wrong = await useKey(at("key").value);
  at("key-error").textContent = wrong;
  if (wrong) return;
  at("key-dialog").close();
  if (chat.flow) flows.choose(chat.flow.id);
  else if (flows.rows.length) await openFlow(flows.rows.at(-1).id);
});

// Views: tabs at a desk, a bar at the bottom of a phone

function view(name) {
  document.body.dataset.view = name;
  const tab = name === "chat" ? undefined : name;
  for (const other of TABS) {
    if (!tab) break;
    const chosen = other === tab;
    at(`tab-${other}`).setAttribute("aria-selected", String(chosen));
    at(`tab-${other}`).tabIndex = chosen ? 0 : -1;
    at(`view-${other}`).hidden = !chosen;
  }
  for (const item of at("bottom").children) {
    if (item.dataset.view === name) item.setAttribute("aria-current", "true");
    else item.removeAttribute("aria-current");
  }
  if (name === "runs") runs.show();
}

for (const name of TABS) at(`tab-${name}`).addEventListener("click", () => view(name));
at("tabs").addEventListener("keydown", (event) => {
  const now = TABS.findIndex((name) => at(`tab-${name}`) === document.activeElement);
  const next = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: TABS.length - 1 }[event.key];
  if (now < 0 || next === undefined) return;
  event.preventDefault();
  const name = TABS[(next + TABS.length) % TABS.length];
  view(name);
  at(`tab-${name}`).focus();
});
at("bottom").addEventListener("click", (event) => event.target.dataset.view && view(event.target.dataset.view));

// The list of flows is a drawer on narrow screens

function openFlows() {
  document.body.toggleAttribute("data-flows", true);
  at("open-flows").setAttribute("aria-expanded", "true");
  at("flows").querySelector("button, input")?.focus();
}

function closeFlows() {
  document.body.removeAttribute("data-flows");
  at("open-flows").setAttribute("aria-expanded", "false");
}

at("open-flows").addEventListener("click", () =>
  document.body.hasAttribute("data-flows") ? closeFlows() : openFlows(),
);
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.body.hasAttribute("data-flows")) {
    closeFlows();
    at("open-flows").focus();
  }
});
at("chat").addEventListener("pointerdown", closeFlows);

// Colours

function colours(theme) {
  const [value, label, sign] = THEMES.find(([name]) => name === theme) ?? THEMES[0];
  storage.theme.set(value);
  if (value) document.documentElement.dataset.theme = value;
  else delete document.documentElement.dataset.theme;
  at("theme").textContent = sign;
  at("theme").title = `Colours: ${label}`;
  at("theme").setAttribute("aria-label", at("theme").title);
}

at("theme").addEventListener("click", () => {
  const now = THEMES.findIndex(([name]) => name === storage.theme.get());
  colours(THEMES[(now + 1) % THEMES.length][0]);
});

// What happens in the chat

chat.addEventListener("lit", () => graph.light(chat.lights.states));
chat.addEventListener("changed", () => {
  runs.show();
  showCode(at("view-code"), { flow: chat.flow, question: chat.turns.at(-1)?.question, bound });
});
chat.addEventListener("busy", () => {
  const live = chat.running;
  inspector.offer(
    ...(live?.stream
      ? [
          button("Disconnect", () => chat.drop(), {
            class: "small",
            title: "Closes the connection; the run goes on and can be resumed",
          }),
        ]
      : []),
  );
});

// A key in the address comes from the server's first line; nobody else shall read it there.

function keyInAddress() {
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  if (key) storage.key.set(key);
}

async function begin() {
  colours(storage.theme.get());
  keyInAddress();
  welcome();
  const wrong = await useKey(storage.key.get());
  if (wrong) announce(wrong);
  const wanted = new URLSearchParams(location.search).get("flow") ?? flows.rows.at(-1)?.id;
  if (wanted) await openFlow(wanted);
  else welcome();
}

addEventListener("hashchange", begin); // a link with a key, pasted into this tab
begin();
