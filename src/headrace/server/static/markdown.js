/**
 * Markdown to elements, while it is still coming in. It only makes elements and text nodes: markup in the text is shown
 * as the text that it is, and a link leads to http, https or mail or is none.
 *
 * What is done is never touched again: blocks, items and rows that another one follows, and the beginning of a long
 * text. The last block is read anew each time, which is quick; of its elements only those at the end are made anew.
 */

import { blocksOf } from "./blocks.js";
import { button, copy, el, fill, pieces } from "./dom.js";
import { inline, partsOf, REACH } from "./inline.js";

const DEEPEST = 8;

/** The blocks of a growing text, in an element. */
export class Markdown {
  #root;
  #depth;
  #text = "";
  #done = 0; // where the first block begins that is not done
  #open = []; // views of the blocks that are not done

  constructor(root, depth = 0) {
    this.#root = root;
    this.#depth = depth;
  }

  /** Shows the whole text. Quickest when what was shown before is its beginning. */
  show(text) {
    if (text === this.#text) return;
    if (!text.startsWith(this.#text.slice(0, this.#done))) this.#clear();
    this.#text = text;
    const blocks = blocksOf(text.slice(this.#done));
    for (const view of this.#open.splice(blocks.length)) view.element.remove();
    for (const [at, block] of blocks.entries()) this.#put(block, at);
    this.#settle(blocks);
  }

  #clear() {
    this.#root.replaceChildren();
    this.#open = [];
    this.#done = 0;
  }

  #put(block, at) {
    const key = keyOf(block);
    const old = this.#open[at];
    if (old?.key !== key) {
      const view = { key, ...viewOf(block, this.#depth) };
      this.#open[at] = view;
      if (old) old.element.replaceWith(view.element);
      else this.#root.append(view.element);
    }
    this.#open[at].show(block);
  }

  #settle(blocks) {
    const whole = this.#text.lastIndexOf("\n") + 1 - this.#done; // what begins after it may still become something else
    let first = 0;
    while (first + 1 < blocks.length && blocks[first + 1].sure < whole) first++;
    this.#open.splice(0, first);
    this.#done += blocks[first]?.at ?? 0;
  }
}

/** Shows a text that is complete. */
export function markdown(text) {
  const root = el("div", { class: "markdown" });
  new Markdown(root).show(text);
  return root;
}

/** What a block's element depends on; when it changes the element is made anew. */
function keyOf({ kind, level, language, ordered, start, head, sides }) {
  return JSON.stringify([kind, level, language, ordered, start, head, sides]);
}

/** A block's element, and what brings it up to date. */
function viewOf(block, depth) {
  switch (block.kind) {
    case "heading":
      return words(`h${Math.min(block.level + 2, 6)}`);
    case "rule":
      return { element: el("hr"), show: () => {} };
    case "code":
      return code(block);
    case "quote":
      return quote(depth);
    case "list":
      return list(block, depth);
    case "table":
      return table(block);
    default:
      return words("p");
  }
}

function words(tag) {
  const element = el(tag);
  let done = "";
  let kept = 0; // nodes of what is done
  const show = ({ text }) => {
    if (!text.startsWith(done)) [done, kept] = ["", 0];
    const parts = partsOf(text, done.length);
    fill(
      element,
      parts.map(([node]) => node),
      kept,
    );
    const more = parts.findLastIndex(([, end]) => end <= text.length - REACH) + 1;
    if (more) [done, kept] = [text.slice(0, parts[more - 1][1]), kept + more];
  };
  return { element, show };
}

function quote(depth) {
  const element = el("blockquote");
  const show = inside(element, depth);
  return { element, show: ({ text }) => show(text) };
}

/** Shows a text in a block as Markdown, and what is nested too deep as it is. */
function inside(element, depth) {
  if (depth >= DEEPEST) return (text) => fill(element, pieces(text));
  const markdown = new Markdown(element, depth + 1);
  return (text) => markdown.show(text);
}

function code({ language }) {
  const content = el("code");
  const bar = el(
    "div",
    { class: "bar" },
    el("span", {}, language || "code"),
    button("Copy", (event) => copy(content.textContent, event.target), { class: "link" }),
  );
  const label = language ? `Code: ${language}` : "Code";
  const element = el(
    "div",
    { class: "code" },
    bar,
    el("pre", { tabindex: "0", role: "region", "aria-label": label }, content),
  );
  return { element, show: ({ text }) => fill(content, pieces(text)) };
}

function list({ ordered, start }, depth) {
  const element = el(ordered ? "ol" : "ul", { start: ordered && start !== 1 ? start : undefined });
  const show = rows(element, () => {
    const item = el("li");
    return { element: item, show: inside(item, depth) };
  });
  return { element, show: ({ items }) => show(items) };
}

function table({ head, sides }) {
  const cell = (tag, text, at) =>
    el(tag, { class: sides[at], scope: tag === "th" ? "col" : undefined }, inline(text ?? ""));
  const body = el("tbody");
  const top = el(
    "thead",
    {},
    el(
      "tr",
      {},
      head.map((text, at) => cell("th", text, at)),
    ),
  );
  const show = rows(body, () => {
    const row = el("tr");
    return { element: row, show: (texts) => row.replaceChildren(...head.map((_, at) => cell("td", texts[at], at))) };
  });
  const element = el(
    "div",
    { class: "wide", tabindex: "0", role: "region", "aria-label": "Table" },
    el("table", {}, top, body),
  );
  return { element, show: ({ rows }) => show(rows) };
}

/** Shows a growing list. All but the last two are done: a line that begins like an item may yet turn out to be none. */
function rows(root, make) {
  const views = [];
  return (items) => {
    const first = Math.max(0, Math.min(views.length, items.length) - 2);
    for (const view of views.splice(items.length)) view.element.remove();
    for (let at = first; at < items.length; at++) {
      if (at === views.length) {
        views.push(make());
        root.append(views[at].element);
      }
      views[at].show(items[at]);
    }
  };
}
