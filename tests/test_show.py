"""`print_stream` as users see it: on a terminal, in a file, and in a notebook's real kernel."""

import asyncio
import io
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from golden import END, frames
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel
from scripted import BOUND, ScriptedServer, scripted_server
from servers import Server

from headrace import AsyncHeadrace, Headrace, aprint_stream, errors, print_stream

ANSWER = (
    '{"event":"token","data":"**Once** "}',
    '{"event":"token","data":"upon"}',
    '{"event":"sourceDocuments","data":[{"pageContent":"It  was\\n long ago","metadata":{}},'
    '{"pageContent":"x","metadata":{"source":"tales.pdf"}},{"pageContent":"y","metadata":{"source":"tales.pdf"}}]}',
    '{"event":"usedTools","data":[{"tool":"calculator","toolInput":{},"toolOutput":"1"}]}',
    END,
)
SHOWN = "**Once** upon\n\nSources: “It was long ago”, tales.pdf\n\nTools: calculator"
PROGRAM = """
from headrace import Headrace, print_stream
with Headrace({url!r}) as client:
    answer = print_stream(client.stream({flow!r}, "/count 3"))
"""


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


def test_an_answer_is_written_with_its_tools_and_sources(scripted: ScriptedServer) -> None:
    flow, said = scripted.answers(frames(*ANSWER)), io.StringIO()
    with Headrace(scripted.url) as client:
        assert print_stream(client.stream(flow, "Hi"), said).text == "**Once** upon"
    assert said.getvalue() == f"{SHOWN}\n"

    async def read() -> str:
        async with asyncio.timeout(BOUND), AsyncHeadrace(scripted.url) as client:
            return str((await aprint_stream(client.stream(flow, "Hi"), said)).text)

    assert asyncio.run(read()) == "**Once** upon"
    assert said.getvalue() == f"{SHOWN}\n" * 2


def test_what_was_said_before_an_error_stays_on_the_page(scripted: ScriptedServer) -> None:
    flow = scripted.answers(frames(ANSWER[0], '{"event":"error","data":"too long","code":"provider_timeout"}', END))
    said = io.StringIO()
    with Headrace(scripted.url) as client, pytest.raises(errors.ProviderTimeout, match="too long"):
        print_stream(client.stream(flow, "Hi"), said)
    assert said.getvalue() == "**Once** \n"


def test_a_terminal_shows_each_token_when_it_comes(server: Server, chat: str) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", PROGRAM.format(url=server.url, flow=chat)]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        assert process.wait(30) == 0
        assert os.read(ours, 1000) == b"w1 w2 w3\r\n"
    os.close(ours)


@pytest.fixture(scope="module")
def kernel() -> Iterator[BlockingKernelClient]:
    manager, client = start_new_kernel(startup_timeout=60)
    try:
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_notebook_shows_markdown_that_grows(
    kernel: BlockingKernelClient, scripted: ScriptedServer, asynchronous: bool
) -> None:
    flow, program = scripted.answers(frames(*ANSWER)), PROGRAM.replace("/count 3", "Hi")
    if asynchronous:
        program = program.replace("Headrace", "AsyncHeadrace").replace("with", "async with")
        program = program.replace("print_stream", "aprint_stream").replace("= aprint", "= await aprint")
    shown: list[dict[str, Any]] = []
    reply = kernel.execute_interactive(
        program.format(url=scripted.url, flow=flow), timeout=60, output_hook=lambda message: shown.append(message)
    )
    assert reply["content"]["status"] == "ok", reply["content"]
    pages = [message["content"]["data"] for message in shown if "display_data" in message["header"]["msg_type"]]
    assert pages[-1]["text/markdown"] == SHOWN
    assert {message["header"]["msg_type"] for message in shown} >= {"display_data", "update_display_data"}
    assert "stream" not in {message["header"]["msg_type"] for message in shown}
