/** The ways on from a node of an agent flow: one, none, or one for each condition, scenario or answer. */

import type { NodeData, OutputAnchor, Values } from "./drawing";
import { listOf } from "./values";

const ENDINGS = new Set(["loopAgentflow", "endAgentflow"]);

/** The node's outputs as its inputs have them now. */
export function branchesOf(data: NodeData): Pick<NodeData, "outputAnchors" | "outputs" | "hideOutput"> {
  if (ENDINGS.has(data.name)) return { outputAnchors: [], outputs: {}, hideOutput: true };
  const names = branchNames(data);
  if (!names) {
    const only = { id: `${data.id}-output-${data.name}`, label: data.type ?? data.label, name: data.name };
    return { outputAnchors: [only], outputs: {} };
  }
  const anchors = names.map<OutputAnchor>((description, number) => ({
    id: `${data.id}-output-${number}`,
    label: data.type ?? data.label,
    name: data.name,
    description,
  }));
  return { outputAnchors: anchors, outputs: { [data.name]: "" } };
}

/** What each way on is called; undefined for a node that has only one. */
export function branchNames(data: NodeData): string[] | undefined {
  const inputs = data.inputs ?? {};
  switch (data.name) {
    case "humanInputAgentflow":
      return ["Proceed", "Reject"];
    case "conditionAgentflow":
      return [...listOf(inputs.conditions).map((_, number) => `Condition ${number}`), "Else"];
    case "conditionAgentAgentflow":
      return listOf<Values>(inputs.conditionAgentScenarios).map((item, number) =>
        String(item.scenario || `Scenario ${number}`),
      );
    default:
      return undefined;
  }
}
