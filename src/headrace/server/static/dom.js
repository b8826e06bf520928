/** Makes elements. Texts become text nodes, so nothing that comes from outside is ever read as markup. */

const SVG = "http://www.w3.org/2000/svg";
const PIECES = /.{1,2000}(?:\s|$)|.{1,2000}/gsu; // of text in one node: a longer one is laid out anew as a whole

function made(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [kind, listener] of Object.entries(value)) element.addEventListener(kind, listener);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** An HTML element. */
export function el(tag, properties = {}, ...children) {
  return made(document.createElement(tag), properties, children);
}

/** An SVG element. */
export function svg(tag, properties = {}, ...children) {
  return made(document.createElementNS(SVG, tag), properties, children);
}

/** A text in pieces for a text node each. */
export const pieces = (text) => text.match(PIECES) ?? [];

/** Makes these the children of an element after the `kept` first ones; those that are there already stay as they are. */
export function fill(element, nodes, kept = 0) {
  let child = element.childNodes[kept];
  let at = 0;
  for (; child && at < nodes.length && same(child, nodes[at]); at++) child = child.nextSibling;
  while (child) {
    const next = child.nextSibling;
    child.remove();
    child = next;
  }
  element.append(...nodes.slice(at));
}

const same = (child, node) =>
  typeof node === "string" ? child.nodeType === Node.TEXT_NODE && child.data === node : child.isEqualNode(node);

/** The element of the page with this id. */
export const at = (id) => document.getElementById(id);

/** A button. */
export function button(label, act, properties = {}) {
  return el("button", { type: "button", ...properties, on: { click: act } }, label);
}

/** Tells people who do not see the page what has happened. */
export function announce(text) {
  at("status").textContent = text;
}

/** Puts a text on the clipboard; says on the button whether it worked. */
export async function copy(text, pressed) {
  const label = pressed.textContent;
  pressed.textContent = (await copied(text)) ? "Copied" : "Not copied";
  setTimeout(() => (pressed.textContent = label), 1500);
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Over plain HTTP on another host there is no clipboard but the old one.
    const area = el("textarea", { class: "hidden", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** Milliseconds for people. */
export function seconds(ms) {
  return ms < 10_000
    ? `${(ms / 1000).toFixed(2)} s`
    : ms < 120_000
      ? `${(ms / 1000).toFixed(1)} s`
      : `${Math.round(ms / 60_000)} min`;
}

/** A number of things. */
export const count = (number, thing) => `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`;

/** Any value as text. */
export const shown = (value) => (typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? ""));
