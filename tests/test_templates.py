"""The builder's own templates: which of them this server can run, and that it does. They lie beside the project."""

from pathlib import Path

import pytest

TEMPLATES = Path(__file__).parents[2] / "shared" / "flowise" / "templates"
KINDS = ("chatflows", "agentflows", "agentflowsv2")
RUN = 9  # of 51: raise it with every node that makes more of them run

pytestmark = pytest.mark.skipif(not TEMPLATES.exists(), reason="the templates of Flowise are not beside this project")
