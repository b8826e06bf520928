/** The flow as a drawing: its nodes where the flow file has them, drawn closer together, and its arrows. */

import { el, svg } from "./dom.js";

const WIDTH = 208;
const HEIGHT = 58;
const GAP_X = 44;
const GAP_Y = 18;
const MARGIN = 16;

export class Graph {
  #root;
  #shapes = new Map();
  #line = el("p", { class: "legend", "aria-live": "off" });
  #labels = new Map();

  constructor(root) {
    this.#root = root;
    this.nothing("Choose a flow to see its graph.");
  }

  nothing(text) {
    this.#root.replaceChildren(el("p", { class: "empty" }, text));
  }

  /** Draws a flow. `missing` are names of node types that this server does not run. */
  show(flow, missing = []) {
    const places = placed(flow.nodes, flow.edges);
    this.#shapes.clear();
    this.#labels = new Map(flow.nodes.map((node) => [node.id, labelOf(node)]));
    const edges = flow.edges.filter((edge) => places.has(edge.source) && places.has(edge.target));
    const right = Math.max(...[...places.values()].map(({ x }) => x + WIDTH), WIDTH) + MARGIN;
    const bottom = Math.max(...[...places.values()].map(({ y }) => y + HEIGHT), HEIGHT) + MARGIN;
    const drawing = svg(
      "svg",
      { viewBox: `${-MARGIN} ${-MARGIN} ${right + MARGIN} ${bottom + MARGIN}`, role: "img", "aria-label": `Graph: ${said(flow, this.#labels)}`, class: "graph" },
      edges.map((edge) => this.#edge(edge, places)),
      flow.nodes.map((node) => this.#node(node, places.get(node.id), missing)),
    );
    drawing.style.setProperty("max-width", `${(right + MARGIN) * 1.25}px`);
    drawing.style.setProperty("max-height", `${(bottom + MARGIN) * 1.25}px`);
    this.#line.textContent = "Nodes light up while they run.";
    this.#root.replaceChildren(el("div", { class: "canvas", tabindex: "0", role: "region", "aria-label": "Drawing of the flow" }, drawing), this.#line);
  }

  #node(node, { x, y }, missing) {
    if (node.type === "stickyNote") return svg("g", { class: "note", transform: `translate(${x} ${y})` }, svg("rect", { width: WIDTH, height: HEIGHT, rx: 4 }), svg("text", { x: 10, y: 24 }, cut(node.data.inputs?.note ?? "", 30)));
    const gone = missing.includes(node.data.name);
    const shape = svg(
      "g",
      { class: gone ? "node gone" : "node", transform: `translate(${x} ${y})`, data: { node: node.id } },
      svg("title", {}, `${labelOf(node)}: ${node.data.name}${gone ? ", which this server does not run" : ""}`),
      svg("rect", { width: WIDTH, height: HEIGHT, rx: 10 }),
      svg("circle", { cx: 20, cy: HEIGHT / 2, r: 5 }),
      svg("text", { x: 36, y: 25, class: "label" }, cut(labelOf(node), 23)),
      svg("text", { x: 36, y: 43, class: "sort" }, cut(gone ? "not run here" : node.data.category || node.data.name, 28)),
    );
    this.#shapes.set(node.id, shape);
    return shape;
  }

  #edge({ source, target }, places) {
    const from = places.get(source);
    const to = places.get(target);
    const [x1, y1, x2, y2] = [from.x + WIDTH, from.y + HEIGHT / 2, to.x, to.y + HEIGHT / 2];
    const bend = Math.max(30, Math.abs(x2 - x1) / 2);
    return svg("path", { class: "edge", d: `M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`, data: { source, target } });
  }

  /** Shows which nodes run, and which have. */
  light(states) {
    for (const [id, shape] of this.#shapes) {
      const state = states.get(id);
      if (state) shape.dataset.state = state;
      else delete shape.dataset.state;
    }
    for (const edge of this.#root.querySelectorAll(".edge")) {
      edge.toggleAttribute("data-live", states.get(edge.dataset.source) === "running" || (states.get(edge.dataset.target) === "running" && states.has(edge.dataset.source)));
    }
    const running = [...states].filter(([, state]) => state === "running").map(([id]) => this.#labels.get(id) ?? id);
    this.#line.textContent = running.length ? `Running: ${running.join(", ")}` : states.size ? "Nothing runs." : "Nodes light up while they run.";
  }
}

const labelOf = (node) => node.data.label || node.data.name || node.id;
const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

function said(flow, labels) {
  const arrows = flow.edges.map((edge) => `${labels.get(edge.source) ?? edge.source} to ${labels.get(edge.target) ?? edge.target}`);
  return arrows.length ? arrows.slice(0, 60).join(", ") : [...labels.values()].slice(0, 60).join(", ");
}

/** Where each node is drawn: as in the file, the distances made as small as they can be without nodes touching. */
function placed(nodes, edges) {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  let spots = nodes.map((node) => ({ id: node.id, ...absolute(node, byId) }));
  let [kx, ky] = closest(spots, edges);
  if (!kx) {
    spots = layered(nodes, edges); // nodes of a file that somebody wrote by hand may all lie in one place
    kx = ky = 1;
  }
  const left = Math.min(...spots.map((spot) => spot.x));
  const top = Math.min(...spots.map((spot) => spot.y));
  return new Map(spots.map(({ id, x, y }) => [id, { x: (x - left) * kx, y: (y - top) * ky }]));
}

/** A node inside another one has its place counted from there. */
function absolute(node, byId, depth = 0) {
  const { x = 0, y = 0 } = node.position ?? {};
  const parent = depth < 5 && byId.get(node.parentNode);
  if (!parent) return { x: Number(x) || 0, y: Number(y) || 0 };
  const outer = absolute(parent, byId, depth + 1);
  return { x: outer.x + Number(x), y: outer.y + Number(y) + 80 };
}

/** Columns by the longest way to each node. */
function layered(nodes, edges) {
  const column = new Map(nodes.map((node) => [node.id, 0]));
  for (let round = 0; round < nodes.length; round++) {
    for (const { source, target } of edges) {
      if (column.has(source) && column.get(target) <= column.get(source) && column.get(source) < nodes.length) column.set(target, column.get(source) + 1);
    }
  }
  const rows = new Map();
  return nodes.map(({ id }) => {
    const x = column.get(id);
    rows.set(x, (rows.get(x) ?? -1) + 1);
    return { id, x: x * (WIDTH + GAP_X), y: rows.get(x) * (HEIGHT + GAP_Y) };
  });
}

/** The factors for both directions: arrows that lead to the right go on doing so, and nothing touches. */
function closest(spots, edges) {
  const x = new Map(spots.map((spot) => [spot.id, spot.x]));
  const steps = edges.map(({ source, target }) => x.get(target) - x.get(source)).filter((step) => step > WIDTH / 2);
  const least = steps.length ? Math.min(2, (WIDTH + GAP_X) / Math.min(...steps)) : 0.4;
  for (let kx = least; kx <= 2.2; kx += 0.2) {
    for (let ky = 0.1; ky <= 2; ky += 0.1) if (!touching(spots, kx, ky)) return [kx, ky];
  }
  return [0, 0];
}

function touching(spots, kx, ky) {
  for (let one = 0; one < spots.length; one++) {
    for (let other = one + 1; other < spots.length; other++) {
      const dx = Math.abs(spots[one].x - spots[other].x) * kx;
      const dy = Math.abs(spots[one].y - spots[other].y) * ky;
      if (dx < WIDTH + GAP_X && dy < HEIGHT + GAP_Y) return true;
    }
  }
  return false;
}
