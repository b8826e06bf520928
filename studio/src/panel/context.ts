/** Where a field stands: whose input it is, and what else that has. */

import type { Values } from "../flow/drawing";

export interface FieldPlace {
  /** Begins the ids of the fields' elements. */
  id: string;
  /** The node type whose inputs these are. */
  kind: string;
  values: Values;
  credential: string;
  /** Of an item of a list: the node's own values, which its rules may look at, and its number. */
  around?: Values;
  index?: number;
}
