/** What all parts of a flow's page share. */

import { createContext } from "svelte";
import type { Editor } from "./flow/editor.svelte";
import type { NodeKind } from "./flow/kinds";

export interface Workplace {
  editor: Editor;
  kinds: ReadonlyMap<string, NodeKind>;
}

export const [workplace, setWorkplace] = createContext<Workplace>();
