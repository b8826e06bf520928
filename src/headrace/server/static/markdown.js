/**
 * Markdown to elements, while it is still coming in. It only makes elements and text nodes: markup in the text is shown
 * as the text that it is, and a link leads to http, https or mail or is none.
 *
 * Blocks that another one follows are done and never touched again; only the last one is made anew.
 */

import { blocksOf } from "./blocks.js";
import { button, copy, el } from "./dom.js";

const SPECIAL = /[\\`*_~[!<\n]|https?:\/\//g;
const DEEPEST = 8;
const ADDRESS = /^(?:https?:\/\/|mailto:)[^\s\p{C}"<>\\^`{|}]+$/iu;
const SPAN = 2000; // characters that emphasis may go over: looking further would take time for nothing
const PIECE = 2000; // characters of code in one text node: a longer one would be laid out anew as a whole

/** A growing text and the elements that show it. */
export class Markdown {
  #root;
  #text = "";
  #done = 0; // where the first block begins that is not done
  #before; // the block before that one
  #last = []; // elements of blocks that are not done
  #code; // the open block of code, which only grows

  constructor(root) {
    this.#root = root;
  }

  get text() {
    return this.#text;
  }

  /** Shows the whole text, of which what was shown before is the beginning. */
  show(text) {
    if (text === this.#text) return;
    const added = text.slice(this.#text.length);
    this.#text = text;
    if (this.#code && this.#grown(added)) return;
    const blocks = blocksOf(text.slice(this.#done), this.#before);
    const whole = text.lastIndexOf("\n") + 1 - this.#done; // what begins after it may still become something else
    let first = 0;
    while (first + 1 < blocks.length && blocks[first + 1].at < whole) first++;
    for (const element of this.#last) element.remove();
    const elements = blocks.map((block) => elementOf(block, 0));
    this.#root.append(...elements);
    this.#last = elements.slice(first);
    if (first) {
      this.#done += blocks[first].at;
      this.#before = blocks[first - 1];
    }
    const last = blocks.at(-1);
    this.#code =
      last?.kind === "code" && last.open && text.indexOf("\n", this.#done) >= 0
        ? elements.at(-1).querySelector("code")
        : undefined;
  }

  /** Adds to the open block of code. False when it may have ended. */
  #grown(added) {
    if (/[`~]/.test(added)) return false;
    const node = this.#code.lastChild;
    if (node && node.length < PIECE) node.appendData(added);
    else this.#code.append(document.createTextNode(added));
    return true;
  }
}

/** Shows a text that is complete. */
export function markdown(text) {
  const root = el("div", { class: "markdown" });
  new Markdown(root).show(text);
  return root;
}

function elementOf(block, depth) {
  switch (block.kind) {
    case "heading":
      return el(`h${Math.min(block.level + 2, 6)}`, {}, inline(block.text));
    case "rule":
      return el("hr");
    case "code":
      return code(block);
    case "quote":
      return el("blockquote", {}, inside(block.text, depth));
    case "list":
      return list(block, depth);
    case "table":
      return table(block);
    default:
      return el("p", {}, inline(block.text));
  }
}

function inside(text, depth) {
  return depth < DEEPEST ? blocksOf(text).map((block) => elementOf(block, depth + 1)) : [text];
}

function code({ language, text }) {
  const content = el("code");
  for (let from = 0; from < text.length; from += PIECE)
    content.append(document.createTextNode(text.slice(from, from + PIECE)));
  const bar = el(
    "div",
    { class: "bar" },
    el("span", {}, language || "code"),
    button("Copy", (event) => copy(content.textContent, event.target), { class: "link" }),
  );
  return el(
    "div",
    { class: "code" },
    bar,
    el("pre", { tabindex: "0", role: "region", "aria-label": language ? `Code: ${language}` : "Code" }, content),
  );
}

function list(block, depth) {
  const items = block.items.map((text) => {
    const blocks = inside(text, depth);
    const plain = blocks.length && blocks[0].tagName === "P" && !text.includes("\n\n");
    return el("li", {}, plain ? [...blocks[0].childNodes, ...blocks.slice(1)] : blocks);
  });
  return el(
    block.ordered ? "ol" : "ul",
    { start: block.ordered && block.start !== 1 ? block.start : undefined, class: block.more ? "more" : undefined },
    items,
  );
}

function table({ head, rows, sides }) {
  const cell = (tag) => (text, at) =>
    el(tag, { class: sides[at], scope: tag === "th" ? "col" : undefined }, inline(text));
  const body = rows.map((row) =>
    el(
      "tr",
      {},
      head.map((_, at) => cell("td")(row[at] ?? "", at)),
    ),
  );
  const made = el("table", {}, el("thead", {}, el("tr", {}, head.map(cell("th")))), el("tbody", {}, body));
  return el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Table" }, made);
}

/** The nodes of a text with emphasis, code and links. */
export function inline(text, depth = 0) {
  const nodes = [];
  const missing = new Set(); // delimiters that do not come again: looked for once, not at every opening one
  let from = 0;
  let plain = 0;
  const take = (node, end) => {
    if (plain < from) nodes.push(text.slice(plain, from));
    if (node) nodes.push(node);
    plain = end;
  };
  while (from < text.length) {
    SPECIAL.lastIndex = from;
    const found = SPECIAL.exec(text);
    if (!found) break;
    from = found.index;
    const [node, end] = span(text, from, depth, missing) ?? [undefined, 0];
    if (end) {
      take(node, end);
      from = end;
    } else from += 1;
  }
  if (plain < text.length) nodes.push(text.slice(plain));
  return nodes;
}

/** What begins at a special character: its node and where it ends; nothing when the character stands for itself. */
function span(text, from, depth, missing) {
  switch (text[from]) {
    case "\\":
      return escaped(text, from);
    case "\n":
      return /(?: {2}|\\)$/.test(text.slice(Math.max(0, from - 2), from)) ? [el("br"), from + 1] : undefined;
    case "`":
      return codeSpan(text, from, missing);
    case "[":
      return link(text, from, depth);
    case "!":
      return text[from + 1] === "[" ? link(text, from + 1, depth) : undefined; // a picture is never loaded: it is a link
    case "<":
      return bracketed(text, from);
    case "h":
      return bare(text, from);
    default:
      return depth < DEEPEST ? emphasis(text, from, depth, missing) : undefined;
  }
}

function escaped(text, from) {
  return /[!-/:-@[-`{-~]/.test(text[from + 1] ?? "") ? [text[from + 1], from + 2] : undefined;
}

function closing(text, delimiter, from, missing) {
  if (missing.has(delimiter)) return -1;
  const end = text.indexOf(delimiter, from);
  if (end < 0) missing.add(delimiter);
  return end;
}

function codeSpan(text, from, missing) {
  const ticks = /^`+/.exec(text.slice(from, from + 20))[0];
  const end = closing(text, ticks, from + ticks.length, missing);
  if (end < 0) return undefined;
  return [
    el(
      "code",
      {},
      text
        .slice(from + ticks.length, end)
        .replace(/\n/g, " ")
        .replace(/^ (.+) $/, "$1"),
    ),
    end + ticks.length,
  ];
}

function emphasis(text, from, depth, missing) {
  const mark = text[from];
  const [tag, delimiter] = text[from + 1] === mark ? [mark === "~" ? "del" : "strong", mark + mark] : ["em", mark];
  const start = from + delimiter.length;
  if (delimiter === "~" || !/\S/.test(text[start] ?? "")) return undefined;
  if (mark === "_" && /[\p{L}\p{N}]/u.test(text[from - 1] ?? "")) return undefined;
  let end = closing(text, delimiter, start + 1, missing);
  while (
    end > 0 &&
    end - start <= SPAN &&
    (/\s/.test(text[end - 1]) || (delimiter.length === 1 && text[end + 1] === mark))
  ) {
    end = closing(text, delimiter, end + (delimiter.length === 1 && text[end + 1] === mark ? 2 : 1), missing);
  }
  if (end < 0 || end - start > SPAN) return undefined;
  while (delimiter.length === 2 && text[end + 2] === mark) end += 1; // ***both***
  return [el(tag, {}, inline(text.slice(start, end), depth + 1)), end + delimiter.length];
}

const LINK =
  /\[((?:[^[\]\\\n]|\\.|\[[^[\]\n]*\])*)\]\(\s*(<[^<>\n]*>|[^\s()]*(?:\([^\s()]*\)[^\s()]*)*)(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/y;

function link(text, from, depth) {
  LINK.lastIndex = from;
  const found = LINK.exec(text.slice(0, from + 3000));
  if (!found || depth >= DEEPEST) return undefined;
  const address = found[2].replace(/^<|>$/g, "");
  const label = inline(found[1], DEEPEST - 1); // no link inside a link
  return [
    ADDRESS.test(address) ? anchor(address, label.length ? label : [address]) : el("span", {}, label),
    LINK.lastIndex,
  ];
}

function bracketed(text, from) {
  const found = /^<((?:https?:\/\/|mailto:)[^\s<>]+)>/i.exec(text.slice(from, from + 2000));
  return found && ADDRESS.test(found[1]) ? [anchor(found[1], [found[1]]), from + found[0].length] : undefined;
}

function bare(text, from) {
  if (/[\p{L}\p{N}]/u.test(text[from - 1] ?? "")) return undefined;
  const address = /^[^\s<>"'`*\]]+/.exec(text.slice(from, from + 2000))[0].replace(/[.,:;!?)]+$/, "");
  return ADDRESS.test(address) && address.length > 10 ? [anchor(address, [address]), from + address.length] : undefined;
}

function anchor(address, label) {
  return el("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow" }, label);
}
