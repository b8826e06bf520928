/** The talk with a flow: asks, reads along, stops, comes back to runs after a reload, and replays them. */

import { Answer } from "./answer.js";
import { client } from "./api.js";
import { approval } from "./approval.js";
import { announce, at, button, el, seconds } from "./dom.js";
import { pause, played, recorded } from "./replay.js";
import * as storage from "./storage.js";

const TURN = 12; // milliseconds of events before the page gets its turn: many may come at once
const NEAR = 80; // pixels from the end that still count as being there

/** What a run says, event by event: live, resumed or replayed. */
export class Chat extends EventTarget {
  flow; // {id, name, config}
  #chat; // {id, at, turns}
  #live; // {answer, turn, stream} of what is read
  #follows = true;
  #talk = at("talk");
  #turns = at("turns");
  #question = at("question");

  constructor({ inspector, lights }) {
    super();
    this.inspector = inspector;
    this.lights = lights;
    at("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask(this.#question.value);
    });
    this.#question.addEventListener("input", () => this.#grow());
    this.#question.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.ask(this.#question.value);
    });
    at("stop").addEventListener("click", () => this.stop());
    at("new-chat").addEventListener("click", () => this.open(this.flow, storage.fresh()));
    at("to-end").addEventListener("click", () => this.#toEnd());
    this.#talk.addEventListener("scroll", () => this.#scrolled());
  }

  get turns() {
    return this.#chat?.turns ?? [];
  }

  get id() {
    return this.#chat?.id;
  }

  get running() {
    return this.#live;
  }

  /** Shows a chat of a flow: the one that this tab is in, or the one named. */
  open(flow, id) {
    this.leave();
    this.flow = flow;
    this.inspector.clear();
    this.#turns.replaceChildren();
    const wanted = id ?? storage.current.get(flow.id) ?? storage.fresh();
    storage.current.set(flow.id, wanted);
    this.#chat = storage.chats(flow.id).find((chat) => chat.id === wanted) ?? { id: wanted, at: Date.now(), turns: [] };
    this.lights.clear();
    this.dispatchEvent(new Event("lit"));
    this.#changed();
    if (this.turns.length) this.#restore();
    else this.#greet();
  }

  /** Stops reading, without stopping the run. */
  leave() {
    const live = this.#live;
    this.#live = undefined;
    live?.replay?.abort();
    if (live?.stream) {
      live.stream.close();
      live.answer.detach(live.seq);
      this.#foot(live.turn, live.answer, live.seq);
    }
    this.#busy(false);
  }

  #greet() {
    const prompts = Object.values(this.flow.config?.starterPrompts ?? {})
      .map((item) => item?.prompt)
      .filter((text) => typeof text === "string" && text);
    const hello = this.flow.config?.welcomeMessage;
    this.#turns.replaceChildren(
      el(
        "div",
        { class: "hello" },
        el("h2", {}, this.flow.name),
        el(
          "p",
          {},
          typeof hello === "string" && hello
            ? hello
            : "Ask it something. You see each event as it comes, and nothing is lost when you reload.",
        ),
        el(
          "div",
          { class: "prompts" },
          prompts.slice(0, 6).map((text) => button(text, () => this.ask(text), { class: "chip" })),
        ),
      ),
    );
  }

  async ask(text, humanInput) {
    const question = text.trim();
    if (!question || !this.flow || this.#live) return;
    this.#question.value = "";
    this.#grow();
    const turn = { question, key: storage.fresh(), humanInput };
    this.#chat.turns.push(turn);
    this.#chat.at = Date.now();
    storage.keep(this.flow.id, this.#chat);
    this.inspector.clear();
    this.#follows = true;
    await this.#read(turn, this.#show(turn));
  }

  #show(turn) {
    for (const old of this.#turns.querySelectorAll(".hello, .approval")) old.remove();
    const answer = new Answer(turn.question, () => this.#stick());
    this.#turns.append(answer.element);
    this.#stick();
    return answer;
  }

  /** The run of a turn: asked for the first time, joined by its key, or resumed after an event. */
  #stream(turn, after) {
    const library = client((frame) => this.inspector.add(frame));
    if (turn.run) return library.resume(turn.run, { after });
    const { question, key: idempotencyKey, humanInput } = turn;
    const options = { chatId: this.#chat.id, idempotencyKey, humanInput };
    return library.stream(this.flow.id, humanInput ? "" : question, options);
  }

  async #read(turn, answer, after = 0) {
    const live = { answer, turn, stream: this.#stream(turn, after), seq: after };
    this.#live = live;
    this.#busy(true);
    if (!after) this.#begin();
    try {
      await live.stream.open();
      this.#known(live);
      let since = performance.now();
      for await (const event of live.stream) {
        if (performance.now() - since > TURN) {
          await pause(0);
          since = performance.now();
        }
        live.seq = Number(live.stream.lastEventId?.split(":").at(-1)) || live.seq;
        answer.take(event);
        this.#light(event);
      }
      if (this.#live === live) answer.finish();
    } catch (error) {
      if (this.#live === live) this.#broken(live, error);
    }
    if (this.#live !== live) return;
    this.#live = undefined;
    this.#busy(false);
    this.#foot(turn, answer, live.seq);
    this.#changed();
  }

  #known({ turn, stream }) {
    if (!stream.runId || turn.run) return;
    turn.run = stream.runId;
    storage.keep(this.flow.id, this.#chat);
    this.#changed();
  }

  #broken({ turn, answer }, error) {
    answer.fail(error.message ?? String(error), error.code);
    answer.draw();
    if (turn.run && error.kind === "connection_failed") answer.state = "detached";
    if (!turn.run) {
      turn.error = error.message;
      storage.keep(this.flow.id, this.#chat);
    }
    this.#light({ event: "error" });
  }

  #begin() {
    this.lights.begin();
    this.dispatchEvent(new Event("lit"));
  }

  #light(event) {
    if (this.lights.take(event)) this.dispatchEvent(new Event("lit"));
  }

  #foot(turn, answer, seq) {
    const buttons = [];
    if (answer.state === "detached")
      buttons.push(button("Resume", () => this.resume(turn, answer, seq), { class: "link strong" }));
    if (answer.state === "failed")
      buttons.push(button("Try again", () => this.ask(turn.question, turn.humanInput), { class: "link strong" }));
    if (turn.run && answer.state !== "detached")
      buttons.push(button("Replay", () => this.replay(turn.run, turn.question), { class: "link" }));
    answer.foot(...buttons);
    if (answer.followUps) this.#offer(answer.followUps);
    if (answer.action && turn === this.turns.at(-1))
      this.#turns.append(approval(answer.action, (given, label) => this.ask(given.feedback ?? label, given)));
    this.#stick();
  }

  #offer(prompts) {
    let list = [];
    try {
      list = JSON.parse(prompts);
    } catch {
      return;
    }
    if (Array.isArray(list))
      this.#turns.append(
        el(
          "div",
          { class: "prompts" },
          list
            .filter((text) => typeof text === "string")
            .slice(0, 4)
            .map((text) =>
              button(
                text,
                (event) => {
                  event.target.parentNode.remove();
                  this.ask(text);
                },
                { class: "chip" },
              ),
            ),
        ),
      );
  }

  /** Goes on reading after the last event that was read. */
  async resume(turn, answer, seq) {
    if (this.#live) return;
    answer.attach();
    await this.#read(turn, answer, seq);
  }

  /** Closes the connection and lets the run go on. */
  drop() {
    if (!this.#live?.stream) return;
    this.leave();
    this.#changed();
    announce("Not connected any more; the run goes on.");
  }

  /** Stops the run, or the replay. */
  async stop() {
    const live = this.#live;
    if (!live) return;
    if (live.replay) {
      live.replay.abort();
      return;
    }
    at("stop").disabled = true;
    try {
      await live.stream.open();
      await live.stream.cancel();
    } catch (error) {
      announce(`The run could not be stopped: ${error.message}`);
    } finally {
      at("stop").disabled = false;
    }
  }

  /** Shows what was said before, and goes on with what is still said. */
  async #restore() {
    const chat = this.#chat;
    this.#follows = true;
    for (const turn of [...chat.turns]) {
      if (this.#chat !== chat) return;
      const answer = this.#show(turn);
      answer.restored = true;
      this.inspector.clear();
      if (turn.run || !turn.error) await this.#read(turn, answer);
      else this.#refused(turn, answer);
    }
  }

  /** A question that never became a run is not asked again by itself. */
  #refused(turn, answer) {
    answer.fail(turn.error);
    this.#foot(turn, answer, 0);
  }

  /** Reads a run that goes on, from its beginning. */
  async follow(run, question) {
    this.leave();
    this.inspector.clear();
    const turn = { question: question ?? `Run ${run.slice(0, 8)}`, run };
    await this.#read(turn, this.#show(turn));
  }

  /** Plays a run again, at the speed it happened or faster. */
  async replay(run, question) {
    this.leave();
    const replay = new AbortController();
    const answer = new Answer(question ?? "A run of this flow", () => this.#stick());
    const live = { answer, turn: { run }, replay };
    this.#live = live;
    answer.restored = true;
    answer.element.classList.add("replay");
    const faster = el(
      "select",
      { "aria-label": "Speed" },
      [
        ["1", "as it happened"],
        ["4", "4 times as fast"],
        ["1000000", "at once"],
      ].map(([value, label]) => el("option", { value }, label)),
    );
    const clock = el("span", { class: "faint" });
    answer.element.prepend(
      el(
        "div",
        { class: "row replay-bar" },
        el("strong", {}, "Replay"),
        clock,
        el("span", { class: "grow" }),
        faster,
        button(
          "Close",
          () => {
            if (this.#live === live) this.leave();
            answer.element.remove();
          },
          { class: "link" },
        ),
      ),
    );
    this.#turns.append(answer.element);
    this.#follows = true;
    this.#busy(true);
    try {
      const whole = await recorded(run, replay.signal);
      this.inspector.clear();
      this.#begin();
      await played(whole, {
        signal: replay.signal,
        speed: () => Number(faster.value),
        clock: (now, end) => (clock.textContent = `${seconds(now)} of ${seconds(end)}`),
        take: (frame, event) => {
          this.inspector.add(frame);
          if (!event) return;
          answer.take(event);
          this.#light(event);
        },
      });
      answer.finish();
    } catch (error) {
      if (this.#live === live && !replay.signal.aborted) answer.fail(error.message, error.code);
      else if (replay.signal.aborted) answer.finish();
    }
    if (this.#live !== live) return;
    this.#live = undefined;
    this.#busy(false);
    answer.foot();
    this.#stick();
  }

  #busy(busy) {
    at("send").hidden = busy;
    at("stop").hidden = !busy;
    at("send").disabled = !this.flow;
    this.dispatchEvent(new Event("busy"));
  }

  #changed() {
    this.dispatchEvent(new Event("changed"));
  }

  #grow() {
    this.#question.style.setProperty("height", "auto");
    this.#question.style.setProperty("height", `${Math.min(this.#question.scrollHeight, 200)}px`);
  }

  #scrolled() {
    this.#follows = this.#talk.scrollTop + this.#talk.clientHeight >= this.#talk.scrollHeight - NEAR;
    at("to-end").hidden = this.#follows;
  }

  /** Keeps the newest in sight, unless somebody reads further up. */
  #stick() {
    if (this.#follows) this.#talk.scrollTop = this.#talk.scrollHeight;
  }

  #toEnd() {
    this.#follows = true;
    this.#stick();
  }
}
