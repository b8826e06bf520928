"""The form that an agent flow begins with is checked before anything runs."""

from typing import Any

import pytest
from agentflows import SHOWN, Flow, flow, node, reply, start
from servers import Server

FIELDS = [
    {"type": "string", "label": "City", "name": "city", "addOptions": ""},
    {"type": "number", "label": "Nights", "name": "nights", "addOptions": ""},
    {"type": "boolean", "label": "Breakfast", "name": "breakfast", "addOptions": ""},
    {"type": "options", "label": "Room", "name": "room", "addOptions": [{"option": "single"}, {"option": "double"}]},
]
GOOD: Flow = {"city": "Oslo", "nights": 3, "breakfast": True, "room": "double"}


@pytest.fixture(scope="module")
def booking(server: Server) -> str:
    began = start(startInputType="formInput", formTitle="Book a room", formInputTypes=FIELDS)
    drawn = flow(began, reply("{{ $form.city }}, {{ $form.nights }}"), arrows="start_0 directReply_0")
    return server.create_flow(drawn, **SHOWN)


@pytest.mark.parametrize("other", [{}, {"nights": " 3.5 "}, {"breakfast": "no"}, {"more": [1]}, {"city": ""}])
def test_a_form_that_fits_is_taken(server: Server, booking: str, other: Flow):
    form = GOOD | other
    assert server.ask(booking, form=form).json["text"] == f"{form['city']}, {form['nights']}"


@pytest.mark.parametrize(
    ("form", "reasons"),
    [
        ({}, dict.fromkeys(GOOD, "it is missing")),
        (GOOD | {"city": None}, {"city": "it is missing"}),
        (GOOD | {"city": ["Oslo"]}, {"city": "it is not a text"}),
        (GOOD | {"nights": "three"}, {"nights": "it is not a number"}),
        (GOOD | {"nights": True}, {"nights": "it is not a number"}),
        (GOOD | {"breakfast": 2}, {"breakfast": "it is not true or false"}),
        (GOOD | {"room": "suite", "nights": ""}, {"nights": "it is not a number", "room": "'single', 'double'"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("streaming", [False, True])
def test_each_wrong_field_is_named(server: Server, booking: str, form: Flow, reasons: Flow, streaming: bool):
    answer = server.ask(booking, form=form, streaming=streaming)
    assert (answer.status, answer.json["code"]) == (422, "invalid_form")
    for name in GOOD:
        assert (f"'{name}'" in answer.json["message"]) is (name in reasons), answer.json["message"]
    assert all(reason in answer.json["message"] for reason in reasons.values())


@pytest.mark.parametrize(("body", "status"), [({}, 422), ({"question": "Hi"}, 200)])
def test_without_a_form_every_field_is_missing_unless_there_is_a_question(
    server: Server, booking: str, body: Any, status: int
):
    assert server.ask(booking, **body).status == status


def test_a_flow_that_chose_an_output_without_arrow_says_what_was_chosen(server: Server):
    """The last node is then no last one of the drawing, and has said nothing."""
    drawn = flow(
        start(), node("humanInput"), reply("Yes.", 1), arrows="start_0 humanInput_0, humanInput_0:0 directReply_1"
    )
    key = server.create_flow(drawn, **SHOWN)
    chat = server.ask(key, "Hi").json["chatId"]
    assert server.ask(key, chatId=chat, humanInput={"type": "reject"}).json["text"] == "reject"
