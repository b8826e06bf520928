/** One question and its answer on the page, growing with the events of its run. */

import { announce, button, copy, count, el, fill, pieces, seconds, shown } from "./dom.js";
import { Markdown, markdown } from "./markdown.js";

const REST = 4; // drawing may take a fifth of the time: longer texts are drawn less often, and nothing freezes
const STEP = 4000; // characters that are drawn at once: more of them come when an answer is there already
const FIRST = 4; // sources that show at once
const LONG = 20_000; // characters of one source or tool output

export class Answer {
  element = el("article", { class: "turn" });
  text = "";
  #body = el("div", { class: "markdown" });
  #markdown = new Markdown(this.#body);
  #parts = {};
  #tools = new Map();
  #foot = el("footer", { class: "foot" });
  #shown = 0; // characters of the text that are on the page
  #thought = "";
  #began = performance.now();
  #first;
  #drawn = () => {};
  #waiting = false;
  #notBefore = 0;

  /** `drawn` is called whenever the answer has grown on the page. */
  constructor(question, drawn) {
    this.#drawn = drawn;
    this.#parts.thinking = el("div");
    this.#parts.tools = el("div", { class: "tools" });
    this.#parts.sources = el("div");
    this.#parts.notes = el("div");
    const { thinking, tools, sources, notes } = this.#parts;
    const asked =
      question === undefined
        ? []
        : [el("div", { class: "question" }, el("span", { class: "hidden" }, "Question: "), question)];
    this.body = el(
      "div",
      { class: "answer", "aria-busy": "true" },
      thinking,
      tools,
      this.#body,
      sources,
      notes,
      this.#foot,
    );
    this.element.append(...asked, this.body);
    this.state = "running";
  }

  get state() {
    return this.element.dataset.state;
  }

  set state(state) {
    this.element.dataset.state = state;
    this.body.setAttribute("aria-busy", String(state === "running"));
  }

  /** Takes an event of the run. */
  take(event) {
    const { data } = event;
    switch (event.event) {
      case "token":
        this.#first ??= performance.now() - this.#began;
        this.text += data;
        this.#later();
        break;
      case "thinking":
        this.#think(data, event.duration);
        break;
      case "agent_trace":
        this.#trace(data);
        break;
      case "usedTools":
        this.#used(data);
        break;
      case "sourceDocuments":
        this.#cite(data);
        break;
      case "artifacts":
        this.#parts.notes.append(
          ...data
            .filter(({ type, data: text }) => type === "markdown" && typeof text === "string")
            .map(({ data: text }) => markdown(text)),
        );
        break;
      case "nextAgentFlow":
        if (data.error) this.#parts.notes.append(callout("failed", `${data.nodeLabel}: ${data.error}`));
        break;
      case "action":
        this.action = data;
        break;
      case "metadata":
        this.#conclude(data);
        break;
      case "error":
        this.fail(data, event.code);
        break;
      case "abort":
        this.state = "cancelled";
        this.#parts.notes.append(callout("cancelled", "Stopped."));
        break;
      default:
    }
  }

  /** Shows that the run, or the way to it, failed. */
  fail(message, code) {
    this.state = "failed";
    this.#parts.notes.append(callout("failed", message, code));
    announce(`Failed: ${message}`);
  }

  /** No event follows. */
  finish() {
    if (this.state === "running") this.state = "finished";
    this.draw();
    if (this.state === "finished") announce("The answer is complete.");
  }

  /** Reading was left while the run goes on. */
  detach(at) {
    this.state = "detached";
    this.draw();
    this.#parts.notes.replaceChildren(
      callout("detached", `Not connected since event ${at}. The run goes on without a reader.`),
    );
  }

  /** Reading goes on. */
  attach() {
    this.state = "running";
    this.#parts.notes.replaceChildren();
  }

  /** What stands below the answer: facts, then buttons. */
  foot(...buttons) {
    const facts = [];
    if (this.#first !== undefined && !this.restored) facts.push(`first token after ${seconds(this.#first)}`);
    const tokens = this.usage?.output_tokens;
    if (tokens) facts.push(`${count(tokens, "token")}${this.usage.estimated ? ", estimated" : ""}`);
    const copying = this.text && button("Copy", (event) => copy(this.text, event.target), { class: "link" });
    this.#foot.replaceChildren(
      el("span", { class: "faint" }, facts.join(" · ")),
      el("span", { class: "grow" }),
      copying || "",
      ...buttons,
    );
  }

  #later() {
    if (this.#waiting) return;
    this.#waiting = true;
    const pause = this.#notBefore - performance.now();
    const next = () => requestAnimationFrame(() => this.#waiting && this.draw());
    if (pause > 16 || document.hidden) setTimeout(document.hidden ? () => this.draw() : next, Math.max(pause, 16));
    else next();
  }

  /** Brings the page up to date with the text. */
  draw() {
    this.#waiting = false;
    const began = performance.now();
    this.#shown = Math.min(this.text.length, this.#shown + STEP);
    this.#markdown.show(this.text.slice(0, this.#shown));
    const [, thought] = this.#parts.thinking.firstChild?.children ?? [];
    if (thought) fill(thought, pieces(this.#thought));
    this.#drawn();
    const now = performance.now();
    this.#notBefore = now + REST * (now - began);
    if (this.#shown < this.text.length) this.#later();
  }

  #think(text, duration) {
    this.#thought += text;
    this.#parts.thinking.firstChild ??
      this.#parts.thinking.append(
        el("details", { class: "fold" }, el("summary", {}, "Thinking…"), el("div", { class: "thought" })),
      );
    const [summary] = this.#parts.thinking.firstChild.children;
    if (duration !== undefined) summary.textContent = `Thought for ${count(duration, "second")}`;
    this.#later();
  }

  #trace({ step, name, tool = name, input, output, error, runId }) {
    if (step === "tool_start") {
      this.#tools.set(runId, this.#tool(tool, input));
      this.#parts.tools.append(this.#tools.get(runId));
    } else if (step === "tool_end" || step === "tool_error") {
      const made = this.#tools.get(runId);
      if (made) told(made, output, error);
    }
    this.#drawn();
  }

  #tool(name, input) {
    return el(
      "details",
      { class: "fold tool", data: { state: "running" } },
      el("summary", {}, el("span", { class: "dot" }), el("code", {}, name), el("span", { class: "faint" }, "running…")),
      field("Input", input),
    );
  }

  /** The tools as the run sums them up; what was shown of them while they ran gives way. */
  #used(list) {
    const tools = list.map(({ tool, toolInput, toolOutput, error }) => {
      const made = this.#tool(tool, toolInput);
      told(made, toolOutput, error);
      return made;
    });
    this.#parts.tools.replaceChildren(...tools);
    this.#drawn();
  }

  #cite(documents) {
    const passages = documents.map(({ pageContent, metadata }, at) => {
      const more = Object.keys(metadata ?? {}).length ? field("Metadata", metadata) : "";
      return el(
        "details",
        { class: "passage" },
        el(
          "summary",
          {},
          el("span", { class: "number" }, String(at + 1)),
          el("span", { class: "source" }, titleOf(metadata ?? {}) || `passage ${at + 1}`),
          el("span", { class: "faint glance" }, pageContent.slice(0, 120)),
        ),
        el("p", {}, pageContent.slice(0, LONG)),
        more,
      );
    });
    this.#parts.sources.replaceChildren(
      documents.length
        ? el(
            "section",
            { class: "sources", "aria-label": "Sources" },
            el("h3", {}, count(documents.length, "source")),
            ...passages.slice(0, FIRST),
            passages.length > FIRST &&
              el(
                "details",
                { class: "more" },
                el("summary", {}, `${passages.length - FIRST} more`),
                ...passages.slice(FIRST),
              ),
          )
        : "",
    );
    this.#drawn();
  }

  #conclude(data) {
    this.usage = data.usage;
    if (data.text !== undefined && data.text !== null && data.text !== this.text) {
      this.text = data.text; // words before a tool call are no part of the answer
      this.#shown = 0;
    }
    if (data.json !== undefined && data.json !== null) this.text = `\`\`\`json\n${shown(data.json)}\n\`\`\``;
    if (data.followUpPrompts) this.followUps = data.followUpPrompts;
    this.draw();
  }
}

/** Where a passage is from: its file or page, and the heading or the number of the page there. */
function titleOf({ source, title, fileName, heading, loc }) {
  const name = shown(source ?? title ?? fileName ?? "");
  const page = loc?.pageNumber && `page ${loc.pageNumber}`;
  return [name.split("/").at(-1) || name, heading ?? page].filter(Boolean).map(shown).join(" · ");
}

function told(made, output, error) {
  made.dataset.state = error ? "failed" : "done";
  made.querySelector("summary").lastChild.textContent = error ? "failed" : "";
  made.append(error ? field("Error", error) : field("Output", output));
}

function field(name, value) {
  return el(
    "div",
    { class: "field" },
    el("span", { class: "faint" }, name),
    el("pre", { tabindex: "0", role: "region", "aria-label": name }, shown(value).slice(0, LONG)),
  );
}

function callout(kind, text, code) {
  return el("div", { class: "callout", data: { kind } }, el("span", {}, text), code && el("code", {}, code));
}
