/** The settings of a flow that the studio edits, out of the configurations that the flow holds as JSON texts. */

import type { Flow } from "../server";

export interface FlowSettings {
  starters: string;
  welcome: string;
  origins: string;
  limitMax: number | null;
  limitDuration: number | null;
  category: string;
}

type Config = Record<string, unknown>;

const config = (text: string | null): Config => JSON.parse(text || "{}") ?? {};
const lines = (text: string): string[] =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);

export function readSettings(row: Flow): FlowSettings {
  const [chat, api] = [config(row.chatbotConfig), config(row.apiConfig)];
  const starters = Object.values((chat.starterPrompts ?? {}) as Record<string, { prompt?: string }>);
  const limit = (api.rateLimit ?? {}) as { limitMax?: number; limitDuration?: number };
  return {
    starters: starters.map((one) => one.prompt ?? "").join("\n"),
    welcome: String(chat.welcomeMessage ?? ""),
    origins: ((chat.allowedOrigins ?? []) as string[]).join("\n"),
    limitMax: limit.limitMax ?? null,
    limitDuration: limit.limitDuration ?? null,
    category: row.category ?? "",
  };
}

/** What to change of the flow. Whatever else its configurations hold stays. */
export function writeSettings(row: Flow, settings: FlowSettings): Partial<Flow> {
  const [chat, api] = [config(row.chatbotConfig), config(row.apiConfig)];
  chat.starterPrompts = Object.fromEntries(lines(settings.starters).map((prompt, at) => [at, { prompt }]));
  chat.welcomeMessage = settings.welcome;
  chat.allowedOrigins = lines(settings.origins);
  const { limitMax, limitDuration } = settings;
  const limited = limitMax !== null && limitDuration !== null;
  if (limited || api.rateLimit)
    api.rateLimit = { ...(api.rateLimit as Config), status: limited, limitMax, limitDuration };
  return { chatbotConfig: JSON.stringify(chat), apiConfig: JSON.stringify(api), category: settings.category };
}
