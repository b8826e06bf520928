/**
 * Which nodes of a flow are at work, as far as its events tell.
 *
 * Agent flows name each node. Chatflows do not: there the ending node works from the question to the end, the model that
 * it is connected to while text or thinking comes, a tool from its start to its end, and what was searched shows when
 * sources come.
 */

const plain = (name) =>
  String(name)
    .toLowerCase()
    .replace(/[^a-z0-9]/g, "");
const SEARCHED = /retriever|vector store/i;
const STATES = { INPROGRESS: "running", FINISHED: "done", ERROR: "failed", STOPPED: "waiting", TERMINATED: "failed" };

export class Lights {
  #nodes;
  #edges;
  #states = new Map();
  #changed = false;
  #tools = new Map(); // of a call: the node
  #agents; // whether the flow names its nodes itself
  #ending;
  #models;

  constructor({ nodes, edges }) {
    this.#nodes = nodes.filter((node) => node.type !== "stickyNote");
    this.#edges = edges;
    this.#agents = this.#nodes.some((node) => node.type === "agentFlow" || node.type === "iteration");
    const joined = (end, node) => edges.some((edge) => edge[end] === node.id);
    this.#ending = this.#nodes.filter(
      (node) => !joined("source", node) && (joined("target", node) || this.#nodes.length === 1),
    );
    const models = this.#of(/^(chat models|llms)$/i);
    const near = models.filter((model) => this.#ending.some((end) => this.#joined(model, end)));
    this.#models = near.length ? near : models;
  }

  #of(category) {
    return this.#nodes.filter((node) => category.test(node.data.category ?? ""));
  }

  #joined = (one, other) => this.#edges.some((edge) => edge.source === one.id && edge.target === other.id);

  /** Node ids and their states: running, done, failed, waiting. */
  get states() {
    return this.#states;
  }

  #set(nodes, state) {
    for (const node of nodes) this.#put(node.id, state);
  }

  #put(id, state) {
    this.#changed ||= this.#states.get(id) !== state;
    this.#states.set(id, state);
  }

  /** Nothing runs, and nothing has. */
  clear() {
    this.#states.clear();
    this.#tools.clear();
  }

  /** A question was sent. */
  begin() {
    this.clear();
    if (!this.#agents) this.#set(this.#ending, "running");
  }

  /** Takes an event. Whether anything changed. */
  take(event) {
    this.#changed = false;
    this.#note(event);
    return this.#changed;
  }

  #note(event) {
    const { data } = event;
    switch (event.event) {
      case "nextAgentFlow":
        if (data.nodeId) this.#put(data.nodeId, STATES[data.status] ?? "running");
        break;
      case "end":
        this.#settle("done");
        break;
      case "error":
        this.#settle("failed");
        break;
      case "abort":
        this.#settle("waiting");
        break;
      default:
        if (!this.#agents) this.#chat(event.event, data);
    }
  }

  #settle(state) {
    for (const [id, now] of this.#states) if (now === "running") this.#put(id, state);
  }

  #chat(kind, data) {
    if (kind === "start" || kind === "token" || kind === "thinking") {
      this.#set(this.#models, "running");
    } else if (kind === "agent_trace") this.#trace(data);
    else if (kind === "usedTools")
      for (const used of data) this.#set(this.#tool(used.tool), used.error ? "failed" : "done");
    else if (kind === "sourceDocuments") this.#set(this.#of(SEARCHED), "done");
    else if (kind === "metadata") {
      this.#set(this.#models, "done");
      this.#set(this.#of(/^memory$/i), "done");
    }
  }

  #trace({ step, name, tool = name, runId }) {
    if (step === "tool_start") {
      this.#set(this.#models, "done");
      this.#tools.set(runId, this.#tool(tool));
      this.#set(this.#tools.get(runId), "running");
    } else if (step === "tool_end" || step === "tool_error") {
      this.#set(this.#tools.get(runId) ?? [], step === "tool_end" ? "done" : "failed");
    }
  }

  /** The node of a tool, by the name that the model calls it. */
  #tool(name) {
    const wanted = plain(name);
    const named = ({ data }) =>
      [data.name, data.label, ...Object.values(data.inputs ?? {})].some(
        (text) => typeof text === "string" && plain(text) === wanted,
      );
    const tools = this.#of(/^(tools|utilities)/i);
    const found = tools.filter(named);
    return found.length ? found.slice(0, 1) : tools.length === 1 ? tools : [];
  }
}
