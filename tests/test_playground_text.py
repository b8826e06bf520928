"""What an answer's text becomes on the page: Markdown, and nothing that acts."""

import json
from pathlib import Path

import pytest
from playground import alone, ask, ended, opened, turn
from playwright.sync_api import Page, expect
from servers import Server, conversation
from upstream import Upstream

__all__ = ["alone"]


INJECTIONS = json.loads((Path(__file__).parent / "injections.json").read_text())


WRITTEN = """# Runs

A run is **one** prediction with its *ordered* log, see [the docs](https://example.org/a_(b)) or https://example.org.

- first
- second with `code`
  - inner
  1. counted

10. ten
11. eleven

| event | bytes |
|:--|--:|
| `token` | 84 |

> quoted
> lines

```python
for event in stream:
    print(event)  # *not* emphasis
```

***

Snake_case_name stays, 2 * 3 * 4 too, ~~gone~~ goes. \\*escaped\\* ***both***
"""


GROWING = (
    "- a\n" * 130,
    "```\nopen",
    "> - a\n>   1. b\n> - c\n>\n> | a | b |\n> |---|--:|\n> | 1 | *2* |\n> | 3 | 4",
    "- a\n1\n- b\n-\n--\n-c\n2. d\n\n\n   e\n3. f\n| g\n| h |\n|-|\n| i |\n\\\n-|\n    -**\n\n|1. j",
    " ".join(f"**w{n}** `{n}`" for n in range(300)) + " **never closed",
)
SNAKES = "Snake_case_name stays, 2 * 3 * 4 too, <del>gone</del> goes."
DANGEROUS = """(root) => {
    const tags = /^(script|style|link|meta|base|iframe|object|embed|form|input|img|svg|math|animate)$/i;
    const acts = ({ name, value }) =>
        /^on|^style$|^src/i.test(name) || (name === "href" && !/^(https?:|mailto:)/.test(value));
    return [...root.querySelectorAll("*")].flatMap((element) => [
        ...(tags.test(element.tagName) ? [element.tagName] : []),
        ...[...element.attributes].filter(acts).map(({ name }) => name),
    ]);
}"""


@pytest.mark.parametrize("whole", [True, False], ids=["at once", "piece by piece"])
def test_markdown_is_the_same_however_it_comes_in(alone: Page, server: Server, whole: bool) -> None:
    page = alone
    page.goto(server.url)
    lines = [*(item["text"] for item in INJECTIONS), WRITTEN, WRITTEN.replace("\n", "\r\n"), *GROWING]
    for text_ in lines:
        expected, got = page.evaluate(
            """async ([text, size]) => {
                const folder = document.querySelector("script[type=module]").src.replace(/[^/]*$/, "");
                const { Markdown } = await import(folder + "markdown.js");
                const [one, other] = [document.createElement("div"), document.createElement("div")];
                new Markdown(one).show(text);
                const growing = new Markdown(other);
                for (let end = 0; end <= text.length + size; end += size) growing.show(text.slice(0, end));
                for (const root of [one, other]) root.normalize();
                return [one.innerHTML, other.innerHTML];
            }""",
            [text_, 100_000 if whole else 1 + len(text_) // 1000],
        )
        assert got == expected, text_


def test_markdown_shows_what_was_written(alone: Page, server: Server, chat: str) -> None:
    page = opened(alone, server, chat)
    ask(page, f"/json {json.dumps(WRITTEN)} | /burst")
    ended(page)
    answer = turn(page).locator(".answer > .markdown")
    expect(answer.locator("h3")).to_have_text("Runs")
    expect(answer.locator("p strong").first).to_have_text("one")
    links = [link.get_attribute("href") for link in answer.locator("a").all()]
    assert links == ["https://example.org/a_(b)", "https://example.org"]
    assert {link.get_attribute("rel") for link in answer.locator("a").all()} == {"noopener noreferrer nofollow"}
    expect(answer.locator("ul ul li").first).to_have_text("inner")
    expect(answer.locator("ol[start='10'] li")).to_have_count(2)
    expect(answer.locator("td.right")).to_have_text("84")
    expect(answer.locator("blockquote p")).to_have_text("quoted lines")
    assert "print(event)  # *not* emphasis" in answer.locator("pre").inner_text()
    last = answer.locator("> p").last.inner_html()
    assert last == f"{SNAKES} *escaped* <strong><em>both</em></strong>"


def test_no_injection_does_anything(alone: Page, server: Server, upstream: Upstream) -> None:
    evil = INJECTIONS[4]["text"]
    parts = conversation(upstream.url)
    for part in parts["nodes"]:
        part["data"]["label"] = part["data"]["category"] = evil
    flow_id = server.create_flow(conversation(upstream.url), name=evil)
    page = opened(alone, server, flow_id, key=True)
    for item in INJECTIONS:
        ask(page, f"/json {json.dumps(item['text'])} | /burst")
        ended(page)
        answer = turn(page).locator(".answer > .markdown")
        for link in answer.get_by_text("press here").all():
            link.dispatch_event("click")
        found = answer.evaluate(DANGEROUS)
        assert found == [], item["name"]
        assert page.evaluate("window.pwned") is None, item["name"]
    assert page.url.startswith(server.url)
    odd = server.create_flow(parts, name="labels")
    opened(page, server, odd)
    expect(page.locator(".graph .node")).to_have_count(3)
    assert page.evaluate("window.pwned") is None
