/** The server's API, as far as the studio uses it. */

import { BASE, Refused, ask as request } from "playground/api.js";
import type { Choice, Drawing, FlowType, Input, Values } from "./flow/drawing";
import type { Finding } from "./flow/editor.svelte";
import type { NodeKind } from "./flow/kinds";

export { BASE, Refused };

export interface Flow {
  id: string;
  name: string;
  type: FlowType;
  flowData: string;
  updatedDate: string;
  isPublic: boolean | null;
  apikeyid: string | null;
  chatbotConfig: string | null;
  apiConfig: string | null;
  category: string | null;
  coverage: { missing: string[]; findings: Finding[] };
}

export interface Credential {
  id: string;
  name: string;
  credentialName: string;
}

export interface CredentialKind {
  name: string;
  label: string;
  inputs: readonly Input[];
}

export interface Template {
  id: string;
  templateName: string;
  flowData: string;
  type: "Chatflow" | "AgentflowV2" | "Agentflow";
  description: string;
  starters: readonly string[];
  categories: readonly string[];
}

const path = encodeURIComponent;
// The playground's module is JavaScript, whose types say nothing of answers.
const ask = request as <T>(path: string, options?: { method: string; body?: unknown }) => Promise<T>;

export const flows = () => ask<Flow[]>("chatflows");

export const flow = (id: string) => ask<Flow>(`chatflows/${path(id)}`);

export const createFlow = (body: Partial<Flow>) => ask<Flow>("chatflows", { method: "POST", body });

export const changeFlow = (id: string, body: Partial<Flow>) =>
  ask<Flow>(`chatflows/${path(id)}`, { method: "PUT", body });

export const deleteFlow = (id: string) => ask<unknown>(`chatflows/${path(id)}`, { method: "DELETE" });

/** Whether somebody has changed the flow since this date. */
export async function hasChanged(id: string, since: string): Promise<boolean> {
  return (await ask<{ hasChanged: boolean }>(`chatflows/has-changed/${path(id)}/${path(since)}`)).hasChanged;
}

export const templates = () => ask<Template[]>("marketplaces/templates");

export const kinds = () => ask<NodeKind[]>("nodes");

/** Choices that the server makes for an input. */
export const choices = (
  kind: string,
  asked: { loadMethod: string; inputs: Values; credential: string; previousNodes: readonly unknown[] },
) => ask<Choice[]>(`node-load-method/${path(kind)}`, { method: "POST", body: asked });

export const credentials = () => ask<Credential[]>("credentials");

export const credentialKinds = () => ask<CredentialKind[]>("components-credentials");

export const createCredential = (name: string, kind: string, values: Values) =>
  ask<Credential>("credentials", { method: "POST", body: { name, credentialName: kind, plainDataObj: values } });

export const deleteCredential = (id: string) => ask<unknown>(`credentials/${path(id)}`, { method: "DELETE" });

export const variables = () => ask<{ name: string }[]>("variables");

/** What keeps a drawing from answering; it need not be saved. */
export const findings = (drawing: Drawing, type: FlowType, id: string) =>
  ask<Finding[]>("validation", { method: "POST", body: { flowData: JSON.stringify(drawing), type, id } });
