/** The text of a block: emphasis, code and links, as text nodes and elements; markup in it is the text that it is. */

import { el, pieces } from "./dom.js";

const SPECIAL = /[\\`*_~[!<\n]|https?:\/\//g;
const DEEPEST = 8;
const ADDRESS = /^(?:https?:\/\/|mailto:)[^\s\p{C}"<>\\^`{|}]+$/iu;
const SPAN = 2000; // characters that emphasis and code may go over: looking further would take time for nothing
const LINE = 3000; // characters that a link may have

/** Characters from the end of a growing text on within which what comes may change what is there. */
export const REACH = LINE + 100;

/** The nodes of a text with emphasis, code and links. */
export const inline = (text, depth = 0) => partsOf(text, 0, depth).map(([node]) => node);

/** The same from somewhere on, where a node begins: each node, or piece of plain text, with the place where it ends. */
export function partsOf(text, begin, depth = 0) {
  const parts = [];
  const missing = new Set(); // delimiters that do not come again: looked for once, not at every opening one
  let from = begin;
  let plain = begin;
  const take = (until) => {
    for (const piece of pieces(text.slice(plain, until))) {
      plain += piece.length;
      parts.push([piece, plain]);
    }
  };
  while (from < text.length) {
    SPECIAL.lastIndex = from;
    const found = SPECIAL.exec(text);
    if (!found) break;
    from = found.index;
    const [node, end] = span(text, from, depth, missing) ?? [undefined, 0];
    if (end) {
      take(from);
      parts.push([node, end]);
      from = plain = end;
    } else from += 1;
  }
  take(text.length);
  return parts;
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
  if (end < 0 || end - from > SPAN) return undefined;
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
  const found = LINK.exec(text.slice(0, from + LINE));
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
