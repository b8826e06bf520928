/** What new flows begin with. */

import { created } from "./creation";
import { type Drawing, type FlowType, isAgentFlow } from "./drawing";
import type { NodeKind } from "./kinds";

/** An empty canvas; an agent flow has its Start node. */
export function emptyDrawing(type: FlowType, kinds: readonly NodeKind[]): Drawing {
  const empty: Drawing = { nodes: [], edges: [], viewport: { x: 0, y: 0, zoom: 1 } };
  const start = kinds.find((kind) => kind.name === "startAgentflow");
  return isAgentFlow(type) && start ? { ...empty, nodes: [created(start, empty, type, { x: 80, y: 160 })] } : empty;
}
