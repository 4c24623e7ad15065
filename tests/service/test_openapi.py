"""The OpenAPI document: every route is in it, and what is answered is of the types that it is made from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from owmesos.documents import HealthDocument, InvokerDocument
from owmesos.invoker.kafka import KafkaInvoker
from owmesos.invoker.routes import StandaloneRoutes
from owmesos.service.admin import AdminServer
from owmesos.service.framework import Framework
from owmesos.service.openapi import ApiOperation, openapi
from tests.fixtures.admin import READING, TOKENS


def references(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        yield from (value for key, value in document.items() if key == "$ref")
        document = list(document.values())
    if isinstance(document, list):
        for each in document:
            yield from references(each)


def checked(document: dict[str, Any]) -> dict[str, Any]:
    """As JSON has it, with all that it refers to."""
    document = json.loads(json.dumps(document))
    names = set(document["components"]["schemas"])
    assert set(references(document)) <= {f"#/components/schemas/{name}" for name in names}
    return document


@pytest.fixture
async def described(framework: Framework) -> Any:
    """The document as it is served, and each listing's answer by its path."""
    server = AdminServer("127.0.0.1", 0)
    await server.start(framework, TOKENS)
    answers = {}
    async with aiohttp.ClientSession(headers=READING) as session:
        async with session.get(f"{server.url}/api/v1/openapi.json") as response:
            document = await response.json()
        for path, methods in document["paths"].items():
            if (
                "get" in methods
                and "{" not in path
                and "application/json" in methods["get"]["responses"]["200"]["content"]
            ):
                async with session.get(server.url + path) as response:
                    answers[path] = await response.read()
    await server.stop()
    return checked(document), answers


async def test_what_is_answered_has_the_fields_of_its_schema(described: Any) -> None:
    document, answers = described
    schemas = document["components"]["schemas"]
    compared = set()
    for path, answer in answers.items():
        schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        answered = json.loads(answer)
        for row in answered if isinstance(answered, list) else [answered]:
            if "$ref" not in schema.get("items", schema):
                continue  # the document itself
            shown = schemas[schema.get("items", schema)["$ref"].rpartition("/")[2]]
            assert set(shown["required"]) <= set(row) <= set(shown["properties"])
            compared.add(path)
    assert {"/api/v1/nodes", "/api/v1/offers", "/healthz", "/livez"} <= compared


async def test_only_probes_need_no_token(described: Any) -> None:
    document, _ = described
    operations = {(path, method): each for path, all_ in document["paths"].items() for method, each in all_.items()}
    assert {path for (path, _), each in operations.items() if each.get("security") == []} == {"/healthz", "/livez"}


async def test_a_launch_is_described_without_what_json_cannot_say(described: Any) -> None:
    launch = described[0]["components"]["schemas"]["Launch"]["properties"]
    assert launch["mem"] == {"type": "number", "default": 64.0}
    assert {"not": {}} in launch["task_info"]["anyOf"]


def test_every_route_of_standalone_mode_is_described() -> None:
    router = web.Application().router
    StandaloneRoutes.add_to(StandaloneRoutes.__new__(StandaloneRoutes), router)
    document = checked(openapi(router))
    invoke = document["paths"]["/api/v1/actions/{name}/invoke"]["post"]
    assert [each["name"] for each in invoke["parameters"]] == ["name", "Idempotency-Key"]
    answers = {status: each["content"]["application/json"]["schema"] for status, each in invoke["responses"].items()}
    names = {status: schema["$ref"].rpartition("/")[2] for status, schema in answers.items()}
    assert names == {"200": "ShownActivation", "202": "StartedDocument", "default": "ErrorDocument"}


def test_the_route_of_a_kafka_invoker_is_described() -> None:
    router = web.Application().router
    KafkaInvoker.add_to(KafkaInvoker.__new__(KafkaInvoker), router)
    assert list(checked(openapi(router))["paths"]) == ["/api/v1/invoker"]


def test_a_route_that_is_not_described_is_found() -> None:
    async def nobody_knows(request: web.Request) -> web.Response:
        return web.Response()

    router = web.Application().router
    router.add_get("/api/v1/secret", nobody_knows)
    with pytest.raises(AttributeError, match="operation"):
        openapi(router)


def test_msgspec_decodes_what_is_answered_into_the_documents() -> None:
    health = b'{"subscribed": true, "framework_id": "F", "kafka": "up"}'
    assert msgspec.json.decode(health, type=HealthDocument)["kafka"] == "up"
    with pytest.raises(msgspec.ValidationError, match="invoker"):
        msgspec.json.decode(b"{}", type=InvokerDocument)


def test_an_operation_leaves_its_handler_as_it_is() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response()

    assert ApiOperation("Nothing", HealthDocument)(handler) is handler
