"""The agent for tables: the model writes a function over the rows, the sandbox runs it, the model says what came of it.

The original runs Pandas code of the model in Python. Here the function is JavaScript, for the sandbox is one for that.
"""

from __future__ import annotations

import asyncio
import csv
import re
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from headrace.engine.annotations import Additional, Input, NodeInfo
from headrace.engine.chat import ChatRequest, ModelMessage
from headrace.engine.model_events import answer_events, answer_text, text_events
from headrace.engine.node import Context, Step
from headrace.engine.ports import ChatModel, Moderation
from headrace.engine.references import text_of
from headrace.errors import FlowError, ProviderMalformed
from headrace.events import Event
from headrace.nodes.chains.conversation import refusal
from headrace.retrieval.files import File, files_of
from headrace.retrieval.library import library
from headrace.retrieval.text_decoding import decoded

_CORRECTIONS: Final = 2
_LARGEST: Final = 4_000_000  # bytes of the files: the rows go into the sandbox whole
_SHOWN: Final = 20_000  # characters of a result that the model reads
_SAMPLE: Final = 3  # rows that the model sees before it writes
_PANDAS: Final = "read_csv(csv_data)"
_WRITE: Final = """\
Write the body of a JavaScript function that finds in a table what the question asks for. `$rows` is the table: an \
array of {count} objects, whose keys are the columns. Cells that are numbers are numbers, empty ones are null. There \
are no libraries and there is no network. Return a value that JSON can hold, as small as the question allows.

The columns: {columns}
The first rows: {sample}

Answer with the code and nothing else.

The question: {question}"""
_AGAIN: Final = "That did not work: {error}. Write the code again, and nothing else."
_SAY: Final = """\
Answer the question from what a program found in the table, in the language of the question.

What it found: {result}

The question: {question}"""
_FENCE: Final = re.compile(r"```(?:\w+\n)?(.*?)```", re.DOTALL)
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?")


class CsvAgent(Step, frozen=True, kw_only=True, tag="csvAgent"):
    """Answers questions from CSV files: a model's JavaScript looks into the rows in the sandbox."""

    info = NodeInfo(label="CSV Agent", version=3, category="Agents", type="AgentExecutor")

    csvFile: Annotated[str, Input(label="Csv File", type="file", fileType=".csv")]
    model: Annotated[ChatModel, Input(type="BaseLanguageModel")]
    systemMessagePrompt: Additional[str] = ""
    customReadCSV: Annotated[
        Additional[str],
        Input(type="code", unread="files are read as CSV with a header, and no Python of a flow is run"),
    ] = _PANDAS
    inputModeration: list[Moderation] = []

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The answer in words. Raises FlowError for a file that cannot be read."""
        if message := await refusal(self.inputModeration, ctx):
            return text_events(message)
        rows = await asyncio.to_thread(_rows, self.csvFile, library(ctx).files / ctx.flow)
        found = await self._found(rows, ctx)
        first = [ModelMessage("system", self.systemMessagePrompt)] if self.systemMessagePrompt else []
        say = _SAY.format(result=found, question=ctx.question)
        return answer_events(self.model, ChatRequest([*first, ModelMessage("user", say)]), ctx)

    async def _found(self, rows: list[dict[str, Any]], ctx: Context) -> str:
        """The result of the model's function. Raises ProviderMalformed when none of its attempts works."""
        columns, sample = (msgspec.json.encode(one).decode() for one in (list(rows[0]), rows[:_SAMPLE]))
        asked = _WRITE.format(count=len(rows), columns=columns, sample=sample[:_SHOWN], question=ctx.question)
        talk, wrong = [ModelMessage("user", asked)], ""
        for _ in range(_CORRECTIONS + 1):
            said = await answer_text(self.model, ChatRequest(talk), ctx)
            fenced = _FENCE.search(said)
            try:
                value = await ctx.run_script(fenced[1] if fenced else said, {"rows": rows})
                return text_of(value)[:_SHOWN]
            except FlowError as error:
                wrong = str(error)
            talk = [*talk, ModelMessage("assistant", said), ModelMessage("user", _AGAIN.format(error=wrong))]
        raise ProviderMalformed(f"the model wrote no code that works on the table: {wrong}")


def _rows(value: str, folder: Path) -> list[dict[str, Any]]:
    """The rows of all files. Raises FlowError for what is missing, too large, empty or no CSV."""
    files = files_of(value, folder)
    try:
        size = sum(file.size for file in files)
        if size > _LARGEST:
            raise FlowError(f"the CSV files have {size} bytes, and the agent reads {_LARGEST} at most: use a database")
        rows = [row for file in files for row in _rows_of(file)]
    except OSError as error:
        raise FlowError(f"a CSV file cannot be read: {error.strerror}") from None
    if not rows:
        raise FlowError("the CSV files have no rows below their headers")
    return rows


def _rows_of(file: File) -> list[dict[str, Any]]:
    with file.open() as opened, decoded(opened) as lines:
        try:
            return [
                {name: _cell(cell) for name, cell in row.items() if name}
                for row in csv.DictReader(lines, restkey="", restval="")
            ]
        except csv.Error as error:
            raise FlowError(f"{file.name!r} is no CSV: {error}") from None


def _cell(text: str) -> str | float | None:
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text or None


NODES = (CsvAgent,)
