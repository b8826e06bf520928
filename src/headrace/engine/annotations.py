"""Facts that a node says of itself beyond its fields, for docs, builders and the coverage report.

Names, types, defaults and choices are read from the record's fields (`headrace.engine.description`); only what these
cannot say stands in a `NodeInfo` of the node type or in an `Input` beside a field's type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec

from headrace.installation import remedy

T = TypeVar("T")


class Option(msgspec.Struct, frozen=True):
    """A choice: the value that the flow holds, and its label."""

    name: str
    label: str


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that a node can hand over, where the flow's author chooses between several."""

    name: str
    label: str
    baseClasses: Sequence[str] = ()


class Input(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, eq=False):
    """An input in the words of builders. Beside a field's type it holds only what the field itself cannot say.

    Types are kept by their hash, annotations included; `eq=False` gives it one in spite of its mappings.
    """

    name: str = ""
    label: str = ""
    type: str = ""
    """A builder's type, such as `code` or `asyncOptions`; for a connection the base classes that fit, with ` | `."""
    description: str = ""
    optional: bool = False
    default: Any = None
    options: Sequence[Option] = ()
    additionalParams: bool = False
    """Builders show it apart, among the additional parameters."""
    list: bool = False
    acceptVariable: bool = False
    loadMethod: str = ""
    """The list of choices that the server makes, see `headrace.server.choices`."""
    fileType: str = ""
    """Endings of files, with commas."""
    array: Sequence[Input] = ()
    """The inputs of each item of a list."""
    show: Mapping[str, Any] = {}
    """It is shown while these other inputs, by the names of their fields, have these values; texts are patterns."""
    hide: Mapping[str, Any] = {}
    credentialNames: Sequence[str] = ()
    legacy: bool = msgspec.field(default=False, name="deprecated")
    """Read from older flows, and no longer offered."""
    refused: str = ""
    """A flow that sets it cannot run here: the reason, and how to do without."""
    refusedFor: Sequence[str] = ()
    """Only these values are refused; all, where it is empty."""
    unread: str = ""
    """Nothing reads it here: the reason."""


class Package(msgspec.Struct, frozen=True):
    """A Python package that a node needs beyond those of every server."""

    module: str
    """The name that it is imported by."""
    extra: str
    """The extra of Headrace that brings it."""

    @property
    def command(self) -> str:
        """The command that installs it."""
        return remedy(self.extra)


class NodeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A node type's place in a builder. Subclasses inherit everything but label and version."""

    label: str = ""
    """Made of the tag where it is not set."""
    version: float = 0
    """1 where it is not set."""
    category: str = ""
    """Follows from what the node builds where it is not set."""
    type: str = ""
    """The first of its base classes; the tag with a capital letter where it is not set."""
    bases: Sequence[str] = ()
    """The other base classes, by which connections fit; those of the category where it is not set."""
    outputs: Sequence[Output] = ()
    credentials: Sequence[str] = ()
    """Kinds of credentials (`headrace.engine.credentials`) that it can use."""
    keyless: bool | None = None
    """It also works without a credential."""
    packages: Sequence[Package] = ()
    """Packages that it cannot work without."""
    streams: bool | None = None
    """False for a model that streams only where an input says so, and for an ending whose answers come whole."""
    names_question: bool | None = None
    """True when it sees the question only where an input names it, or where a model inside it is asked."""


def options(*names: str) -> Sequence[Option]:
    """Choices whose labels are their values."""
    return [Option(name, name) for name in names]


Additional: TypeAlias = Annotated[T, Input(additionalParams=True)]
"""An input that builders show among the additional parameters."""
Legacy: TypeAlias = Annotated[T, Input(legacy=True)]
"""An input that is read from older flows, and no longer offered."""
Code: TypeAlias = Annotated[T, Input(type="code")]
"""An input with a program or another text that wants an editor."""

DOCUMENT_OUTPUTS: Sequence[Output] = (
    Output("document", "Document", ("Document", "json")),
    Output("text", "Text", ("string", "json")),
)
"""The outputs of what brings documents."""
VALUE_TYPES: Sequence[str] = ("string", "number", "boolean", "json", "array")
"""The base classes of any value."""
VALUE_OUTPUTS: Sequence[Output] = (Output("output", "Output", VALUE_TYPES),)
"""The output of what gives a value."""
STORE_OUTPUTS: Sequence[Output] = (
    Output("retriever", "Retriever", ("VectorStoreRetriever", "BaseRetriever")),
    Output("vectorStore", "Vector Store", ("VectorStore",)),
)
"""The outputs of vector stores."""
