/** Automatic layout: layers from left to right. What is inside of an iteration stays where it is there. */

import dagre from "@dagrejs/dagre";
import { type Drawing, NOTE, type Position } from "./drawing";

export interface Size {
  width: number;
  height: number;
}

/** A place for each node at the top level that is connected to another one. */
export function arranged(drawing: Drawing, sizeOf: (id: string) => Size): Map<string, Position> {
  const graph = new dagre.graphlib.Graph();
  graph.setGraph({ rankdir: "LR", nodesep: 48, ranksep: 96 });
  graph.setDefaultEdgeLabel(() => ({}));
  const top = drawing.nodes.filter((node) => !node.parentNode && node.type !== NOTE);
  for (const node of top) graph.setNode(node.id, { ...sizeOf(node.id) });
  for (const edge of drawing.edges)
    if (graph.hasNode(edge.source) && graph.hasNode(edge.target)) graph.setEdge(edge.source, edge.target);
  dagre.layout(graph);
  return new Map(
    top.map(({ id }) => {
      const { x, y, width, height } = graph.node(id);
      return [id, { x: x - width / 2, y: y - height / 2 }];
    }),
  );
}
