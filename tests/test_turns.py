"""A share of the event loop for answers that come in: whoever is new never waits behind all of them."""

import asyncio
from collections import Counter

import pytest
from waiting import within

from headrace.providers.connection import Connection
from headrace.providers.turns import Turns

STREAMS = 1_000


class Storm:
    """Streams that each bring something in every turn of the loop."""

    def __init__(self, turns: Turns) -> None:
        self.turns, self.done, self.waiting = turns, Counter[int](), set[int]()
        self.over = False

    def blow(self) -> None:
        for stream in range(STREAMS):
            if stream in self.waiting:
                continue
            if self.turns.take():
                self.done[stream] += 1
            else:
                self.waiting.add(stream)
                self.turns.wait(lambda stream=stream: self.late(stream))
        if not self.over:
            asyncio.get_running_loop().call_soon(self.blow)

    def late(self, stream: int) -> None:
        self.waiting.discard(stream)
        self.done[stream] += 1


def test_a_new_prediction_waits_for_a_share_of_each_turn_and_not_for_a_thousand_streams() -> None:
    async def scenario() -> tuple[Storm, int]:
        storm = Storm(Turns(reads=50))
        storm.blow()
        begun = storm.done.total()
        for _ in range(10):  # the steps of a prediction on its way in
            await asyncio.sleep(0)
        storm.over = True
        return storm, storm.done.total() - begun

    _, reads = within(scenario())
    assert reads <= 11 * 50


def test_every_stream_has_its_turn() -> None:
    async def scenario() -> Storm:
        storm = Storm(Turns(reads=50))
        storm.blow()
        for _ in range(3 * STREAMS // 50):
            await asyncio.sleep(0)
        storm.over = True
        return storm

    storm = within(scenario())
    assert len(storm.done) == STREAMS
    assert max(storm.done.values()) - min(storm.done.values()) <= 2


def test_a_share_that_nobody_wants_is_everybodys() -> None:
    async def scenario() -> list[bool]:
        turns, given = Turns(reads=2), list[bool]()
        for _ in range(20):
            given.append(turns.take())
            await asyncio.sleep(0)
        return given

    assert all(within(scenario()))


@pytest.mark.parametrize("length", [b"Content-Length: 26\r\n", b""], ids=["a length", "the connection's end"])
def test_reads_that_wait_are_whole_in_order_and_before_the_end(length: bytes) -> None:
    """A connection that is closed at once, by a server that says a letter at a time, in a loop that has no room."""
    letters = [bytes([letter]) for letter in b"abcdefghijklmnopqrstuvwxyz"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n")
        for letter in letters:
            writer.write(letter)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()
        await writer.wait_closed()

    async def scenario() -> bytes:
        turns, got = Turns(reads=1), list[bytes]()
        storm = Storm(turns)
        storm.blow()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        _, connection = await asyncio.get_running_loop().create_connection(lambda: Connection(turns), *address)
        asking = asyncio.create_task(connection.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
        await asyncio.sleep(0)
        storm.over = True
        await asking

        def take(data: bytes) -> bool:
            got.append(data)
            return True

        await connection.push(take)
        connection.close()
        server.close()
        await server.wait_closed()
        return b"".join(got)

    assert within(scenario()) == b"".join(letters)
