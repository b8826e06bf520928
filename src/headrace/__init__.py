"""Headrace: a prediction server for LLM flows, and its client.

Importing this package loads the client only: msgspec and httpx2.
"""

from headrace.client import AsyncHeadrace, AsyncStream, Chunk, Headrace, Stream
from headrace.client.display import aprint_stream, print_stream
from headrace.client.flowise import IFileUpload, IMessage, PredictionData
from headrace.embedding import asgi
from headrace.errors import HeadraceError
from headrace.events import Event, Prediction
from headrace.python_flow import Run, flow
from headrace.schema import ContinueFor, FileUpload, HistoryMessage, HumanInput, RunInfo

__version__ = "0.1.0"


__all__ = [
    "AsyncHeadrace",
    "AsyncStream",
    "Chunk",
    "ContinueFor",
    "Event",
    "FileUpload",
    "Headrace",
    "HeadraceError",
    "HistoryMessage",
    "HumanInput",
    "IFileUpload",
    "IMessage",
    "Prediction",
    "PredictionData",
    "Run",
    "RunInfo",
    "Stream",
    "__version__",
    "aprint_stream",
    "asgi",
    "flow",
    "print_stream",
]
