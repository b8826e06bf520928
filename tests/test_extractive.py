"""The built-in model: how it reads a text, what it quotes, and whether "Ask the docs" answers what newcomers ask."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import pytest

from headrace.engine.chat import ChatRequest, ModelMessage, TextDelta, UsageDelta
from headrace.gen import EXAMPLE, ROOT, context
from headrace.providers.extractive import ExtractiveChat, quote, read

# The pages are worded with such questions in mind, so this guards what works and measures nothing.
QUESTIONS = {
    "How do I start the server?": "make run",
    "Which port does it listen on?": "port 3000",
    "How can I change the port?": "HEADRACE_PORT",
    "Where is my data stored?": "data folder",
    "How do I back up my data?": "secret.key",
    "What is Headrace?": "prediction server for LLM flows",
    "How do I import a flow from Flowise?": "headrace import",
    "What happens when the flow uses an unknown node?": "HTTP 422",
    "Does importing a flow execute code?": "executes nothing",
    "What is missing in this version?": "retrieval",
    "How do I connect Ollama?": "http://localhost:11434/v1",
    "Do I need an OpenAI key?": "No OpenAI key",
    "How are failed calls to the model retried?": "up to 4 times",
    "How do I resume a stream?": "cannot resume a stream over HTTP yet",
    "How do I cancel a run?": "cannot cancel a run over HTTP yet",
    "What does usedTools mean?": "tools that the flow used",
    "What does the end event mean?": "last event of every stream",
    "How often are heartbeats sent?": "15 seconds",
    "How do I install the Python client?": "pip install headrace",
    "How do I continue a conversation?": "send this id as `chatId`",
    "How do I protect a flow with a key?": "apikeyid",
    "I lost the admin key, what now?": "headrace keys add",
    "How are credentials encrypted?": "AES-256-GCM",
    "How do I override the temperature?": "overrideConfig",
    "What happens when the server stops?": "10 seconds to end",
    "How do I run it behind nginx?": "proxy_pass",
    "Why do I get a 403?": "origin_refused",
}
OFF_TOPIC = [
    "What is the capital of France?",
    "Tell me a joke!",
    "How do I bake bread?",
    "Who won the world cup?",
    "Hello world!",
    "",
]


def answered(system: str, question: str) -> tuple[str, UsageDelta]:
    async def run() -> tuple[str, UsageDelta]:
        texts: list[str] = []
        messages = [ModelMessage("system", system), ModelMessage("user", question)]
        async with aclosing(ExtractiveChat().stream(ChatRequest(messages))) as batches:
            async for deltas in batches:
                for delta in deltas:
                    if isinstance(delta, UsageDelta):
                        return "".join(texts), delta
                    if isinstance(delta, TextDelta):
                        texts.append(delta.text)
        raise AssertionError("no usage came")

    return asyncio.run(run())


@pytest.fixture(scope="module")
def docs() -> str:
    return context(ROOT)


def test_most_questions_of_newcomers_are_answered_from_the_docs(docs: str):
    answers = {question: quote(docs, question, 3) for question in QUESTIONS}
    misses = {question: answers[question] for question, phrase in QUESTIONS.items() if phrase not in answers[question]}
    told = "\n".join(
        f"{question}\n  expected {QUESTIONS[question]!r} in {answer!r}" for question, answer in misses.items()
    )
    assert len(misses) <= 0.2 * len(QUESTIONS), told


@pytest.mark.parametrize("question", OFF_TOPIC)
def test_a_question_about_something_else_is_answered_with_what_the_model_is(docs: str, question: str):
    answer, _ = answered(docs, question)
    assert answer.startswith("I only quote")
    assert "OPENAI_API_KEY" in answer
    assert "http://localhost:11434/v1" in answer


def test_without_a_context_it_says_that_it_only_quotes():
    assert answered("", "Which port?")[0].startswith("I only quote")


def test_an_answer_is_made_of_sentences_of_the_context_and_nothing_else(docs: str):
    sentences = sorted({sentence.text for sentence in read(docs)}, key=len, reverse=True)
    for question in QUESTIONS:
        rest = quote(docs, question, 3)
        for sentence in sentences:
            rest = rest.replace(sentence, "")
        assert rest.strip() == ""


def test_the_pieces_of_an_answer_are_words_and_their_number_is_the_usage():
    answer, counted = answered("The gate is open.\n\nThe sluice is shut.", "Is the gate open?")
    assert answer == "The gate is open."
    assert (counted.usage.input_tokens, counted.usage.output_tokens, counted.usage.total_tokens) == (12, 4, 16)


def test_the_heading_above_a_sentence_helps_to_find_it():
    text = "# Turbine\n\nIt has four blades.\n\n# Gate\n\nIt has two wings."
    assert quote(text, "How many blades has the turbine?", 1) == "It has four blades."
    assert quote(text, "Tell me about the gate", 1) == "It has two wings."


def test_headings_and_table_heads_are_not_quoted():
    text = "# The gate\n\n| part | made of |\n|---|---|\n| gate | oak |\n| wheel | iron |"
    assert quote(text, "What is the gate?", 3) == "gate: oak"


def test_code_is_quoted_with_the_sentence_before_it():
    text = "To open the gate:\n\n```bash\n# a comment, not a heading\n\ngate --open\n```\n\nThe wheel turns."
    assert quote(text, "How do I open the gate?", 2).endswith("gate --open\n```")
    assert "wheel" not in quote(text, "How do I open the gate?", 2)


def test_an_abbreviation_or_a_number_does_not_end_a_sentence():
    assert [s.text for s in read("Version 3.11 is fine, e.g. on Linux. `make run` starts it. Done!")] == [
        "Version 3.11 is fine, e.g. on Linux.",
        "`make run` starts it.",
        "Done!",
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "# Only a heading", "```\ncode\n```", "|", "| a |", "-", "\0", "𝔘" * 5])
def test_any_text_can_be_read(text: str):
    quote(text, "What is only code?", 3)


def test_a_prompt_without_a_system_message_quotes_its_own_paragraphs():
    async def run() -> str:
        message = ModelMessage("user", "The gate is open.\n\nIs the gate open?")
        async with aclosing(ExtractiveChat(1).stream(ChatRequest([message]))) as batches:
            return "".join([d.text async for deltas in batches for d in deltas if isinstance(d, TextDelta)])

    assert asyncio.run(run()) == "The gate is open."


def test_the_example_flow_can_be_imported_and_asked(tmp_path: Path):
    environ = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}

    def headrace(*arguments: str) -> str:
        command = [sys.executable, "-m", "headrace", "--data-dir", str(tmp_path / "data"), *arguments]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True).stdout

    assert "Ask the docs" in headrace("import", str(ROOT / EXAMPLE))
    assert "port 3000" in headrace("run", "Ask the docs", "Which port does it listen on?")
    assert "I only quote" in headrace("run", "Ask the docs", "What is the capital of France?")


def test_the_example_flow_looks_like_an_exported_one():
    row = json.loads((ROOT / EXAMPLE).read_text())
    nodes = row["flowData"]["nodes"]
    handles = {a["id"] for node in nodes for a in (*node["data"]["inputAnchors"], *node["data"]["outputAnchors"])}
    for edge in row["flowData"]["edges"]:
        assert {edge["source"], edge["target"]} <= {node["id"] for node in nodes}
        assert {edge["sourceHandle"], edge["targetHandle"]} <= handles
    assert {node["type"] for node in nodes} == {"customNode"}
