import re
from collections.abc import Iterator

import pytest

from headrace import errors
from headrace.errors import HeadraceError, RequestError, by_code


def tree(root: type[HeadraceError]) -> Iterator[type[HeadraceError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


KINDS = [kind for kind in tree(HeadraceError) if kind not in (HeadraceError, RequestError)]
LINE = re.compile(r"^[│ ]*[├└]── (\w+) +(?:(\d{3}) +(\w+))?(.*)$", re.MULTILINE)


def test_every_code_belongs_to_one_class():
    codes = [kind.code for kind in KINDS]
    assert sorted(codes) == sorted(set(codes))


@pytest.mark.parametrize("kind", KINDS)
def test_a_code_finds_its_class_whatever_the_status(kind: type[HeadraceError]):
    assert by_code(kind.code, kind.status) is kind
    assert by_code(kind.code, 418) is kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidRequest),
        (401, errors.Unauthorized),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (405, errors.MethodRefused),
        (412, errors.BodyMissing),
        (415, errors.MediaTypeRefused),
        (413, errors.BodyTooLarge),
        (418, errors.RequestError),
        (422, errors.FlowError),
        (429, errors.RateLimited),
        (500, errors.Internal),
        (502, errors.ConnectionFailed),
        (503, errors.ConnectionFailed),
        (504, errors.ConnectionFailed),
        (507, errors.HeadraceError),
    ],
)
def test_without_a_code_the_status_decides(status: int, kind: type[HeadraceError]):
    assert by_code(None, status) is kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, errors.NotFound), (500, errors.Internal), (502, errors.ProviderError)],
)
def test_a_code_of_a_newer_server_falls_back_to_the_status(status: int, kind: type[HeadraceError]):
    assert by_code("not_known_here", status) is kind


def test_an_error_without_code_and_status_is_internal():
    assert by_code(None) is errors.Internal


def test_the_tree_in_the_docstring_is_the_tree():
    assert errors.__doc__
    lines = {name: (status, code, rest) for name, status, code, rest in LINE.findall(errors.__doc__)}
    assert set(lines) == {kind.__name__ for kind in tree(HeadraceError)} - {"HeadraceError"}
    for kind in KINDS:
        status, code, rest = lines[kind.__name__]
        if kind is not errors.ConnectionFailed:  # never sent, so it has no status
            assert (int(status), code) == (kind.status, kind.code)
        assert ("retryable" in rest) == kind.retryable, kind


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_made_of_its_message(kind: type[HeadraceError]):
    assert str(kind("what happened")) == "what happened"
    assert kind("what happened").retry_after is None


def test_an_instance_may_carry_the_code_of_a_newer_server():
    error = HeadraceError("odd")
    error.code, error.retryable = "odd_code", True
    assert (HeadraceError.code, HeadraceError.retryable) == ("internal", False)
