"""The client package: `Headrace` and `AsyncHeadrace`, the streams they return, and Flowise's own names for the same.

Imports the contract and httpx2 only.
"""

from headrace.client.client import AsyncHeadrace, AsyncStream, Headrace, Stream
from headrace.client.requests import Options
from headrace.client.response import Chunk

__all__ = ["AsyncHeadrace", "AsyncStream", "Chunk", "Headrace", "Options", "Stream"]
