/** What a value from the wire must be: a plain type, a list, or a record by its fields. */
export type Shape = Plain | readonly ["list", Shape] | Fields;
type Plain = "string" | "number" | "integer" | "boolean" | "object" | "unknown";
/** The fields of a record: required ones, and those that may be absent, with what they are then. */
export interface Fields {
    readonly [name: string]: Shape | readonly ["optional", Shape, unknown?];
}
/** A passage that an answer rests on. */
export interface Document {
    pageContent: string;
    metadata: Record<string, unknown>;
    id?: string;
}
/** One call of a tool: what it was asked, what it answered, and why it failed if it did. */
export interface UsedTool {
    tool: string;
    toolInput: unknown;
    toolOutput: unknown;
    error?: string;
}
/** Tokens as the provider counted them; `estimated` when the run was cancelled before it told them. */
export interface Usage {
    input_tokens: number;
    output_tokens: number;
    total_tokens: number;
    cached_tokens?: number;
    reasoning_tokens?: number;
    estimated?: boolean;
}
/** Payload of `metadata`. */
export interface RunMetadata {
    chatId?: string;
    chatMessageId?: string;
    question?: unknown;
    form?: Record<string, unknown>;
    sessionId?: string;
    memoryType?: string;
    followUpPrompts?: string;
    flowVariables?: Record<string, unknown>;
    action?: Record<string, unknown>;
    executionId?: string;
    /** All executed nodes, where they have changed since the last event of that name. */
    agentFlowExecutedData?: Array<Record<string, unknown>>;
    usage?: Usage;
    /** The answer of a flow that answers with a value in place of text. */
    json?: unknown;
    /** The answer's text, where it is not all tokens: what an agent says before it uses a tool is no part of it. */
    text?: string;
    /** More keys of the JSON answer, from a function that ends the flow. */
    fields?: Record<string, unknown>;
}
/** The whole answer: what a stream folds to, what a JSON prediction returns, what the chat history keeps. */
export interface Prediction {
    text?: string;
    /** The answer of a flow with a structured output, in place of `text`. */
    json?: unknown;
    sourceDocuments?: Document[];
    usedTools?: UsedTool[];
    artifacts?: Array<Record<string, unknown>>;
    fileAnnotations?: Array<Record<string, unknown>>;
    question?: unknown;
    form?: Record<string, unknown>;
    chatId?: string;
    chatMessageId?: string;
    executionId?: string;
    agentFlowExecutedData?: Array<Record<string, unknown>>;
    agentReasoning?: Array<Record<string, unknown>>;
    action?: Record<string, unknown>;
    followUpPrompts?: string;
    isStreamValid?: boolean;
    sessionId?: string;
    memoryType?: string;
    flowVariables?: Record<string, unknown>;
    reasonContent?: Record<string, unknown>;
    usage?: Usage;
    /** More keys of the JSON answer; there they stand beside the others. */
    fields?: Record<string, unknown>;
    error?: ErrorEvent;
    aborted?: boolean;
}
/** A run's state. Dates are ISO 8601 in UTC; `lastSeq` is the number of its newest event. */
export interface RunInfo {
    id: string;
    chatflowid: string;
    chatId: string;
    sessionId: string;
    chatMessageId: string;
    state: RunState;
    createdDate: string;
    lastSeq: number;
    endedDate?: string;
    usage?: Usage;
    error?: string;
    code?: string;
    /** Paths of the run itself, of its events, and to cancel it. */
    links: Record<string, string>;
}
/** A stored flow. The configuration columns are JSON texts, as Flowise has them. */
export interface FlowRow {
    id: string;
    name: string;
    flowData: string;
    type: string;
    workspaceId?: string;
    deployed?: boolean;
    /** Headrace's answers have no null for these two, Flowise's do. */
    isPublic?: boolean;
    apikeyid?: string;
    chatbotConfig?: string;
    apiConfig?: string;
    analytic?: string;
    speechToText?: string;
    textToSpeech?: string;
    followUpPrompts?: string;
    category?: string;
    mcpServerConfig?: string;
    createdDate: string;
    updatedDate: string;
}
/** The text of a file, or with the field `base64` its bytes. */
export interface Attachment {
    name: string;
    mimeType: string;
    size: number;
    content: string;
}
/** A visitor's rating of an answer; flow and chat are the message's. */
export interface Feedback {
    id: string;
    chatflowid: string;
    chatId: string;
    messageId: string;
    rating: Rating;
    content?: string;
    createdDate: string;
}
/** The first chunk of the model; `token` repeats it, so it must not be rendered. */
export interface StartEvent {
    event: "start";
    data: unknown;
}
/** Text to append to the answer. */
export interface TokenEvent {
    event: "token";
    data: string;
}
/** Reasoning text; the closing one has empty data and a duration in seconds. */
export interface ThinkingEvent {
    event: "thinking";
    data: string;
    duration?: number;
}
/** The passages that a vector store returned; replaces earlier ones. */
export interface SourceDocumentsEvent {
    event: "sourceDocuments";
    data: Document[];
}
/** The tools that were called, after they ran; replaces earlier ones. */
export interface UsedToolsEvent {
    event: "usedTools";
    data: UsedTool[];
}
/** The tools that the model asks for, before they run. */
export interface CalledToolsEvent {
    event: "calledTools";
    data: UsedTool[];
}
/** The name of the tool that an assistant works with. */
export interface ToolNameEvent {
    event: "tool";
    data: string;
}
/** Files and pictures that the run made: `[{type, data}]`. */
export interface ArtifactsEvent {
    event: "artifacts";
    data: Array<Record<string, unknown>>;
}
/** Files that the answer cites: `[{filePath, fileName}]`. */
export interface FileAnnotationsEvent {
    event: "fileAnnotations";
    data: Array<Record<string, unknown>>;
}
/** All steps of a multi-agent run so far. */
export interface AgentReasoningEvent {
    event: "agentReasoning";
    data: Array<Record<string, unknown>>;
}
/** The label of the agent whose turn it is. */
export interface NextAgentEvent {
    event: "nextAgent";
    data: string;
}
/** State of an agent flow's run: INPROGRESS, FINISHED, STOPPED, ERROR or TERMINATED. */
export interface AgentFlowEvent {
    event: "agentFlowEvent";
    data: string;
}
/** State of one node: `{nodeId, nodeLabel, status, error?}`. */
export interface NextAgentFlowEvent {
    event: "nextAgentFlow";
    data: Record<string, unknown>;
}
/** All executed nodes of an agent flow so far. */
export interface AgentFlowExecutedDataEvent {
    event: "agentFlowExecutedData";
    data: Array<Record<string, unknown>>;
}
/** A question to the human: `{id, mapping, elements, data?}`. */
export interface ActionEvent {
    event: "action";
    data: Record<string, unknown>;
}
/** Tokens that a node of an agent flow used. */
export interface UsageMetadataEvent {
    event: "usageMetadata";
    data: Record<string, unknown>;
}
/** A step of an agent: `{step, tool?, input?, output?, event?, data?, runId, parentRunId}`. */
export interface AgentTraceEvent {
    event: "agent_trace";
    data: Record<string, unknown>;
}
/** The ids that an answer belongs to; comes after the last token and before `end`. */
export interface MetadataEvent {
    event: "metadata";
    data: RunMetadata;
}
/** Speech begins: `{chatMessageId, format}`. */
export interface SpeechStartEvent {
    event: "tts_start";
    data: Record<string, unknown>;
}
/** A piece of speech: `{chatMessageId, audioChunk}` (base64). */
export interface SpeechDataEvent {
    event: "tts_data";
    data: Record<string, unknown>;
}
/** Speech is complete: `{chatMessageId}`. */
export interface SpeechEndEvent {
    event: "tts_end";
    data: Record<string, unknown>;
}
/** Speech was stopped: `{chatMessageId}`. */
export interface SpeechAbortEvent {
    event: "tts_abort";
    data: Record<string, unknown>;
}
/** The run was cancelled; `end` follows. `usage` is what the run cost until then. */
export interface AbortEvent {
    event: "abort";
    data: string;
    usage?: Usage;
}
/** The run failed; `end` follows. `code` is one of `headrace.errors`, `retryAfter` seconds to wait, if known. */
export interface ErrorEvent {
    event: "error";
    data: string;
    code?: string;
    retryable?: boolean;
    retryAfter?: number;
}
/** The last event of every stream. */
export interface EndEvent {
    event: "end";
    data: string;
}
/** An event of a kind, or with a payload, that this version does not know. */
export interface UnknownEvent {
    event: "unknown";
    /** Its name on the wire. */
    kind: string;
    /** The payload, if it has one. */
    data: unknown;
    /** The event as it came. */
    fields: Record<string, unknown>;
}
/** An event that this version knows. */
export type KnownEvent = StartEvent | TokenEvent | ThinkingEvent | SourceDocumentsEvent | UsedToolsEvent | CalledToolsEvent | ToolNameEvent | ArtifactsEvent | FileAnnotationsEvent | AgentReasoningEvent | NextAgentEvent | AgentFlowEvent | NextAgentFlowEvent | AgentFlowExecutedDataEvent | ActionEvent | UsageMetadataEvent | AgentTraceEvent | MetadataEvent | SpeechStartEvent | SpeechDataEvent | SpeechEndEvent | SpeechAbortEvent | AbortEvent | ErrorEvent | EndEvent;
/** Every event that a stream can give; `event` tells them apart. */
export type HeadraceEvent = KnownEvent | UnknownEvent;
/** How far a run is. */
export type RunState = "running" | "finished" | "failed" | "cancelled";
/** What a visitor says of an answer. */
export type Rating = "THUMBS_UP" | "THUMBS_DOWN";
/** A file that comes with a question; `data` is a data URI, or the address for type "url". */
export interface FileUpload {
    type: string;
    name?: string | null | undefined;
    mime?: string | null | undefined;
    data?: string | null | undefined;
}
/** An earlier turn that the caller sends along. Flowise's older form `{type, message}` carries no content. */
export interface HistoryMessage {
    role?: string | null | undefined;
    content?: string | null | undefined;
    type?: string | null | undefined;
    message?: string | null | undefined;
}
/** Go on for so many seconds after the last reader has left. */
export interface ContinueFor {
    continueFor: number;
}
/** A person's answer to an agent flow that waits for one. */
export interface HumanInput {
    /** `proceed`; anything else is a no. */
    type?: string | null | undefined;
    /** The node that has asked, if the answer shall be for no other one. */
    startNodeId?: string | null | undefined;
    feedback?: string | null | undefined;
}
/** Body of a prediction. Absent and null mean the same. */
export interface PredictionRequest {
    /** Normally a text; any other JSON value is passed to the model as JSON text, as Flowise does. */
    question?: unknown;
    streaming?: boolean | string | null | undefined;
    chatId?: string | null | undefined;
    overrideConfig?: Record<string, unknown> | null | undefined;
    history?: HistoryMessage[] | null | undefined;
    uploads?: FileUpload[] | null | undefined;
    leadEmail?: string | null | undefined;
    form?: Record<string, unknown> | null | undefined;
    action?: Record<string, unknown> | null | undefined;
    /** The answer to an agent flow that has stopped to ask for one. */
    humanInput?: HumanInput | null | undefined;
    /** Answer at once with the run's links instead of waiting for it. */
    background?: boolean | null | undefined;
    /** The run's fate when its last reader leaves; unset, the flow's setting counts. */
    onDisconnect?: "continue" | "cancel" | ContinueFor | null | undefined;
}
export declare const DOCUMENT: Fields;
export declare const USED_TOOL: Fields;
export declare const USAGE: Fields;
export declare const RUN_METADATA: Fields;
export declare const ERROR: Fields;
export declare const PREDICTION: Fields;
export declare const RUN_INFO: Fields;
export declare const FLOW_ROW: Fields;
export declare const ATTACHMENT: Fields;
export declare const FEEDBACK: Fields;
/** The fields of each kind of event. */
export declare const EVENTS: {
    readonly [kind: string]: Fields;
};
/** What can go wrong. */
export type ErrorCode = 
/** The request cannot be read; the message names the place. */
"invalid_request"
/** The form that a flow begins with lacks fields, or has wrong ones; each is named. */
 | "invalid_form"
/** No key, or a wrong one. */
 | "unauthorized"
/** The key does not allow this. */
 | "forbidden"
/** The flow does not allow this web site. */
 | "origin_refused"
/** There is no such thing. */
 | "not_found"
/** There is no such flow. */
 | "flow_not_found"
/** There is no such run, or it has expired. */
 | "run_not_found"
/** The current state does not allow this. */
 | "conflict"
/** The Idempotency-Key was used with another body. */
 | "idempotency_conflict"
/** The session has a run already, and the flow allows one at a time. */
 | "session_busy"
/** The webhook is called with another method. */
 | "method_not_allowed"
/** The body has a media type that the webhook does not take. */
 | "media_type_refused"
/** The request has no body that can be read. */
 | "body_missing"
/** The body came too slowly, or not at all. */
 | "body_timeout"
/** The body is over the limit. */
 | "body_too_large"
/** Too many requests; wait `retryAfter` seconds. */
 | "rate_limited"
/** The flow cannot run as it is; the message names node and field. */
 | "flow_error"
/** The flow needs node types that this server does not have. */
 | "unknown_nodes"
/** A script of the flow threw, or met a limit; the message is the script's own. */
 | "script_error"
/** A flow or its script asked for an address that it may not reach. */
 | "fetch_refused"
/** An address that a flow or its script asked for gave no answer, or not a whole one. */
 | "fetch_failed"
/** The model's provider refused or failed. */
 | "provider_error"
/** The provider does not accept the key (401, 403). */
 | "provider_unauthorized"
/** The provider does not have the model or the address (404). */
 | "provider_not_found"
/** The provider does not accept the request (other 4xx). */
 | "provider_refused"
/** The conversation is longer than the model can read: shorten the prompt, the memory or the sources. */
 | "provider_context_too_long"
/** The provider's content filter stopped the question or the answer. */
 | "provider_filtered"
/** The provider asks to slow down (429). */
 | "provider_rate_limited"
/** The provider cannot be reached or is overloaded (5xx, connection refused). */
 | "provider_unavailable"
/** The provider took too long. */
 | "provider_timeout"
/** The connection ended inside the answer. */
 | "provider_cut"
/** The provider sent what is not its protocol. */
 | "provider_malformed"
/** The database did not take or give something: locked, full or read-only. */
 | "storage_error"
/** The server stopped during the run. */
 | "interrupted"
/** A fault of Headrace itself; the server's log has the details. */
 | "internal"
/** Client side: the server gave no answer, or the answer broke off. */
 | "connection_failed";
/** Of each code its HTTP status (0 for none), whether to retry, and its class; parents come first. */
export declare const ERRORS: {
    readonly [code in ErrorCode]: readonly [status: number, retryable: boolean, family: string];
};
export {};
