/** The flow as a drawing: its nodes where the flow file has them, drawn closer together, and its arrows. */

import { button, el, svg } from "./dom.js";
import { HEIGHT, placed, WIDTH } from "./places.js";

const LEAST = 0.6; // scale at which the texts can still be read; a larger drawing is scrolled
const MOST = 1.25;
const MARGIN = 16;

export class Graph {
  #root;
  #shapes = new Map();
  #line = el("p", { class: "legend", "aria-live": "off" });
  #labels = new Map();
  #canvas = el("div", { class: "canvas", tabindex: "0", role: "region", "aria-label": "Drawing of the flow" });
  #larger = button("Enlarge", () => this.#enlarge(), { class: "link" });

  constructor(root) {
    this.#root = root;
    root.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && root.hasAttribute("data-large")) this.#enlarge();
    });
    this.nothing("Choose a flow to see its graph.");
  }

  #enlarge() {
    this.#larger.textContent = this.#root.toggleAttribute("data-large") ? "Make smaller" : "Enlarge";
  }

  nothing(text) {
    this.#root.replaceChildren(el("p", { class: "empty" }, text));
  }

  /** Draws a flow. `missing` are names of node types that this server does not run. */
  show(flow, missing = []) {
    const nodes = flow.nodes.filter((node) => node.type !== "stickyNote");
    const places = placed(nodes, flow.edges);
    this.#shapes.clear();
    this.#labels = new Map(nodes.map((node) => [node.id, labelOf(node)]));
    const edges = flow.edges.filter((edge) => places.has(edge.source) && places.has(edge.target));
    const right = Math.max(...[...places.values()].map(({ x }) => x + WIDTH), WIDTH) + MARGIN;
    const bottom = Math.max(...[...places.values()].map(({ y }) => y + HEIGHT), HEIGHT) + MARGIN;
    const drawing = svg(
      "svg",
      {
        viewBox: `${-MARGIN} ${-MARGIN} ${right + MARGIN} ${bottom + MARGIN}`,
        role: "img",
        "aria-label": `Graph: ${said(flow, this.#labels)}`,
        class: "graph",
      },
      edges.map((edge) => this.#edge(edge, places)),
      nodes.map((node) => this.#node(node, places.get(node.id), missing)),
    );
    const size = { width: right + MARGIN, height: bottom + MARGIN };
    for (const [side, length] of Object.entries(size)) {
      drawing.style.setProperty(`min-${side}`, `${length * LEAST}px`);
      drawing.style.setProperty(`max-${side}`, `${Math.max(length * MOST, length * LEAST)}px`);
    }
    this.#line.textContent = "Nodes light up while they run.";
    this.#root.replaceChildren(this.#canvas, el("div", { class: "row" }, this.#line, this.#larger));
    this.#canvas.replaceChildren(drawing);
  }

  #node(node, { x, y }, missing) {
    const gone = missing.includes(node.data.name);
    const shape = svg(
      "g",
      { class: gone ? "node gone" : "node", transform: `translate(${x} ${y})`, data: { node: node.id } },
      svg("title", {}, `${labelOf(node)}: ${node.data.name}${gone ? ", which this server does not run" : ""}`),
      svg("rect", { width: WIDTH, height: HEIGHT, rx: 10 }),
      svg("circle", { cx: 16, cy: HEIGHT / 2, r: 4.5 }),
      svg("text", { x: 30, y: 22, class: "label" }, cut(labelOf(node), 18)),
      svg(
        "text",
        { x: 30, y: 39, class: "sort" },
        cut(gone ? "not run here" : node.data.category || node.data.name, 23),
      ),
    );
    this.#shapes.set(node.id, shape);
    return shape;
  }

  #edge({ source, target }, places) {
    const from = places.get(source);
    const to = places.get(target);
    const d = to.x >= from.x + WIDTH ? onwards(from, to) : around(from, to);
    return svg("path", { class: "edge", d, data: { source, target } });
  }

  /** Shows which nodes run, and which have. */
  light(states) {
    for (const [id, shape] of this.#shapes) {
      const state = states.get(id);
      if (state) shape.dataset.state = state;
      else delete shape.dataset.state;
    }
    for (const edge of this.#root.querySelectorAll(".edge")) {
      edge.toggleAttribute(
        "data-live",
        states.get(edge.dataset.source) === "running" ||
          (states.get(edge.dataset.target) === "running" && states.has(edge.dataset.source)),
      );
    }
    this.#reveal(this.#root.querySelector('[data-state="running"]:last-of-type, [data-state="running"]'));
    const running = [...states].filter(([, state]) => state === "running").map(([id]) => this.#labels.get(id) ?? id);
    this.#line.textContent = running.length
      ? `Running: ${running.join(", ")}`
      : states.size
        ? "Nothing is running."
        : "Nodes light up while they run.";
  }

  /** Scrolls a large drawing to the node that runs. */
  #reveal(shape) {
    if (!shape) return;
    const [node, frame] = [shape.getBoundingClientRect(), this.#canvas.getBoundingClientRect()];
    const outside =
      node.left < frame.left || node.right > frame.right || node.top < frame.top || node.bottom > frame.bottom;
    if (!outside) return;
    const left = (node.left + node.right - frame.left - frame.right) / 2;
    const top = (node.top + node.bottom - frame.top - frame.bottom) / 2;
    this.#canvas.scrollBy({ left, top });
  }
}

/** From the right side of a node to the left side of one further on. */
function onwards({ x, y }, to) {
  const [x1, y1, x2, y2] = [x + WIDTH, y + HEIGHT / 2, to.x, to.y + HEIGHT / 2];
  const bend = Math.max(30, (x2 - x1) / 2);
  return `M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
}

/** To a node above, below or further back: by their upper or lower sides. */
function around({ x, y }, to) {
  const [x1, x2] = [x + WIDTH / 2, to.x + WIDTH / 2];
  const [y1, y2] = to.y > y + HEIGHT ? [y + HEIGHT, to.y] : to.y + HEIGHT < y ? [y, to.y + HEIGHT] : [y, to.y];
  const bend = y1 === y || y1 > y2 ? -30 : 30;
  const end = y2 === to.y ? -30 : 30;
  return `M${x1} ${y1} C${x1} ${y1 + bend} ${x2} ${y2 + end} ${x2} ${y2}`;
}

const labelOf = (node) => node.data.label || node.data.name || node.id;
const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

function said(flow, labels) {
  const arrows = flow.edges.map(
    (edge) => `${labels.get(edge.source) ?? edge.source} to ${labels.get(edge.target) ?? edge.target}`,
  );
  return arrows.length ? arrows.slice(0, 60).join(", ") : [...labels.values()].slice(0, 60).join(", ");
}
