"""Asks and follows while the page shows what there is: the stream is read beside the script, which must stay awake.

A script that waits for a token notices no click; so the client runs in a thread of its own for as long as the script
looks. When the script is interrupted, the thread's connection is closed; the run itself goes on at the server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from threading import Event as Flag

from anyio.from_thread import start_blocking_portal
from msgspec import structs

from headrace.apps.chat.answer_state import AnswerState
from headrace.apps.chat.chats import Chats, Exchange
from headrace.apps.chat.uploads import UNREAD, content_of
from headrace.client import AsyncHeadrace, Headrace
from headrace.client.requests import Options
from headrace.errors import ConnectionFailed, HeadraceError
from headrace.schema import FileUpload

_logger = logging.getLogger("headrace.chat")
_ATTEMPTS = 3  # in a row without an event, before the page says that it has lost the server


class AnswerStream:
    """One answer on its way."""

    def __init__(self, chats: Chats, turn: Exchange, flow: str, shown: AnswerState) -> None:
        self._chats, self._turn, self._flow, self.shown = chats, turn, flow, shown
        self.lost = False
        """True when nothing more comes although the run may go on."""
        self._over = Flag()

    def over(self, seconds: float) -> bool:
        """True once nothing more comes. Waits up to `seconds` for the end."""
        return self._over.wait(seconds)

    @contextmanager
    def reading(self) -> Generator[None]:
        """Reads for the time of the block."""
        with start_blocking_portal("asyncio") as portal:
            task = portal.start_task_soon(self._read)
            try:
                yield
            finally:
                task.cancel()
        with suppress(CancelledError):
            task.result()

    async def _read(self) -> None:
        try:
            async with AsyncHeadrace(attempts=_ATTEMPTS) as client:
                run = self._turn.run or await self._begin(client)
                if self.shown.ended:  # the script was interrupted before it could say so
                    return
                async with client.resume(run, self.shown.seq) as stream:
                    async for event in stream:
                        seq = int((stream.last_event_id or ":0").rpartition(":")[2])
                        self.shown = self.shown.after(event, seq)
        except ConnectionFailed as error:
            self.lost = True
            _logger.warning("%s", error)  # which names the server's address, so the page does not show it
        except HeadraceError as error:
            self.shown = structs.replace(self.shown, error=str(error), ended=True)
        finally:
            self._over.set()

    async def _begin(self, client: AsyncHeadrace) -> str:
        turn = self._turn
        if any(file.type == UNREAD for file in turn.uploads):
            turn = structs.replace(turn, uploads=await self._read_files(client))
            await asyncio.to_thread(self._chats.attached, turn)
        info = await client.start(self._flow, words(turn), **asking(turn))
        await asyncio.to_thread(self._chats.began, turn, info.id)
        return info.id

    async def _read_files(self, client: AsyncHeadrace) -> list[FileUpload]:
        files = self._turn.uploads
        unread = [(file.name, content_of(file), file.mime) for file in files if file.type == UNREAD]
        texts = await client.attach(self._flow, self._turn.chat, unread)
        return [*(file for file in files if file.type != UNREAD), *texts]


def asking(turn: Exchange) -> Options:
    """The options of a turn's question. A question that is asked again joins its run, which goes on without readers."""
    return Options(
        chat_id=turn.chat,
        uploads=turn.uploads,
        human_input=turn.answer,
        idempotency_key=turn.id,
        on_disconnect="continue",
    )


def words(turn: Exchange) -> str:
    """The turn's question; an answer to the flow is none."""
    return "" if turn.answer else turn.question


def stop(client: Headrace, chats: Chats, turn: Exchange, flow: str) -> None:
    """Ends the turn's run, wherever its beginning has got to."""
    if turn.run is None and any(file.type == UNREAD for file in turn.uploads):  # so it has not been asked
        chats.ended(turn, AnswerState(aborted=True, ended=True))
    else:
        client.cancel(turn.run or client.start(flow, words(turn), **asking(turn)).id)
