"""Access to Vertex AI: a service account's key signs a request for a token, which is good for an hour."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from time import time
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from headrace.engine.credentials import KINDS
from headrace.engine.ports import Http, HttpCall
from headrace.errors import FlowError
from headrace.providers.json_answers import json_answer

_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFETIME: Final = 3600  # seconds
_MARGIN: Final = 60  # seconds before its end that a token is replaced


class AccountKey(msgspec.Struct, frozen=True):
    """The parts of a service account's key file that count."""

    client_email: str
    private_key: str
    project_id: str = ""
    token_uri: str = "https://oauth2.googleapis.com/token"  # noqa: S105 an address


class _Token(msgspec.Struct):
    access_token: str
    expires_in: int = _LIFETIME


class ServiceAccount:
    """Signs in as a service account. Tokens are kept for the process, by the account's key."""

    _kept: Final[dict[AccountKey, tuple[str, float]]] = {}

    def __init__(self, http: Http, key: AccountKey, project: str) -> None:
        self.project = project
        self._http, self._key = http, key

    async def token(self) -> str:
        """An access token that holds for another minute at least. Raises ProviderError."""
        token, until = self._kept.get(self._key, ("", 0.0))
        if until < time() + _MARGIN:
            fresh = await self._fresh()
            token, until = fresh.access_token, time() + fresh.expires_in
            self._kept[self._key] = token, until
        return token

    async def _fresh(self) -> _Token:
        form = urlencode({"grant_type": _GRANT, "assertion": self._assertion()}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await json_answer(self._http, HttpCall(self._key.token_uri, headers, form, timeout=30), _Token)

    def _assertion(self) -> str:
        """A JSON Web Token that the account has signed (RFC 7523)."""
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        now = int(time())
        claims = {
            "iss": self._key.client_email,
            "scope": _SCOPE,
            "aud": self._key.token_uri,
            "iat": now,
            "exp": now + _LIFETIME,
        }
        signed = f"{_encoded({'alg': 'RS256', 'typ': 'JWT'})}.{_encoded(claims)}"
        try:
            private = load_pem_private_key(self._key.private_key.encode(), None)
        except ValueError:
            raise FlowError("the private key of the Google service account cannot be read") from None
        if not isinstance(private, RSAPrivateKey):
            raise FlowError("the private key of the Google service account is no RSA key")
        signature = private.sign(signed.encode(), PKCS1v15(), SHA256())
        return f"{signed}.{_base64(signature)}"


def _encoded(value: Mapping[str, Any]) -> str:
    return _base64(msgspec.json.encode(value))


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def service_account(http: Http, fields: Mapping[str, str], environ: Mapping[str, str]) -> ServiceAccount:
    """The account of a credential, or of the environment's GOOGLE_APPLICATION_CREDENTIALS. Raises FlowError."""
    text = fields.get("googleApplicationCredential", "")
    file = KINDS["googleVertexAuth"].field("googleApplicationCredentialFilePath")
    path = fields.get(file.name) or file.own(environ)
    if not text and not path:
        raise FlowError(
            "Google Vertex AI needs a service account: connect a credential with its key file to the node, or set "
            "GOOGLE_APPLICATION_CREDENTIALS to the file's path"
        )
    try:
        key = msgspec.json.decode(text or Path(path).read_bytes(), type=AccountKey)
    except (OSError, msgspec.MsgspecError):
        raise FlowError(
            "the key file of the Google service account cannot be read: give the JSON that Google made"
        ) from None
    project = fields.get("projectID") or key.project_id
    if not project:
        raise FlowError("the Google Vertex AI node does not know its project: name it in the credential")
    return ServiceAccount(http, key, project)
