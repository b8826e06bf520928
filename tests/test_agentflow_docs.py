"""The flow on the page about agent flows does what the page says."""

import re

from agentflows import steps
from servers import Server
from test_docs import text


def test_the_example_on_the_page_answers_as_the_page_says(server: Server) -> None:
    page = text("agentflows.md")
    example = re.search(r"(?ms)^```json\n(.*?)^```$", page)
    assert example
    key = server.create_flow({}, flowData=example[1], type="AGENTFLOW")
    said = re.search(r"Asked how water reaches the turbine, it answers `(.+)`", page)
    assert said
    assert server.ask(key, "How does water reach the turbine?").json["text"] == said[1]
    answer = server.ask(key, "How is the weather?", streaming=True)
    assert steps(answer) == ["start_0", "condition_0", "directReply_0"]
    assert "Look out of the window." in answer.text
