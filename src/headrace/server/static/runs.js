/** The runs of the chat, and the earlier chats of this browser. */

import { client } from "./api.js";
import { button, count, el, seconds } from "./dom.js";
import * as storage from "./storage.js";

export class RunList {
  #root;
  #chat;
  #asked = 0;

  constructor(root, chat) {
    this.#root = root;
    this.#chat = chat;
  }

  /** Asks the server anew and shows what it says. */
  async show() {
    const { flow, id } = this.#chat;
    if (!flow || this.#root.hidden) return;
    const asked = ++this.#asked;
    let runs = [];
    let wrong = "";
    try {
      runs = await client().runs(flow.id, id);
    } catch (error) {
      wrong = error.message;
    }
    if (asked !== this.#asked) return;
    const earlier = storage.chats(flow.id).filter((chat) => chat.id !== id && chat.turns.length);
    this.#root.replaceChildren(
      el(
        "div",
        { class: "row head" },
        el("h2", {}, "This chat"),
        el("span", { class: "grow" }),
        button("Refresh", () => this.show(), { class: "link" }),
      ),
      wrong
        ? el("p", { class: "error" }, wrong)
        : runs.length
          ? el(
              "ul",
              { class: "runs" },
              runs.map((run) => this.#run(run)),
            )
          : el("p", { class: "empty" }, "No run yet."),
      earlier.length
        ? el(
            "div",
            {},
            el(
              "div",
              { class: "row head" },
              el("h2", {}, "Earlier chats in this browser"),
              el("span", { class: "grow" }),
              button("Forget", () => this.#forget(), { class: "link" }),
            ),
            el(
              "ul",
              { class: "chats" },
              earlier.map((chat) => this.#earlier(chat)),
            ),
          )
        : "",
    );
  }

  #run(run) {
    const turn = this.#chat.turns.find((turn) => turn.run === run.id);
    const took = run.endedDate ? seconds(Math.max(0, Date.parse(run.endedDate) - Date.parse(run.createdDate))) : "";
    const facts = [
      new Date(run.createdDate).toLocaleTimeString(),
      took,
      count(run.lastSeq, "event"),
      run.usage
        ? `${count(run.usage.input_tokens, "token")} in, ${run.usage.output_tokens.toLocaleString("en")} out`
        : "",
    ].filter(Boolean);
    const reading = this.#chat.running?.turn.run === run.id;
    return el(
      "li",
      { class: "run" },
      el(
        "div",
        { class: "row" },
        el("span", { class: "badge", data: { state: run.state } }, run.state),
        el("span", { class: "cut" }, turn?.question ?? `run ${run.id.slice(0, 8)}`),
      ),
      el("p", { class: "faint" }, facts.join(" · ")),
      run.error && el("p", { class: "error" }, run.error),
      el(
        "div",
        { class: "row" },
        run.state === "running" && button("Cancel", () => this.#cancel(run.id), { class: "small danger" }),
        run.state === "running" &&
          !reading &&
          button("Follow", () => this.#chat.follow(run.id, turn?.question), { class: "small" }),
        run.state !== "running" &&
          button("Replay", () => this.#chat.replay(run.id, turn?.question), { class: "small" }),
      ),
    );
  }

  async #cancel(run) {
    await client()
      .cancel(run)
      .catch(() => {});
    await this.show();
  }

  #earlier(chat) {
    const label = chat.turns[0].question;
    return el(
      "li",
      {},
      button(label, () => this.#chat.open(this.#chat.flow, chat.id), { class: "chat-link", title: label }),
      el("span", { class: "faint" }, count(chat.turns.length, "question")),
    );
  }

  #forget() {
    storage.forget(this.#chat.flow.id);
    this.show();
  }
}
