/** A flow of the server that is open: its drawing, what of it is saved, and the draft that this browser keeps. */

import * as server from "../server";
import { completed } from "./completion";
import { forgetDraft, keepDraft, keptDraft } from "./drafts";
import { readDrawing, writeDrawing } from "./drawing";
import { Editor } from "./editor.svelte";
import type { NodeKind } from "./kinds";

export class OpenFlow {
  readonly editor: Editor;
  row = $state.raw() as server.Flow;
  name = $state("");
  saving = $state(false);
  /** Somebody else has saved the flow since it was opened here. */
  conflict = $state(false);
  /** The flow is being changed in another tab of this browser. */
  elsewhere = $state(false);
  /** Changes of an earlier visit are shown. */
  readonly resumed: boolean;
  #forgotten = false;
  #saved = $state.raw() as Editor["drawing"];

  constructor(row: server.Flow, kinds: ReadonlyMap<string, NodeKind>) {
    const stored = completed(readDrawing(row.flowData), row.type, kinds);
    this.row = row;
    this.#saved = stored;
    this.editor = new Editor(row.type, stored);
    const draft = keptDraft(row.id);
    this.name = draft?.name ?? row.name;
    this.resumed = draft !== undefined && (draft.flowData !== writeDrawing(stored) || draft.name !== row.name);
    if (draft && this.resumed) {
      this.editor.change(readDrawing(draft.flowData));
      this.conflict = draft.since !== row.updatedDate;
    }
  }

  get unsaved(): boolean {
    return this.editor.drawing !== this.#saved || this.name !== this.row.name;
  }

  /** Keeps what is not saved in this browser. */
  keep(): void {
    if (this.#forgotten) return;
    if (!this.unsaved) forgetDraft(this.row.id);
    else keepDraft(this.row.id, { since: this.row.updatedDate, name: this.name, flowData: this.text });
  }

  /** Gives up what is not saved. */
  forget(): void {
    this.#forgotten = true;
    forgetDraft(this.row.id);
  }

  get text(): string {
    return writeDrawing(this.editor.drawing);
  }

  /** Looks whether the saved flow is still the one that was opened. Throws Refused. */
  async look(): Promise<void> {
    if (this.saving || this.conflict) return;
    const { updatedDate } = this.row;
    const changed = await server.hasChanged(this.row.id, updatedDate);
    if (updatedDate === this.row.updatedDate) this.conflict = changed;
  }

  /** Saves the flow, unless somebody else has in the meantime: then `conflict` is set. Throws Refused. */
  async save({ overwrite = false } = {}): Promise<void> {
    if (this.saving) return;
    this.saving = true;
    try {
      if (!overwrite && (await server.hasChanged(this.row.id, this.row.updatedDate))) {
        this.conflict = true;
        return;
      }
      const { drawing } = this.editor;
      this.row = await server.changeFlow(this.row.id, { name: this.name, flowData: writeDrawing(drawing) });
      this.#saved = drawing;
      this.conflict = false;
      this.keep();
    } finally {
      this.saving = false;
    }
  }

  /** Changes settings of the flow other than its drawing. Throws Refused. */
  async set(settings: Partial<server.Flow>): Promise<void> {
    this.row = await server.changeFlow(this.row.id, settings);
  }
}
