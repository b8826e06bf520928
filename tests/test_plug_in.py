"""A package brings a node type: the one of CONTRIBUTING.md, installed beside a server that lists it and runs it."""

import re
import tomllib
from pathlib import Path

from admin import call, ok
from servers import node, serving

PAGE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()


def installed(folder: Path) -> Path:
    """A folder with the package as pip leaves it: its module, and its metadata beside."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (project,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    groups = tomllib.loads(project)["project"]["entry-points"]
    lines = [f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in names.items()) for group, names in groups.items()]
    metadata = folder / "echo_node-1.dist-info"
    metadata.mkdir(parents=True)
    (folder / "echo_node.py").write_text(code)
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: echo-node\nVersion: 1\n")
    return folder


def test_a_node_of_a_package_describes_itself_and_answers(tmp_path: Path) -> None:
    with serving(tmp_path / "data", PYTHONPATH=str(installed(tmp_path / "packages"))) as server:
        says = ok(call(server, "GET", "nodes/echoChain"))
        assert (says["label"], says["version"], says["category"]) == ("Echo Chain", 1.2, "Chains")
        assert says["description"] == "Says the question again."
        prefix, shout, mark = says["inputs"]
        assert (prefix["label"], prefix["type"], prefix["default"]) == ("Text in Front", "string", "You said: ")
        assert (prefix["acceptVariable"], shout["additionalParams"], mark["show"]) == (True, True, {"shout": True})
        assert [option["name"] for option in mark["options"]] == ["!", "!!"]
        echo = node("echoChain", "Chains", shout=True, mark="!!", prefix="Hear: ")
        flow = server.create_flow({"nodes": [echo], "edges": []})
        assert server.ask(flow, "hi").json["text"] == "Hear: HI!!"
