"""Images in questions: the choice that chat models have."""

from __future__ import annotations

from headrace.engine.ports import Images


def image_policy(allowed: bool) -> Images:
    """The way a model takes the images of a question."""
    return "with the question" if allowed else "refused"
