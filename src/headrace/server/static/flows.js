/** The list of flows with their coverage, and files that are dropped to become flows. */

import * as api from "./api.js";
import { button, count, el } from "./dom.js";

/** A file's content as the server imports it: a flow without a name gets the file's. Throws for what is no JSON. */
function contentOf(text, name) {
  const value = JSON.parse(text);
  if (Array.isArray(value) || typeof value !== "object" || !value) throw new Error("it holds no flow");
  return Array.isArray(value.nodes) ? { name, flowData: value } : value;
}

export class FlowList {
  #open;
  #needKey;
  #report = el("div", { class: "report", "aria-live": "polite" });
  #list = el("div");
  #rows = [];
  #waiting = []; // files that need a key first
  chosen = "";

  /** `open` shows a flow; `needKey` asks for a key. */
  constructor(root, open, needKey) {
    this.#open = open;
    this.#needKey = needKey;
    const file = el("input", {
      type: "file",
      accept: ".json,application/json",
      multiple: true,
      class: "hidden",
      tabindex: "-1",
      "aria-label": "Flow files",
      on: { change: () => this.take([...file.files]).then(() => (file.value = "")) },
    });
    const drop = el(
      "div",
      { class: "drop" },
      el("p", {}, "Drop a flow file here"),
      button("Choose a file", () => file.click(), { class: "small" }),
      file,
    );
    const id = el("input", { id: "flow-id", placeholder: "Flow id", autocomplete: "off", spellcheck: "false" });
    const byId = el(
      "form",
      {
        class: "row",
        on: {
          submit: (event) => {
            event.preventDefault();
            if (id.value.trim()) this.#open(id.value.trim());
          },
        },
      },
      el("label", { class: "hidden", for: "flow-id" }, "Flow id"),
      id,
      el("button", { class: "small", type: "submit" }, "Open"),
    );
    root.append(el("h2", {}, "Flows"), this.#list, el("div", { class: "add" }, drop, this.#report, byId));
    this.#listen();
  }

  get rows() {
    return this.#rows;
  }

  /** Asks for the flows, if there is a key for that. */
  async load(hasKey) {
    this.#rows = [];
    let wrong = hasKey ? "" : "With the server's admin key you see its flows here.";
    if (hasKey) {
      try {
        this.#rows = await api.flows();
      } catch (error) {
        wrong = error.message;
      }
    }
    this.show(wrong);
    if (hasKey && this.#waiting.length) await this.take(this.#waiting.splice(0));
    return wrong;
  }

  show(wrong = "") {
    this.#list.replaceChildren(
      wrong &&
        el(
          "p",
          { class: "faint" },
          wrong,
          " ",
          this.#rows.length ? "" : button("Enter a key", this.#needKey, { class: "link strong" }),
        ),
      el(
        "ul",
        { class: "flow-list" },
        this.#rows.map((row) => this.#row(row)),
      ),
    );
  }

  #row({ id, name, type, coverage }) {
    const all = coverage.runs.length + coverage.missing.length;
    const stops = coverage.findings.some((finding) => finding.stops);
    const note = coverage.missing.length
      ? `${coverage.runs.length} of ${count(all, "node type")} run`
      : stops
        ? "cannot answer yet"
        : `all ${count(all, "node type")} run`;
    return el(
      "li",
      {},
      el(
        "button",
        {
          type: "button",
          "aria-current": id === this.chosen ? "true" : undefined,
          on: { click: () => this.#open(id) },
        },
        el("span", { class: "name" }, name),
        el(
          "span",
          { class: "faint" },
          type === "CHATFLOW" ? "" : type === "AGENTFLOW" ? "agent flow · " : `${type.toLowerCase()} · `,
          el("span", { class: stops || coverage.missing.length ? "lack" : "" }, note),
        ),
      ),
    );
  }

  /** Marks a flow as the one that is open. */
  choose(id) {
    this.chosen = id;
    this.show(this.#list.querySelector("p")?.firstChild?.data ?? "");
  }

  #listen() {
    const over = (on) => document.body.toggleAttribute("data-dropping", on);
    addEventListener("dragover", (event) => {
      if (![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      over(true);
    });
    addEventListener("dragleave", (event) => event.relatedTarget || over(false));
    addEventListener("drop", (event) => {
      event.preventDefault();
      over(false);
      this.take([...event.dataTransfer.files]);
    });
  }

  /** Stores the flows in files, and says what this server runs of them. */
  async take(files) {
    if (!files.length) return;
    const reports = [];
    let last;
    for (const file of files) {
      try {
        const name = file.name.replace(/\.json$/i, "");
        const done = await api.importFile(contentOf(await file.text(), name), name);
        last = done.flows.at(-1) ?? last;
        reports.push(...done.flows.map(report), ...told(done));
      } catch (error) {
        if (error.status === 401 || error.status === 403) {
          this.#waiting = files;
          this.#report.replaceChildren(
            el("p", { class: "error" }, `${file.name}: storing a flow needs the server's admin key.`),
          );
          this.#needKey();
          return;
        }
        reports.push(
          el(
            "p",
            { class: "error" },
            `${file.name}: ${error instanceof SyntaxError ? "this is no JSON file" : error.message}`,
          ),
        );
      }
    }
    if (last) {
      await this.load(true);
      await this.#open(last.id);
    }
    this.#report.replaceChildren(...reports);
  }
}

/** New keys, which are shown only now, and what else is to be known of an import. */
function told({ keys, tools, variables, documentStores, notes, skipped }) {
  const others = [...tools, ...variables, ...documentStores];
  return [
    ...keys.map(({ keyName, apiKey }) =>
      el("p", { class: "key" }, `API key "${keyName}", shown only now: `, el("code", {}, apiKey)),
    ),
    others.length ? el("p", {}, `Also stored: ${others.join(", ")}`) : "",
    ...notes.map((note) => el("p", {}, note)),
    ...Object.entries(skipped).map(([section, number]) => el("p", {}, `Not imported: ${number} × ${section}`)),
  ];
}

function report({ name, coverage }) {
  const { runs, missing, findings } = coverage;
  const stopping = findings.filter((finding) => finding.stops);
  const notes = findings.filter((finding) => !finding.stops);
  const all = runs.length + missing.length;
  const bar = el("progress", {
    max: String(all || 1),
    value: String(runs.length),
    "aria-label": "Node types that run",
  });
  return el(
    "div",
    { class: "coverage", data: { whole: String(!stopping.length) } },
    el("strong", {}, name),
    bar,
    el(
      "p",
      {},
      missing.length
        ? `${runs.length} of ${count(all, "node type")} run here.`
        : `All ${count(all, "node type")} run here.`,
      stopping.length ? " It is stored, and answers once this is mended:" : "",
    ),
    missing.length ? el("p", { class: "error" }, `Missing: ${missing.join(", ")}`) : "",
    listed(stopping, "error"),
    listed(notes, "faint"),
    el("details", { class: "fold" }, el("summary", {}, "Runs"), el("p", {}, runs.join(", ") || "none")),
  );
}

/** A line for each finding of a coverage report. */
function listed(findings, kind) {
  return findings.length
    ? el(
        "ul",
        { class: `findings ${kind}` },
        findings.map(({ message }) => el("li", {}, message)),
      )
    : "";
}
