"""Chat models that Ollama serves."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from headrace.engine.annotations import Additional, Input, NodeInfo
from headrace.engine.node import Context, Node
from headrace.engine.ports import Cache, ChatModel
from headrace.errors import FlowError
from headrace.nodes.accounts import account, words
from headrace.nodes.caches import cached
from headrace.nodes.chat_models.images import image_policy
from headrace.nodes.providers import OLLAMA, Provider
from headrace.providers.endpoint import Endpoint, set_values
from headrace.providers.ollama import OllamaChat


class ChatOllama(Node, frozen=True, kw_only=True, tag="chatOllama"):
    """Models that Ollama serves."""

    info = NodeInfo(label="Ollama", version=5, credentials=("ollamaApi",))

    provider: ClassVar[Provider] = OLLAMA

    credential: str = ""
    cache: Cache | None = None
    baseUrl: Annotated[str, Input(default="http://localhost:11434")] = ""
    modelName: str = ""
    temperature: float | None = 0.9
    streaming: Additional[bool] = True
    allowImageUploads: bool = False
    think: bool = False
    jsonMode: Additional[bool] = False
    keepAlive: Additional[str] = "5m"
    topP: Additional[float | None] = None
    topK: Additional[int | None] = None
    mirostat: Additional[int | None] = None
    mirostatEta: Additional[float | None] = None
    mirostatTau: Additional[float | None] = None
    numCtx: Additional[int | None] = None
    numGpu: Additional[int | None] = None
    numThread: Additional[int | None] = None
    repeatLastN: Additional[int | None] = None
    repeatPenalty: Additional[float | None] = None
    stop: Additional[str] = ""
    seed: int | None = None
    tfsZ: Additional[float | None] = None

    async def build(self, ctx: Context) -> ChatModel:
        """The model's adapter. Raises FlowError when no model is named."""
        if not self.modelName:
            raise FlowError("the Ollama node has no model: name one that `ollama list` shows")
        where = await account(ctx, OLLAMA, base=self.baseUrl, credential=self.credential)
        headers = {"Authorization": f"Bearer {where.key}"} if where.key else {}
        endpoint = Endpoint(ctx.http, f"{where.base}/api/chat", headers, where.key)
        options = self._body()
        return cached(
            self.cache, OllamaChat(endpoint, options, image_policy(self.allowImageUploads)), endpoint.url, options
        )

    def _body(self) -> dict[str, Any]:
        sampling = {
            "temperature": self.temperature,
            "top_p": self.topP,
            "top_k": self.topK,
            "mirostat": self.mirostat,
            "mirostat_eta": self.mirostatEta,
            "mirostat_tau": self.mirostatTau,
            "num_ctx": self.numCtx,
            "num_gpu": self.numGpu,
            "num_thread": self.numThread,
            "repeat_last_n": self.repeatLastN,
            "repeat_penalty": self.repeatPenalty,
            "stop": words(self.stop),
            "seed": self.seed,
            "tfs_z": self.tfsZ,
        }
        body = {
            "model": self.modelName,
            "options": set_values(sampling),
            "keep_alive": self.keepAlive or None,
            "think": self.think or None,  # models that cannot think refuse the very word
            "format": "json" if self.jsonMode else None,
        }
        return set_values(body)


class ChatOllamaLlamaIndex(ChatOllama, frozen=True, kw_only=True, tag="chatOllama_LlamaIndex"):
    """Models that Ollama serves, as the node for engines."""

    info = NodeInfo(label="ChatOllama", type="ChatOllama", bases=("BaseChatModel_LlamaIndex", "BaseLLM"))


NODES = (ChatOllama, ChatOllamaLlamaIndex)
