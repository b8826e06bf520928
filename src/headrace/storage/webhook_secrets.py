"""The secrets that callers of webhooks sign with: one for a flow, sealed."""

from __future__ import annotations

import secrets

from sqlalchemy import delete, select

from headrace.storage.database import Database
from headrace.storage.dialect import put
from headrace.storage.encryption import Seal
from headrace.storage.tables import webhook_secret


class WebhookSecrets:
    """The secrets of all flows."""

    def __init__(self, database: Database, seal: Seal) -> None:
        self._database, self._seal = database, seal

    async def make(self, flow: str) -> str:
        """A new secret of a flow that exists, in hexadecimal; one that it had is not valid any more."""
        secret = secrets.token_hex(32)
        sealed = self._seal.close(secret.encode(), flow)
        row = {"flow": flow, "sealed": sealed}
        await self._database.write(lambda c: put(c, webhook_secret, [row], ["flow"], ["sealed"]))
        return secret

    async def of(self, flow: str) -> str | None:
        """The flow's secret; None when it has none."""
        statement = select(webhook_secret.c.sealed).where(webhook_secret.c.flow == flow)
        sealed = await self._database.read(lambda c: c.execute(statement).scalar())
        return None if sealed is None else self._seal.open(sealed, flow).decode()

    async def remove(self, flow: str) -> None:
        """Takes the flow's secret away."""
        statement = delete(webhook_secret).where(webhook_secret.c.flow == flow)
        await self._database.write(lambda c: c.execute(statement) and None)
