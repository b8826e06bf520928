"""Output parsers: what a model is told about the form of its answer, and how the answer is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from headrace.engine.annotations import Input, NodeInfo
from headrace.engine.json_extraction import extract_json
from headrace.engine.node import Context, Node
from headrace.engine.ports import OutputParser
from headrace.engine.schemas import mismatch
from headrace.errors import FlowError
from headrace.formats.zod import json_schema


class FormParser(msgspec.Struct, kw_only=True):
    """Implements `headrace.engine.ports.OutputParser` from its parts."""

    instructions: str
    read: Callable[[str], Any]
    mends: bool

    def parse(self, text: str) -> Any:
        """See OutputParser."""
        return self.read(text)


def _items(text: str, separator: str) -> list[str]:
    return [item.strip() for item in text.strip().split(separator)]


class CsvOutputParser(Node, frozen=True, kw_only=True, tag="csvOutputParser"):
    """Reads the answer as a list with commas."""

    info = NodeInfo(label="CSV Output Parser", type="CSVListOutputParser")

    autofixParser: bool = False

    async def build(self, ctx: Context) -> OutputParser:
        """The parser."""
        told = "Answer with a list whose items are separated by commas and with nothing else, like `one, two, three`"
        return FormParser(instructions=told, read=lambda text: _items(text, ","), mends=self.autofixParser)


class CustomListOutputParser(Node, frozen=True, kw_only=True, tag="customListOutputParser"):
    """Reads the answer as a list with a separator, and of a length, of the flow's choice."""

    length: int | None = None
    separator: str = ","
    autofixParser: bool = False

    async def build(self, ctx: Context) -> OutputParser:
        """The parser."""
        size = f"{self.length} items" if self.length else "items"
        told = f"Answer with a list of {size}, separated by {self.separator!r}, and with nothing else"
        return FormParser(instructions=told, read=self._parse, mends=self.autofixParser)

    def _parse(self, text: str) -> list[str]:
        items = _items(text, self.separator)
        if self.length and len(items) != self.length:
            raise ValueError(f"there are {len(items)} items where {self.length} are wanted")
        return items


def _json_parser(schema: dict[str, Any], *, mends: bool) -> OutputParser:
    """A parser for JSON of a form."""

    def parse(text: str) -> Any:
        value = extract_json(text)
        if wrong := mismatch(schema, value):
            raise ValueError(wrong)
        return value

    form = msgspec.json.encode(schema).decode()
    told = f"Answer with JSON and with nothing else. It must fit this JSON Schema exactly:\n```json\n{form}\n```"
    return FormParser(instructions=told, read=parse, mends=mends)


class Field(msgspec.Struct, frozen=True):
    """A field of an answer: a name, a simple type, and what it is for."""

    property: str
    type: str = "string"
    description: str = ""


class StructuredOutputParser(Node, frozen=True, kw_only=True, tag="structuredOutputParser"):
    """Reads the answer as an object with the fields that the flow lists."""

    jsonStructure: Annotated[
        list[Field],
        Input(
            type="datagrid",
            additionalParams=True,
        ),
    ] = []
    autofixParser: bool = False

    async def build(self, ctx: Context) -> OutputParser:
        """The parser. Raises FlowError when no fields are listed."""
        if not self.jsonStructure:
            raise FlowError("the structured output parser has no fields: list them in its JSON structure")
        fields = {
            field.property: {"type": field.type, "description": field.description}
            for field in self.jsonStructure
            if field.property
        }
        schema = {
            "type": "object",
            "properties": fields,
            "required": list(fields),
            "additionalProperties": False,
        }
        return _json_parser(schema, mends=self.autofixParser)


class AdvancedStructuredOutputParser(Node, frozen=True, kw_only=True, tag="advancedStructuredOutputParser"):
    """Reads the answer as JSON of the form that a Zod schema describes. The schema is read as data, never run."""

    exampleJson: str
    autofixParser: bool = False

    async def build(self, ctx: Context) -> OutputParser:
        """The parser. Raises FlowError for a schema that cannot be read."""
        try:
            schema = json_schema(self.exampleJson)
        except ValueError as error:
            raise FlowError(f"the advanced structured output parser: {error}") from None
        if schema.get("type") != "object":  # as in the builder: no flow that works there has another one
            raise FlowError(
                "the advanced structured output parser takes only objects: put the schema into z.object({…})"
            )
        return _json_parser(schema, mends=self.autofixParser)


NODES = (CsvOutputParser, CustomListOutputParser, StructuredOutputParser, AdvancedStructuredOutputParser)
