"""The chain that answers from a database: the model writes a statement, reads the rows, and says what they mean."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Final, Literal

from headrace.engine.annotations import Additional, Input, NodeInfo
from headrace.engine.chat import ChatRequest, ModelMessage
from headrace.engine.model_events import answer_events, answer_text, text_events
from headrace.engine.node import Context, Step, Template
from headrace.engine.ports import ChatModel, Moderation, SqlDatabase
from headrace.errors import FlowError, ProviderMalformed
from headrace.events import Event
from headrace.nodes.accounts import words
from headrace.nodes.chains.conversation import refusal
from headrace.nodes.prompts import filled

_CORRECTIONS: Final = 2
_WRITE: Final = """\
Write one statement for {dialect} that reads what the question needs. Read only, name the columns that are needed, use \
only tables and columns that are listed here, and ask for {top_k} rows at most unless the question wants more.

The tables:
{table_info}

Answer with the statement and nothing else.

The question: {input}"""
_AGAIN: Final = "That did not work: {error}. Write the statement again, and nothing else."
_SAY: Final = """\
Answer the question from what the database gave, in the language of the question. Say so when it gave no answer.

The statement: {statement}

What it gave:
{result}

The question: {question}"""
_FENCE: Final = re.compile(r"```(?:\w+\n)?(.*?)```", re.DOTALL)
_LABEL: Final = re.compile(r"\s*(?:SQL ?Query|SQL)\s*:\s*", re.IGNORECASE)


class SqlDatabaseChain(Step, frozen=True, kw_only=True, tag="sqlDatabaseChain"):
    """Answers questions from a SQL database, which it can only read."""

    info = NodeInfo(label="Sql Database Chain", version=5)

    model: Annotated[ChatModel, Input(type="BaseLanguageModel")]
    database: Literal["sqlite", "postgres", "mssql", "mysql"] = "sqlite"
    url: str = ""
    """A SQLite file in the data folder's folder `databases`, or the connection string of a server."""
    includesTables: Additional[str] = ""
    """Names with commas; without any, all tables are shown to the model."""
    ignoreTables: Additional[str] = ""
    sampleRowsInTableInfo: Additional[int] = 3
    topK: Additional[int] = 10
    customPrompt: Additional[Template] = ""
    """The prompt for the statement, with `{input}`, `{dialect}`, `{table_info}` and `{top_k}`."""
    inputModeration: list[Moderation] = []

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The answer in words. Raises FlowError for a database that may not be read."""
        if message := await refusal(self.inputModeration, ctx):
            return text_events(message)
        database = ctx.outside.open_database(self.database, self.url)
        include, ignore = words(self.includesTables) or [], words(self.ignoreTables) or []
        values = {
            "input": ctx.question,
            "dialect": database.dialect,
            "top_k": self.topK,
            "table_info": await database.describe(include, ignore, max(0, min(self.sampleRowsInTableInfo, 20))),
        }
        asked = ModelMessage("user", filled(self.customPrompt or _WRITE, values))
        statement, result = await self._read(database, [asked], ctx)
        say = _SAY.format(statement=statement, result=result, question=ctx.question)
        return answer_events(self.model, ChatRequest([ModelMessage("user", say)]), ctx)

    async def _read(self, database: SqlDatabase, talk: list[ModelMessage], ctx: Context) -> tuple[str, str]:
        """The model's statement and what it gave. Raises ProviderMalformed when none of its attempts works."""
        wrong = ""
        for _ in range(_CORRECTIONS + 1):
            said = await answer_text(self.model, ChatRequest(talk), ctx)
            statement = statement_of(said)
            try:
                return statement, await database.query(statement)
            except FlowError as error:
                wrong = str(error)
            talk = [*talk, ModelMessage("assistant", said), ModelMessage("user", _AGAIN.format(error=wrong))]
        raise ProviderMalformed(f"the model wrote no statement that can be carried out: {wrong}")


def statement_of(said: str) -> str:
    """The statement in what a model says: models like blocks of code, labels, and to go on with a made-up result."""
    fenced = _FENCE.search(said)
    text = fenced[1] if fenced else said
    label = _LABEL.match(text)
    return re.split(r"\n[ \t]*SQL ?Result:", text[label.end() if label else 0 :])[0].strip().rstrip(";").strip()


NODES = (SqlDatabaseChain,)
