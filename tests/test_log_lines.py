"""Lines of the log, whoever writes them, hold no secret."""

import logging

import pytest

from headrace.server.logs import Lines, redacted

SECRET = "SECRETvalue0123456789"


@pytest.mark.parametrize(
    "line",
    [
        f"HTTP Request: POST http://127.0.0.1:1/mcp?api_key={SECRET} 'HTTP/1.1 401 Unauthorized'",
        f"connecting to postgresql://me:{SECRET}@db/x failed",
        f"redis://:{SECRET}@host:6379/0",
        f"headers {{'Authorization': 'Bearer {SECRET}', 'x-api-key': '{SECRET}'}}",
        f"[(b'authorization', b'Bearer {SECRET}')]",
        f"Authorization: Bearer {SECRET}",
        f"token={SECRET} given",
        f"OPENAI_API_KEY='{SECRET}'",
        f"Cookie: {SECRET}",
        f"GET /api/v1/x?key={SECRET} failed",
        f"https://x.example/a#access={SECRET}",
        f"Incorrect API key provided: sk-{SECRET}",
    ],
)
def test_a_line_has_no_queries_users_headers_and_keys(line: str) -> None:
    assert SECRET not in redacted(line)


def test_a_traceback_is_cleaned_too() -> None:
    try:
        raise ValueError(f"cannot reach https://u:{SECRET}@x/?k={SECRET}")
    except ValueError as error:
        record = logging.LogRecord("x", 40, "f", 1, "failed", None, (ValueError, error, error.__traceback__))
    text = Lines("%(message)s").format(record)
    assert "Traceback" in text
    assert "cannot reach https://x/?…" in text
    assert SECRET not in text


def test_what_is_no_secret_stays() -> None:
    line = "run 1f2e failed: https://x.example/v1/chat took 3.5 s, tokens 12"
    assert redacted(line) == line
