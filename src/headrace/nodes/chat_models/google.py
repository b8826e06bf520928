"""Google's chat models: by its developers' API, and on Vertex AI."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar
from urllib.parse import quote

from headrace.engine.annotations import Additional, Input, NodeInfo, options
from headrace.engine.node import Context, Node
from headrace.engine.ports import Cache, ChatModel
from headrace.nodes.accounts import account, secrets
from headrace.nodes.caches import cached
from headrace.nodes.chat_models.images import image_policy
from headrace.nodes.providers import GOOGLE, VERTEX, Provider
from headrace.providers.endpoint import Endpoint, set_values
from headrace.providers.google import GoogleChat
from headrace.providers.vertex import service_account


class ChatGoogleGenerativeAI(Node, frozen=True, kw_only=True, tag="chatGoogleGenerativeAI"):
    """Google's Gemini, by its developers' API."""

    info = NodeInfo(label="Google Gemini", version=3.1, credentials=("googleGenerativeAI",))

    provider: ClassVar[Provider] = GOOGLE

    credential: str = ""
    cache: Cache | None = None
    modelName: Annotated[str, Input(loadMethod="listModels")] = "gemini-1.5-flash-latest"
    customModelName: Additional[str] = ""
    temperature: float | None = 0.9
    streaming: Additional[bool] = True
    allowImageUploads: bool = False
    thinkingBudget: Annotated[
        int | None,
        Input(
            additionalParams=True, show={"modelName": ["gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite"]}
        ),
    ] = None
    thinkingLevel: Annotated[
        str,
        Input(
            additionalParams=True,
            show={"modelName": ["gemini-3.1-pro-preview", "gemini-3.1-flash-lite-preview", "gemini-3-flash-preview"]},
            options=options("LOW", "MEDIUM", "HIGH"),
        ),
    ] = ""
    maxOutputTokens: Additional[int | None] = None
    topP: Additional[float | None] = None
    topK: Additional[int | None] = None
    seed: int | None = None
    safetySettings: Additional[list[dict[str, str]]] = []
    """Each `{harmCategory, harmBlockThreshold}`."""
    baseUrl: Additional[str] = ""

    async def build(self, ctx: Context) -> ChatModel:
        """The model's adapter. Raises FlowError without a key."""
        where = await account(ctx, GOOGLE, base=self.baseUrl, credential=self.credential)
        base = where.base if where.base.endswith(("/v1", "/v1beta")) else f"{where.base}/v1beta"
        model = quote((self.customModelName or self.modelName).removeprefix("models/"), safe="")
        url = f"{base}/models/{model}:streamGenerateContent?alt=sse"
        endpoint = Endpoint(ctx.http, url, {"x-goog-api-key": where.key}, where.key)
        options = self._body()
        return cached(
            self.cache, GoogleChat(endpoint, options, image_policy(self.allowImageUploads)), endpoint.url, options
        )

    def _body(self) -> dict[str, Any]:
        generation = {
            "temperature": self.temperature,
            "maxOutputTokens": self.maxOutputTokens,
            "topP": self.topP,
            "topK": self.topK,
            "seed": self.seed,
        }
        thinking = set_values({"thinkingBudget": self.thinkingBudget, "thinkingLevel": self.thinkingLevel or None})
        body: dict[str, Any] = {"generationConfig": set_values(generation)}
        if thinking:
            body["generationConfig"]["thinkingConfig"] = {**thinking, "includeThoughts": True}
        if self.safetySettings:
            body["safetySettings"] = [
                {"category": setting.get("harmCategory", ""), "threshold": setting.get("harmBlockThreshold", "")}
                for setting in self.safetySettings
            ]
        return body


class ChatGoogleVertexAI(ChatGoogleGenerativeAI, frozen=True, kw_only=True, tag="chatGoogleVertexAI"):
    """Google's Gemini on Vertex AI, with a service account's key."""

    info = NodeInfo(streams=False, label="Google VertexAI", version=5.3, credentials=("googleVertexAuth",))

    provider: ClassVar[Provider] = VERTEX

    modelName: Annotated[str, Input(loadMethod="listModels")] = "gemini-2.5-flash"
    region: Annotated[str, Input(loadMethod="listRegions")] = ""

    async def build(self, ctx: Context) -> ChatModel:
        """The model's adapter. Raises FlowError without a service account."""
        signer = service_account(ctx.http, await secrets(ctx, self.credential), ctx.environ)
        region = self.region or "us-central1"
        own = (
            "https://aiplatform.googleapis.com" if region == "global" else f"https://{region}-aiplatform.googleapis.com"
        )
        base = ctx.environ.get(VERTEX.base_environ) or own
        model = quote(self.customModelName or self.modelName, safe="")
        place = f"v1/projects/{signer.project}/locations/{region}/publishers/google/models/{model}"
        endpoint = Endpoint(ctx.http, f"{base}/{place}:streamGenerateContent?alt=sse")
        options = self._body()
        chat = GoogleChat(endpoint, options, image_policy(self.allowImageUploads), signer.token)
        return cached(self.cache, chat, endpoint.url, options)


NODES = (ChatGoogleGenerativeAI, ChatGoogleVertexAI)
