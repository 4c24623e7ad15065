"""The OpenAPI document of the admin API, made from its routes and from the types that they read and answer."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from importlib.metadata import version
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from aiohttp import web

from owmesos.documents import ErrorDocument
from owmesos.service.admin_guard import answer
from owmesos.service.admin_requests import only
from owmesos.service.idempotency import HEADER, PATTERN

F = TypeVar("F", bound=Callable[..., Any])
Schema = Mapping[str, Any]
FLAG: Schema = {"type": "string", "enum": ["0", "1"]}
TEXT: Schema = {"type": "string"}
TEXTS: Schema = {"type": "array", "items": TEXT}
_REFERENCE = "#/components/schemas/{name}"


def whole(low: int, high: int) -> Schema:
    """A whole number."""
    return {"type": "integer", "minimum": low, "maximum": high}


class ApiOperation(msgspec.Struct, frozen=True):
    """What a route does; a decorator of its handler. `answer` and `body` are types, `others` those of answers with
    another status, `query` the parameters' schemas. It is `keyed` if it takes an Idempotency-Key, `open` if it needs
    no token. `media` is the type of its answer; of server-sent events `answer` is the data of one.
    """

    summary: str
    answer: Any
    body: Any = None
    query: Mapping[str, Schema] = {}
    status: int = 200
    others: Mapping[int, Any] = {}
    keyed: bool = False
    open: bool = False
    media: str = "application/json"

    def __call__(self, handler: F) -> F:
        handler.operation = self  # type: ignore[attr-defined]
        return handler


def listing(summary: str, rows: Callable[[], Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
    """A handler that answers what `rows` returns."""

    @ApiOperation(summary, get_type_hints(rows)["return"])
    async def handle(request: web.Request) -> web.Response:
        only(request)
        return answer(rows())

    return handle


def openapi(router: web.UrlDispatcher, other: Collection[str] = ()) -> dict[str, Any]:
    """Describe all routes but those of the `other` paths and those for every method.

    Raises AttributeError for a handler that has no ApiOperation.
    """
    routes = [
        route
        for route in router.routes()
        if route.method not in ("HEAD", "*") and route.resource is not None and route.resource.canonical not in other
    ]
    operations: list[tuple[web.AbstractRoute, ApiOperation]] = [
        (route, route.handler.operation)  # type: ignore[attr-defined]
        for route in routes
    ]
    kinds: list[Any] = [ErrorDocument]
    for _, operation in operations:
        bodies = [operation.body] if operation.body is not None else []
        kinds += [*_atoms(operation.answer), *operation.others.values(), *bodies]
    schemas, components = msgspec.json.schema_components(kinds, schema_hook=_unknown, ref_template=_REFERENCE)
    known = dict(zip(kinds, schemas, strict=True))

    def content(kind: Any, media: str = "application/json") -> dict[str, Any]:
        return {"content": {media: {"schema": _schema(kind, known)}}}

    paths: dict[str, dict[str, Any]] = {}
    for route, operation in operations:
        assert route.resource is not None
        path = route.resource.canonical
        paths.setdefault(path, {})[route.method.lower()] = _operation(path, operation, content)
    for component in components.values():
        if "description" in component:
            component["description"] = inspect.cleandoc(component["description"])
    return {
        "openapi": "3.1.0",
        "info": {"title": "owmesos admin API", "version": version("owmesos")},
        "security": [{"token": []}],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(path: str, operation: ApiOperation, content: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters: list[Any] = [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in names]
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in operation.query.items()]
    if operation.keyed:
        parameters.append({"name": HEADER, "in": "header", "schema": {**TEXT, "pattern": PATTERN}})
    return {
        "summary": operation.summary,
        **({"parameters": parameters} if parameters else {}),
        **({"requestBody": {"required": True, **content(operation.body)}} if operation.body else {}),
        **({"security": []} if operation.open else {}),
        "responses": {
            str(operation.status): {
                "description": operation.summary,
                **content(operation.answer, operation.media),
            },
            **{
                str(status): {"description": operation.summary, **content(kind)}
                for status, kind in operation.others.items()
            },
            "default": {"description": "An error", **content(ErrorDocument)},
        },
    }


def _schema(kind: Any, known: Mapping[Any, Any]) -> Any:
    if get_origin(kind) is list:
        return {"type": "array", "items": _schema(get_args(kind)[0], known)}
    alternatives = [known[each] for each in _atoms(kind)]
    return alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}


def _atoms(kind: Any) -> Iterable[Any]:
    """The types that a list or a union is made of: msgspec takes no union of TypedDicts."""
    if get_origin(kind) is list:
        return _atoms(get_args(kind)[0])
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _unknown(kind: type) -> dict[str, Any]:
    """The schema of what JSON cannot give: the library's `task_info`."""
    return {"not": {}}
