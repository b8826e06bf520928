"""Signing in at Google: the request that an account's key signs, and the token that is kept until it is old."""

import json
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from calls import context
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from model_nodes import account_file, private_key
from protocols import transcript
from provider import Answer, Provider, as_json
from waiting import within

from headrace.engine.chat import ChatRequest, ModelMessage
from headrace.errors import FlowError, ProviderError, ProviderMalformed, ProviderUnauthorized
from headrace.nodes.chat_models.google import ChatGoogleVertexAI
from headrace.providers.http import ProviderHttp, ProviderLimits
from headrace.providers.vertex import service_account

CLOCK = 1_800_000_000.0


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return private_key()


@pytest.fixture
def account(provider: Provider, key: RSAPrivateKey, tmp_path: Path) -> str:
    """A new account each time, since tokens are kept for the process."""
    text = account_file(tmp_path, provider.url + "/token", key).read_text()
    return text.replace("robot@", f"{tmp_path.name}@")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, for the test to move on."""
    now = [CLOCK]
    monkeypatch.setattr("headrace.providers.vertex.time", lambda: now[0])
    return now


def tokens(account: str, *moments: float, clock: list[float]) -> list[str]:
    """The tokens at these seconds from the start, each asked of a new object, as every run makes one."""

    async def run() -> list[str]:
        http, found = ProviderHttp(ProviderLimits(attempts=1)), list[str]()
        try:
            for moment in moments:
                clock[0] = CLOCK + moment
                signer = service_account(http, {"googleApplicationCredential": account}, {})
                found.append(await signer.token())
        finally:
            await http.close()
        return found

    return within(run())


def numbered(provider: Provider, **fields: Any) -> None:
    """Each token is another one."""
    provider.seen = []
    provider.answer = lambda _: as_json(
        {"access_token": f"token-{len(provider.seen)}", "token_type": "Bearer", **fields}
    )


def test_the_request_for_a_token_is_signed_by_the_account(
    provider: Provider, account: str, key: RSAPrivateKey, clock: list[float]
) -> None:
    numbered(provider, expires_in=3599)
    tokens(account, 0, clock=clock)
    (seen,) = provider.seen
    assert (seen.method, seen.path) == ("POST", "/token")
    assert seen.headers["content-type"] == "application/x-www-form-urlencoded"
    form = parse_qs(seen.raw.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    head, claims, signature = form["assertion"][0].split(".")
    assert read(head) == {"alg": "RS256", "typ": "JWT"}
    assert read(claims) == {
        "iss": json.loads(account)["client_email"],
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": provider.url + "/token",
        "iat": CLOCK,
        "exp": CLOCK + 3600,
    }
    key.public_key().verify(raw(signature), f"{head}.{claims}".encode(), PKCS1v15(), SHA256())
    with pytest.raises(InvalidSignature):
        key.public_key().verify(raw(signature), f"{head}.{claims}x".encode(), PKCS1v15(), SHA256())


def raw(part: str) -> bytes:
    assert "=" not in part
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def read(part: str) -> Any:
    return json.loads(raw(part))


def test_a_token_is_kept_until_a_minute_before_its_end(provider: Provider, account: str, clock: list[float]) -> None:
    numbered(provider, expires_in=3599)
    assert tokens(account, 0, 10, 3500, 3538, 3540, 3541, 7000, clock=clock) == [*["token-0"] * 4, *["token-1"] * 3]
    assert len(provider.seen) == 2


def test_a_token_without_a_lifetime_lasts_an_hour(provider: Provider, account: str, clock: list[float]) -> None:
    numbered(provider)
    assert tokens(account, 0, 3539, 3541, clock=clock) == ["token-0", "token-0", "token-1"]


def test_a_refused_account_is_asked_again_next_time(provider: Provider, account: str, clock: list[float]) -> None:
    provider.always(as_json({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, 401))
    with pytest.raises(ProviderUnauthorized, match="Invalid JWT Signature"):
        tokens(account, 0, clock=clock)
    provider.always(Answer([b"<html>"]))
    with pytest.raises(ProviderMalformed, match="cannot be read"):
        tokens(account, 0, clock=clock)
    numbered(provider, expires_in=3599)
    assert tokens(account, 0, clock=clock) == ["token-0"]


def test_the_node_calls_with_the_token_and_masks_it(provider: Provider, account: str, clock: list[float]) -> None:
    asked: dict[str, Answer] = {"/token": as_json({"access_token": "ya29.secret", "expires_in": 3599})}
    provider.always(Answer())
    chat = Answer([transcript("google/parts.sse")])
    provider.answer = lambda seen: asked.get(seen.path, chat)

    async def run() -> None:
        http = ProviderHttp(ProviderLimits(attempts=1))
        environ = {"GOOGLE_VERTEX_BASE_URL": provider.url}
        try:
            ctx = context(http, environ, {"c": {"googleApplicationCredential": account, "projectID": "other"}})
            model = await ChatGoogleVertexAI(credential="c", region="europe-west4", modelName="gemini-x").build(ctx)
            async for _ in model.stream(ChatRequest([ModelMessage("user", "Hi")])):
                pass
        finally:
            await http.close()

    within(run())
    called = provider.seen[-1]
    place = "/v1/projects/other/locations/europe-west4/publishers/google/models/gemini-x:streamGenerateContent?alt=sse"
    assert called.path == place
    assert called.headers["authorization"] == "Bearer ya29.secret"
    chat = as_json({"error": {"code": 403, "message": "ya29.secret may not", "status": "PERMISSION_DENIED"}}, 403)
    with pytest.raises(ProviderUnauthorized, match=r"\*\*\* may not"):
        within(run())


def elliptic() -> str:
    made = generate_private_key(SECP256R1())
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    ("pem", "message"),
    [("no key", "cannot be read"), ("", "cannot be read"), (elliptic(), "is no RSA key")],
    ids=["no key", "empty", "another kind"],
)
def test_a_key_that_cannot_sign_is_named(
    provider: Provider, account: str, clock: list[float], pem: str, message: str
) -> None:
    provider.always(Answer())
    with pytest.raises(FlowError, match=message) as caught:
        tokens(json.dumps({**json.loads(account), "private_key": pem}), 0, clock=clock)
    assert pem[30:60] not in str(caught.value) or not pem[30:60]
    assert provider.seen == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "needs a service account"),
        ({"googleApplicationCredential": "{"}, "key file of the Google service account cannot be read"),
        ({"googleApplicationCredential": '{"private_key": "secret"}'}, "cannot be read"),
        ({"googleApplicationCredentialFilePath": "/does/not/exist.json"}, "cannot be read"),
        ({"googleApplicationCredential": '{"client_email": "a", "private_key": "b"}'}, "does not know its project"),
    ],
    ids=["none", "no JSON", "half", "no file", "no project"],
)
def test_an_account_that_is_none_says_what_to_do(fields: dict[str, str], message: str) -> None:
    with pytest.raises(FlowError, match=message) as caught:
        service_account(ProviderHttp(), fields, {})
    assert "secret" not in str(caught.value)


def test_errors_of_the_token_are_provider_errors(provider: Provider, account: str, clock: list[float]) -> None:
    provider.always(as_json({"expires_in": 5}))
    with pytest.raises(ProviderError):
        tokens(account, 0, clock=clock)
