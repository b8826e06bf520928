"""OpenAPI documents as they are read: odd ones, large ones, and those that would never end."""

import asyncio
import json
from typing import Any

import pytest

from headrace.errors import FlowError
from headrace.formats.openapi import Api, Reader, api_of
from headrace.nodes.tools.openapi import known


@pytest.mark.parametrize(
    "hostile",
    [
        {"parameters": 5}, {"parameters": [5, None, {"in": "body"}, {"in": "formData"}, {"in": []}]},
        {"parameters": [{"$ref": "#/parameters/x"}]}, {"consumes": 7, "parameters": [{"in": "formData", "name": {}}]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("top", [{}, {"host": 5, "basePath": [], "schemes": "x"}, {"parameters": []}])
def test_odd_documents_of_version_2_are_read_or_refused(hostile: dict[str, Any], top: dict[str, Any]) -> None:
    api = api_of(json.dumps({"swagger": "2.0", **top, "paths": {"/a": {"post": hostile, "parameters": [None]}}}))
    assert [operation.path for operation in api.operations] == ["/a"]


def test_references_that_grow_are_bounded() -> None:
    wide = {"type": "object", "properties": {f"p{n}": {"$ref": "#/components/schemas/A"} for n in range(100)}}
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}}
    paths = {"/a": {"post": {"operationId": "a", "requestBody": body}}}
    api = api_of(json.dumps({"openapi": "3.0.0", "paths": paths, "components": {"schemas": {"A": wide}}}))
    assert len(json.dumps(api.operations[0].parameters)) < 500_000
    circle = {"$ref": "#/components/schemas/A"}
    api = api_of(json.dumps({"openapi": "3.0.0", "paths": paths, "components": {"schemas": {"A": circle}}}))
    assert api.operations[0].parameters["properties"]["RequestBody"] == {}


def test_a_document_that_changes_with_each_run_is_not_kept_for_ever() -> None:
    read: dict[Any, Api] = {}
    for number in range(20):
        api = asyncio.run(known(read, json.dumps({"openapi": "3.0.0", "servers": [{"url": f"/{number}"}]}).encode()))
        assert api.servers == [f"/{number}"]
    assert len(read) < 10


def many(count: int, name: str = "op{}") -> dict[str, Any]:
    """A document with so many operations, each of them with hundreds of parts."""
    wide = {f"p{n}": {"$ref": f"#/components/schemas/S{n}"} for n in range(50)}
    schemas = {f"S{n}": {"type": "object", "properties": {**wide, "own": {"type": "string"}}} for n in range(50)}
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/S1"}}}}
    paths = {f"/a{n}": {"post": {"operationId": name.format(n), "requestBody": body}} for n in range(count)}
    return {"openapi": "3.0.0", "paths": paths, "components": {"schemas": schemas}}


def test_of_a_large_document_only_what_is_chosen_is_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    text, calls, whole = json.dumps(many(5000)), list[Any](), Reader.schema

    def counted(reader: Reader, *given: Any) -> dict[str, Any]:
        calls.append(given)
        return whole(reader, *given)

    monkeypatch.setattr(Reader, "schema", counted)
    api = api_of(text, frozenset(["op7", "POST /a4999"]))
    assert [operation.name for operation in api.operations] == ["op7", "op4999"]
    assert 1000 < len(calls) < 3000, "the parts of two operations"
    calls.clear()
    with pytest.raises(FlowError, match="5000 operations are too many for a model: choose 128"):
        api_of(text)
    assert not calls
    with pytest.raises(FlowError, match="more than 5000 operations"):
        api_of(json.dumps(many(5001)))


def test_operations_of_one_name_get_names_of_their_own() -> None:
    api = api_of(json.dumps(many(100, "x" * 80)))
    names = [operation.name for operation in api.operations]
    assert names[:2] == ["x" * 64, f"{'x' * 54}_2"]
    assert len(set(names)) == 100
    assert max(map(len, names)) == 64


def test_yaml_that_multiplies_itself_is_bounded() -> None:
    lines = ["openapi: 3.0.0", "a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    body = "requestBody: {content: {application/json: {schema: {properties: {a: *a59}}}}}"
    for place in ("description: *a59", "parameters: [{name: a, in: query, schema: {enum: *a59}}]", body):
        with pytest.raises(FlowError, match="anchors repeat too much"):
            api_of("\n".join([*lines, f"paths: {{/a: {{post: {{{place}}}}}}}"]))
    with pytest.raises(FlowError, match="anchors repeat too much"):
        api_of("openapi: 3.0.0\npaths: &p {/a: *p}")
    merging = ["a: &a {" + ", ".join(f"k{n}: 1" for n in range(1000)) + "}", f"b: {{<<: [{', '.join(['*a'] * 1000)}]}}"]
    with pytest.raises(FlowError, match="merges more than"):
        api_of("\n".join([lines[0], *merging]))
    with pytest.raises(FlowError, match="more than 1000000 parts"):
        api_of(f"openapi: [{'1,' * 1_500_000}]")
    with pytest.raises(FlowError, match="larger than"):
        api_of("x" * 5_000_001)


def test_yaml_is_read_as_openapi_means_it() -> None:
    parameter = "{name: q, in: query, schema: {default: 12:30, enum: [12:30, 1:5.5, 7, 0.5]}}"
    lines = [
        "openapi: 3.0.0",
        "c: &c {operationId: a}",
        f"paths: {{/a: {{get: {{<<: *c, parameters: [{parameter}]}}}}}}",
    ]
    (operation,) = api_of("\n".join(lines)).operations
    assert operation.name == "a"
    read = operation.parameters["properties"]["QueryParameters"]["properties"]["q"]
    assert (read["default"], read["enum"]) == ("12:30", ["12:30", "1:5.5", 7, 0.5])
