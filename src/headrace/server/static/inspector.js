/** Every event with its time and bytes. Only the rows in sight exist; the oldest of very many are dropped. */

import { at, button, copy, count, el, seconds, shown } from "./dom.js";

const ROW = 30; // pixels
const MOST = 20_000; // events
const SPARE = 8; // rows above and below

export class Inspector {
  #frames = [];
  #dropped = 0;
  #bytes = 0;
  #chosen = -1; // counted with the dropped ones
  #follows = true;
  #waiting = false;
  #list = el("div", { class: "events", role: "listbox", tabindex: "0", "aria-label": "Events" });
  #space = el("div", { class: "space", role: "presentation" });
  #summary = el("p", { class: "summary" });
  #detail = el("div", { class: "detail", hidden: true });
  #empty = el("p", { class: "empty" }, "Ask something: each event shows here with its time and its bytes.");
  #actions = el("div", { class: "row" });

  constructor(root) {
    this.#list.append(this.#space);
    this.#list.hidden = true;
    root.append(
      el("div", { class: "row head" }, this.#summary, el("span", { class: "grow" }), this.#actions),
      this.#empty,
      this.#list,
      this.#detail,
    );
    this.#list.addEventListener("scroll", () => this.#scrolled());
    this.#list.addEventListener("keydown", (event) => this.#pressed(event));
    this.#space.addEventListener("click", (event) =>
      this.#choose(Number(event.target.closest("[data-at]")?.dataset.at ?? -1)),
    );
    new ResizeObserver(() => this.#later()).observe(this.#list);
  }

  /** The buttons beside the counts. */
  offer(...buttons) {
    this.#actions.replaceChildren(...buttons);
  }

  clear() {
    this.#frames = [];
    this.#dropped = this.#bytes = 0;
    this.#chosen = -1;
    this.#follows = true;
    this.#detail.hidden = true;
    this.#later();
  }

  add(frame) {
    this.#frames.push(frame);
    this.#bytes += frame.bytes;
    if (this.#frames.length > MOST * 1.1) {
      this.#dropped += this.#frames.length - MOST;
      this.#frames.splice(0, this.#frames.length - MOST);
    }
    this.#later();
  }

  #later() {
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      this.#draw();
    });
  }

  #draw() {
    const number = this.#frames.length;
    const events = this.#dropped + number;
    this.#empty.hidden = number > 0;
    this.#list.hidden = number === 0;
    const last = this.#frames.at(-1);
    this.#summary.textContent = last
      ? `${count(events, "frame")} · ${count(this.#bytes, "byte")} · ${seconds(last.at)}`
      : "";
    if (!this.#list.offsetParent) return; // another tab is shown
    this.#space.style.setProperty("height", `${number * ROW}px`);
    if (this.#follows) this.#list.scrollTop = number * ROW;
    const top = Math.max(0, Math.floor(this.#list.scrollTop / ROW) - SPARE);
    const end = Math.min(number, top + Math.ceil(this.#list.clientHeight / ROW) + 2 * SPARE);
    const rows = [];
    for (let row = top; row < end; row++) rows.push(this.#row(this.#frames[row], row));
    this.#space.replaceChildren(...rows);
    const active = at(`event-${this.#chosen}`);
    if (active) this.#list.setAttribute("aria-activedescendant", active.id);
    else this.#list.removeAttribute("aria-activedescendant");
  }

  #row(frame, row) {
    const id = this.#dropped + row;
    const line = el(
      "div",
      {
        class: "event",
        role: "option",
        id: `event-${id}`,
        "aria-selected": String(id === this.#chosen),
        data: { at: id, kind: frame.kind },
      },
      el("span", { class: "when" }, `+${(frame.at / 1000).toFixed(3)}`),
      el("span", { class: "seq" }, frame.seq ? String(frame.seq) : ""),
      el("span", { class: "kind" }, frame.kind),
      el("span", { class: "what" }, glance(frame)),
      el("span", { class: "size" }, `${frame.bytes} B`),
    );
    line.style.setProperty("transform", `translateY(${row * ROW}px)`);
    return line;
  }

  #scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.#list;
    this.#follows = scrollTop + clientHeight >= scrollHeight - ROW;
    this.#later();
  }

  #pressed(event) {
    const last = this.#dropped + this.#frames.length - 1;
    const page = Math.floor(this.#list.clientHeight / ROW);
    const steps = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: Number.NEGATIVE_INFINITY,
      End: Number.POSITIVE_INFINITY,
    };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const from = this.#chosen < 0 ? (steps[event.key] > 0 ? this.#dropped - 1 : last + 1) : this.#chosen;
    this.#choose(Math.max(this.#dropped, Math.min(last, from + steps[event.key])));
  }

  #choose(id) {
    const row = id - this.#dropped;
    const frame = this.#frames[row];
    if (!frame) return;
    this.#chosen = id;
    this.#follows = false;
    const { scrollTop, clientHeight } = this.#list;
    if (row * ROW < scrollTop) this.#list.scrollTop = row * ROW;
    else if ((row + 1) * ROW > scrollTop + clientHeight) this.#list.scrollTop = (row + 1) * ROW - clientHeight;
    const copying = button("Copy", (event) => copy(frame.raw, event.target), { class: "link" });
    const pretty = frame.data ? readable(frame.data) : "";
    this.#detail.replaceChildren(
      el(
        "div",
        { class: "row" },
        el("strong", {}, frame.kind),
        el("span", { class: "faint" }, frame.told ? "time of the server" : "time of arrival"),
        el("span", { class: "grow" }),
        copying,
      ),
      el("pre", { tabindex: "0", role: "region", "aria-label": "The frame as it came" }, frame.raw.slice(0, 20_000)),
      pretty && el("pre", { tabindex: "0", role: "region", "aria-label": "Its data" }, pretty.slice(0, 20_000)),
    );
    this.#detail.hidden = false;
    this.#later();
  }
}

function glance({ data, raw }) {
  if (!data) return raw;
  const at = data.indexOf('"data":');
  return data.slice(at < 0 ? 0 : at + 7, at + 207).replace(/\}$/, "");
}

function readable(data) {
  try {
    const value = JSON.parse(data).data;
    return typeof value === "object" && value !== null ? shown(value) : "";
  } catch {
    return "";
  }
}
