/**
 * Client for Headrace and Flowise servers.
 *
 * @packageDocumentation
 */

export { HeadraceClient, type PredictionData, type PredictionOptions, RunReader, Stream } from "./client.js";
export {
  ConnectionFailed,
  type ErrorDetails,
  FlowError,
  HeadraceError,
  ProviderError,
  RequestError,
} from "./errors.js";
export type {
  AbortEvent,
  ActionEvent,
  AgentFlowEvent,
  AgentFlowExecutedDataEvent,
  AgentReasoningEvent,
  AgentTraceEvent,
  ArtifactsEvent,
  CalledToolsEvent,
  ContinueFor,
  Document,
  EndEvent,
  ErrorCode,
  ErrorEvent,
  Feedback,
  FileAnnotationsEvent,
  FileUpload,
  FlowRow,
  HeadraceEvent,
  HistoryMessage,
  HumanInput,
  KnownEvent,
  MetadataEvent,
  NextAgentEvent,
  NextAgentFlowEvent,
  Prediction,
  PredictionRequest,
  Rating,
  RunInfo,
  RunMetadata,
  RunState,
  SourceDocumentsEvent,
  SpeechAbortEvent,
  SpeechDataEvent,
  SpeechEndEvent,
  SpeechStartEvent,
  StartEvent,
  ThinkingEvent,
  TokenEvent,
  ToolNameEvent,
  UnknownEvent,
  Usage,
  UsageMetadataEvent,
  UsedTool,
  UsedToolsEvent,
} from "./events.js";
export { fold } from "./fold.js";
export type { AskOptions, CallOptions, HeadraceClientOptions, NamedBlob } from "./request.js";
export { Decoder, type ServerSentEvent } from "./sse.js";
export { type Chunk, chunkOf, eventOf } from "./wire.js";
