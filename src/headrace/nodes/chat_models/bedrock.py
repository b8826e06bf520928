"""Chat models on AWS Bedrock."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar
from urllib.parse import quote

from headrace.engine.annotations import Additional, Input, NodeInfo, Package
from headrace.engine.node import Context, Node
from headrace.engine.ports import Cache, ChatModel
from headrace.errors import FlowError
from headrace.nodes.accounts import is_loopback, secrets
from headrace.nodes.caches import cached
from headrace.nodes.chat_models.images import image_policy
from headrace.nodes.providers import BEDROCK, Provider
from headrace.providers.bedrock import AwsKey, BedrockChat
from headrace.providers.endpoint import Endpoint, set_values


class AwsChatBedrock(Node, frozen=True, kw_only=True, tag="awsChatBedrock"):
    """Models on AWS Bedrock, by its Converse API. Needs the extra `bedrock`."""

    info = NodeInfo(
        label="AWS Bedrock",
        version=6.1,
        type="AWSChatBedrock",
        credentials=("awsApi",),
        packages=(Package("botocore", "bedrock"),),
    )

    provider: ClassVar[Provider] = BEDROCK

    credential: str = ""
    cache: Cache | None = None
    region: Annotated[str, Input(loadMethod="listRegions")] = "us-east-1"
    model: Annotated[str, Input(loadMethod="listModels")] = "anthropic.claude-haiku-4-5-20251001-v1:0"
    customModel: str = ""
    endpointHost: Additional[str] = ""
    streaming: Additional[bool] = True
    allowImageUploads: bool = False
    temperature: Additional[float | None] = 0.7
    max_tokens_to_sample: Additional[int | None] = 200
    latencyOptimized: Additional[bool] = False
    useGlobalEndpoint: Additional[bool] = False

    async def build(self, ctx: Context) -> ChatModel:
        """The model's adapter. Raises FlowError without a key or without botocore."""
        host = self.endpointHost and (
            self.endpointHost if "://" in self.endpointHost else f"https://{self.endpointHost}"
        )
        own = ctx.environ.get(BEDROCK.base_environ) or f"https://bedrock-runtime.{self.region}.amazonaws.com"
        model = self.customModel or (f"global.{self.model}" if self.useGlobalEndpoint else self.model)
        # The signature is over the path as it is sent, and colons are sent as they are.
        endpoint = Endpoint(ctx.http, f"{(host or own).rstrip('/')}/model/{quote(model, safe=':')}/converse-stream")
        options: dict[str, Any] = {
            "inferenceConfig": set_values({"maxTokens": self.max_tokens_to_sample, "temperature": self.temperature})
        }
        if self.latencyOptimized:
            options["performanceConfig"] = {"latency": "optimized"}
        key = await self._key(ctx, not host or is_loopback(host))
        chat = BedrockChat(endpoint, self.region, key, options, image_policy(self.allowImageUploads))
        return cached(self.cache, chat, endpoint.url, options)

    async def _key(self, ctx: Context, may_use_own: bool) -> AwsKey:
        fields = await secrets(ctx, self.credential)
        if fields.get("roleArn"):
            raise FlowError("the AWS Bedrock node cannot assume a role yet: give its credential an access key")
        key = AwsKey(fields.get("awsKey", ""), fields.get("awsSecret", ""), fields.get("awsSession", ""))
        if not self.credential and may_use_own:
            own = (BEDROCK.kind.field(name).own(ctx.environ) for name in ("awsKey", "awsSecret", "awsSession"))
            key = AwsKey(*own)
        if not key.key or not key.secret:
            raise FlowError(
                "AWS Bedrock needs a key: connect a credential to the AWS Bedrock node, or set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY"
            )
        return key


NODES = (AwsChatBedrock,)
