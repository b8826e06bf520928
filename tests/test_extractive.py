"""The built-in model: how it reads a text, what it quotes, and whether "Ask the docs" answers what newcomers ask."""

import asyncio
import json
import os
import re
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import pytest
from servers import Server

from headrace.engine.chat import ChatRequest, ModelMessage, TextDelta, UsageDelta
from headrace.engine.english import stems
from headrace.events import decode, fold
from headrace.gen import EXAMPLE, ROOT
from headrace.providers.extractive import ExtractiveChat, quote, read
from headrace.retrieval.manual import pages, prose

FIRST_HOUR = ROOT / "benchmarks" / "newcomer_questions.tsv"
QUESTIONS = sorted((ROOT / "benchmarks").glob("retrieval_questions*.tsv"))
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
def ask_the_docs(server: Server) -> str:
    return server.create_flow(json.loads((ROOT / EXAMPLE).read_text())["flowData"])


def flat(text: str) -> str:
    return " ".join(text.split())


def test_most_questions_of_newcomers_are_answered_from_the_docs(server: Server, ask_the_docs: str):
    """Every third of the benchmark's questions; the benchmark asks all and says how many are answered."""
    rows = [line.split("\t") for file in QUESTIONS for line in file.read_text().splitlines()][::3]
    answers = {question: flat(server.ask(ask_the_docs, question).json["text"]) for _, question, *_ in rows}
    misses = [question for _, question, *right in rows if not any(one in answers[question] for one in right)]
    told = "\n".join(f"{question}\n  {answers[question]!r}" for question in misses)
    assert len(misses) <= 0.28 * len(rows), told


def test_questions_of_the_first_hour_are_answered_in_whole_sentences(server: Server, ask_the_docs: str):
    rows = [line.split("\t") for line in FIRST_HOUR.read_text().splitlines()]
    answers = {question: server.ask(ask_the_docs, question).json["text"] for question, _ in rows}
    misses = [
        f"{question}\n  {flat(answers[question])!r}" for question, right in rows if right not in flat(answers[question])
    ]
    assert len(rows) >= 40
    assert len(misses) <= len(rows) - 36, "\n".join(misses)
    for question, answer in answers.items():
        said = re.sub(r"(?ms)^```.*?^```", "", answer)
        assert len(answer.split()) <= 120, question
        assert said.count("`") % 2 == 0, question
        assert not re.search(r"(?m)^#+ |^\|", said), question


@pytest.mark.parametrize("question", OFF_TOPIC)
def test_a_question_about_something_else_is_answered_with_what_the_model_is(
    server: Server, ask_the_docs: str, question: str
):
    answer = server.ask(ask_the_docs, question).json["text"]
    assert answer.startswith("I only quote")
    assert "OPENAI_API_KEY" in answer
    assert "http://localhost:11434/v1" in answer


def test_an_answer_of_ask_the_docs_comes_with_the_sections_that_it_quotes(server: Server, ask_the_docs: str):
    reply = server.ask(ask_the_docs, "Which port does the server listen on?", streaming=True)
    assert reply.kinds[-3:] == ["sourceDocuments", "metadata", "end"]
    answer = fold(decode(line[5:]) for line in reply.text.split("\n") if line.startswith("data:"))
    sources = answer.sourceDocuments or ()
    assert sources
    for one in sources:
        assert one.metadata["source"] == "README.md" or one.metadata["source"].startswith("docs/")
        assert one.pageContent.startswith(f"# {one.metadata['page']}\n\n")
        assert f" {one.metadata['heading']}\n\n" in one.pageContent
    assert "3000" in (answer.text or "")


def test_a_question_that_continues_a_chat_is_answered_like_the_first(server: Server, ask_the_docs: str):
    first = server.ask(ask_the_docs, "How do I make a backup?").json
    again = server.ask(ask_the_docs, "Which port does the server listen on?", chatId=first["chatId"]).json
    assert again["text"] == server.ask(ask_the_docs, "Which port does the server listen on?").json["text"]


def test_a_prompt_that_asks_for_other_words_gets_the_same_words():
    async def said(prompt: str) -> str:
        async with aclosing(ExtractiveChat().stream(ChatRequest([ModelMessage("user", prompt)]))) as batches:
            return "".join([d.text async for deltas in batches for d in deltas if isinstance(d, TextDelta)])

    form = "Rewrite it.\n\nConversation:\nhuman: Hi\nai: Ho\nFollow Up Input: {}\nStandalone question:"
    assert asyncio.run(said(form.format("Which gate is open?"))) == "Which gate is open?"
    assert asyncio.run(said(form.format("The gate:\nis it open?"))) == "The gate:\nis it open?"


def test_only_passages_are_quoted_where_the_context_marks_them():
    text = "Say where the gate is.\n<doc id='0'># Gate\n\nIt is in the wall.</doc>\n<doc id='1'>The mill is far.</doc>"
    assert quote(text, "Where is the gate?", 3) == "It is in the wall."


def test_a_related_word_is_a_fainter_part_of_a_sentence():
    text = "It stops the wheel.\n\nIt cancels the order.\n\nIt paints the wall."
    assert quote(text, "What halts the wheel?", 1) == "It stops the wheel."
    assert quote("The wheel is terminated at night.\n\nThe moon is up.", "When is it stopped?", 1).startswith(
        "The wheel"
    )


def test_a_sentence_is_quoted_once():
    text = "# One\n\nThe gate is made of oak.\n\n# Two\n\nThe gate is made of oak."
    assert quote(text, "What is the gate made of?", 3) == "The gate is made of oak."


def test_without_a_context_it_says_that_it_only_quotes():
    assert answered("", "Which port?")[0].startswith("I only quote")


def test_an_answer_is_made_of_sentences_of_the_context_and_nothing_else():
    docs = "\n\n".join(prose(page.open().read().decode()) for page in pages())
    sentences = sorted({sentence.text for sentence in read(docs)}, key=len, reverse=True)
    for line in QUESTIONS[0].read_text().splitlines()[::5]:
        rest = quote(docs, line.split("\t")[1], 3)
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
    assert quote(text, "What is the gate?", 1) == "gate: oak"
    assert "part" not in quote(text, "Which part is made of the gate?", 3)


def test_an_answer_begins_with_the_section_that_fits_best_and_comes_from_few():
    parts = [f"## Part {n}\n\nThe gate is opened at hour {n} of every day.\n" for n in range(8)]
    text = "\n".join([*parts, "## The wheel\n\nThe wheel by the gate is opened by the warden."])
    answer = quote(text, "Who is the gate's warden at the wheel?", 7)
    assert answer.startswith("The wheel by the gate")
    assert len(answer.split("\n\n")) <= 3


def test_heads_of_lists_and_titles_are_not_quoted():
    text = "The mill gate\n\nThe mill gate is opened with these:\n\n- a mill gate key of brass, and\n"
    assert quote(text, "What opens the mill gate?", 5) == "a mill gate key of brass, and"


def test_verbs_in_two_words_are_found_as_their_nouns():
    assert stems("Back up, log in and set-up") == stems("backup login setup") == ["backup", "login", "setup"]
    assert stems("PDFs") == ["pdf"]


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
    assert quote(text, "What is only code?", 3) in text


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
    assert "3000" in headrace("run", "Ask the docs", "Which port does it listen on?")
    assert "I only quote" in headrace("run", "Ask the docs", "What is the capital of France?")


def test_the_example_flow_looks_like_an_exported_one():
    row = json.loads((ROOT / EXAMPLE).read_text())
    nodes = row["flowData"]["nodes"]
    handles = {a["id"] for node in nodes for a in (*node["data"]["inputAnchors"], *node["data"]["outputAnchors"])}
    for edge in row["flowData"]["edges"]:
        assert {edge["source"], edge["target"]} <= {node["id"] for node in nodes}
        assert {edge["sourceHandle"], edge["targetHandle"]} <= handles
    assert {node["type"] for node in nodes} == {"customNode"}
