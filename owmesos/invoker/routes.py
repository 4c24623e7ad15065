"""The admin API of standalone mode: actions and activations, in the format of OpenWhisk's own API.

The paths are shorter than OpenWhisk's, because there is one namespace. Authorization and errors are those of
`owmesos.service.admin`; only the code of an action may be large.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from aiohttp import web

from owmesos.errors import InvalidInput
from owmesos.invoker.action_rules import WantedAction, decode_wanted
from owmesos.invoker.standalone import BLOCKING_WAIT, ActionExists, CannotCancel, Standalone
from owmesos.openwhisk import documents as openwhisk_documents
from owmesos.openwhisk.activation import (
    APPLICATION_ERROR,
    DEVELOPER_ERROR,
    SUCCESS,
    WHISK_ERROR,
    Activation,
    Response,
)
from owmesos.openwhisk.entities import ActionDocument, with_written_code
from owmesos.service.admin_bodies import LargeBodies
from owmesos.service.admin_guard import answer, error_response
from owmesos.service.admin_requests import (
    EmptyBody,
    body,
    flag,
    idempotency_key,
    number,
    one,
    only,
    unless_stopping,
)
from owmesos.service.openapi import FLAG, TEXT, ApiOperation, whole
from owmesos.system.large_text import SLICE
from owmesos.system.lone_surrogates import encode
from owmesos.system.sliced_body import sliced

MAX_ACTION_BODY = 80 * 2**20  # bytes: the largest code, with JSON's escapes
MAX_ACTION_BODIES = 10 * MAX_ACTION_BODY  # bytes of all bodies that are being received, in files
MAX_LIMIT = 200
MAX_SKIP = 10**9 - 1
_PAGE = {"name": TEXT, "limit": whole(1, MAX_LIMIT), "skip": whole(0, MAX_SKIP), "unfinished": FLAG}
_STATUS = {
    SUCCESS: "success",
    APPLICATION_ERROR: "application error",
    DEVELOPER_ERROR: "action developer error",
    WHISK_ERROR: "whisk internal error",
}


class WantedInvocation(msgspec.Struct, forbid_unknown_fields=True):
    """`timeout` in seconds: how long to wait for the result."""

    params: dict[str, Any] = {}
    blocking: bool = False
    timeout: Annotated[float, msgspec.Meta(extra_json_schema={"exclusiveMinimum": 0, "maximum": BLOCKING_WAIT})] = (
        BLOCKING_WAIT
    )


def add_routes(standalone: Standalone, router: web.UrlDispatcher) -> None:
    StandaloneRoutes(standalone).add_to(router)


class StandaloneRoutes:
    """The requests to one Standalone."""

    def __init__(self, standalone: Standalone) -> None:
        self._standalone = standalone
        self._large = LargeBodies(standalone.folder, most=MAX_ACTION_BODIES)

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/api/v1/actions", self.actions)
        router.add_get("/api/v1/actions/{name}", self.action)
        router.add_put("/api/v1/actions/{name}", self.put)
        router.add_delete("/api/v1/actions/{name}", self.delete)
        router.add_post("/api/v1/actions/{name}/invoke", self.invoke)
        router.add_get("/api/v1/activations", self.activations)
        router.add_get("/api/v1/activations/{id}", self.activation)
        router.add_get("/api/v1/activations/{id}/logs", self.logs)
        router.add_post("/api/v1/activations/{id}/cancel", self.cancel)
        router.add_get("/api/v1/activations/{id}/result", self.result)

    @ApiOperation("The actions, without their code", list[openwhisk_documents.ListedAction])
    async def actions(self, request: web.Request) -> web.Response:
        only(request)
        return answer([_action(document) for document in self._standalone.actions()])

    @ApiOperation("An action", openwhisk_documents.ListedAction)
    async def action(self, request: web.Request) -> web.Response:
        only(request)
        return await _with_code(await self._standalone.action(request.match_info["name"]))

    @ApiOperation("Create an action, or change it", openwhisk_documents.ListedAction, WantedAction, {"overwrite": FLAG})
    async def put(self, request: web.Request) -> web.Response:
        """`overwrite=1` changes an existing action."""
        only(request, "overwrite")
        overwrite = flag(request, "overwrite")
        async with self._large.read(request, decode_wanted, MAX_ACTION_BODY) as wanted:
            try:
                document = await self._standalone.put_action(request.match_info["name"], wanted, overwrite=overwrite)
            except ActionExists as error:
                return error_response(409, str(error))
            return await _with_code(document)

    @ApiOperation("Delete an action", openwhisk_documents.ListedAction)
    async def delete(self, request: web.Request) -> web.Response:
        only(request)
        return answer(_action(await self._standalone.delete_action(request.match_info["name"])))

    @ApiOperation(
        "Invoke an action; 202 without a result",
        openwhisk_documents.ShownActivation,
        WantedInvocation,
        others={202: openwhisk_documents.StartedDocument},
        keyed=True,
    )
    async def invoke(self, request: web.Request) -> web.Response:
        """202 and the activation's id if no result is requested, or it is not known in time."""
        wanted = await body(request, WantedInvocation, lone_surrogates=True)
        if not 0 < wanted.timeout <= BLOCKING_WAIT:
            raise InvalidInput(
                f"timeout must be more than 0 and at most {BLOCKING_WAIT:g} seconds, not {wanted.timeout:g}"
            )
        work = self._standalone.invoke(
            request.match_info["name"],
            wanted.params,
            blocking=wanted.blocking,
            wait=wanted.timeout,
            key=idempotency_key(request),
        )
        invoked = await unless_stopping(request, work)
        if invoked.activation is None:
            return answer({"activationId": invoked.activation_id}, 202)
        return answer(_activation(invoked.activation))

    @ApiOperation(
        "The last activations",
        list[openwhisk_documents.ListedActivation | openwhisk_documents.UnfinishedActivation],
        query=_PAGE,
    )
    async def activations(self, request: web.Request) -> web.Response:
        """With `unfinished=1`, activations that wait or run come first."""
        only(request, *_PAGE)
        name = one(request, "name", "") or None
        limit, skip = number(request, "limit", 30, 1, MAX_LIMIT), number(request, "skip", 0, 0, MAX_SKIP)
        unfinished: list[openwhisk_documents.UnfinishedActivation] = []
        if flag(request, "unfinished"):
            unfinished = self._standalone.unfinished(name=name, limit=limit + skip)
        passed = len(unfinished[:skip])
        unfinished = unfinished[skip:]
        found = await self._standalone.activations(name=name, limit=limit, skip=skip - passed)
        ended = {activation.activation_id for activation in found}  # meanwhile, may be
        rows: list[openwhisk_documents.ListedActivation | openwhisk_documents.UnfinishedActivation] = [
            row for row in unfinished if row["activationId"] not in ended
        ]
        rows += map(_summary, found)
        return answer(rows[:limit])

    @ApiOperation("An activation", openwhisk_documents.ShownActivation)
    async def activation(self, request: web.Request) -> web.Response:
        return answer(_activation(await self._found(request)))

    @ApiOperation("What an activation has logged", openwhisk_documents.LogsDocument)
    async def logs(self, request: web.Request) -> web.Response:
        return answer({"logs": (await self._found(request)).logs})

    @ApiOperation("An activation's result", openwhisk_documents.ResultDocument)
    async def result(self, request: web.Request) -> web.Response:
        response = _activation(await self._found(request))["response"]
        return answer({key: response[key] for key in ("result", "status", "success")})

    @ApiOperation("End an activation that waits for a container", openwhisk_documents.ShownActivation, EmptyBody)
    async def cancel(self, request: web.Request) -> web.Response:
        """Answers 409 if a container has it or it has ended."""
        await body(request, EmptyBody)
        activation_id = await self._standalone.find(request.match_info["id"])
        try:
            return answer(_activation(await self._standalone.cancel(activation_id)))
        except CannotCancel as error:
            return error_response(409, str(error))

    async def _found(self, request: web.Request) -> Activation:
        only(request)
        return await self._standalone.activation(await self._standalone.find(request.match_info["id"]))


async def _with_code(document: ActionDocument) -> web.Response:
    """Large code is encoded in a thread, and sent in slices."""
    code = document.exec.code
    if not isinstance(code, str) or len(code) <= SLICE:
        return answer(_action(document))
    data = await asyncio.to_thread(lambda: encode(_action(with_written_code(document))))
    return web.Response(
        body=sliced([data]), headers={"Content-Length": str(len(data))}, content_type="application/json"
    )


def _action(document: ActionDocument) -> openwhisk_documents.ListedAction:
    """As OpenWhisk's API shows it; in a listing without its code."""
    exec_: openwhisk_documents.ExecDocument = {"kind": document.exec.kind, "binary": document.exec.binary}
    if document.exec.code is not None:
        exec_["code"] = document.exec.code
    if document.exec.main is not None:
        exec_["main"] = document.exec.main
    return {
        "namespace": document.namespace,
        "name": document.name,
        "version": document.version,
        "exec": exec_,
        "limits": msgspec.to_builtins(document.limits),
        "parameters": document.parameters,
        "annotations": msgspec.to_builtins(document.annotations),
        "publish": document.publish,
        "updated": document.updated,
    }


def _activation(activation: Activation) -> openwhisk_documents.ShownActivation:
    """As OpenWhisk's API shows it."""
    return {
        **_name(activation),
        "annotations": msgspec.to_builtins(activation.annotations),
        "publish": activation.publish,
        "subject": activation.subject,
        "response": _response(activation.response),
        "logs": activation.logs,
    }


def _response(response: Response) -> openwhisk_documents.ResponseDocument:
    shown: openwhisk_documents.ResponseDocument = {
        "status": _STATUS[response.status_code],
        "statusCode": response.status_code,
        "success": response.status_code == SUCCESS,
        "result": response.result,
    }
    if response.size is not None:
        shown["size"] = response.size
    return shown


def _summary(activation: Activation) -> openwhisk_documents.ListedActivation:
    """As a listing shows it."""
    return {
        **_name(activation),
        "annotations": msgspec.to_builtins(activation.annotations),
        "publish": activation.publish,
        "statusCode": activation.response.status_code,
    }


def _name(activation: Activation) -> openwhisk_documents.ActivationName:
    name: openwhisk_documents.ActivationName = {
        "namespace": activation.namespace,
        "name": activation.name,
        "version": activation.version,
        "activationId": activation.activation_id,
        "start": activation.start,
        "end": activation.end,
        "duration": activation.duration,
    }
    if activation.cause is not None:
        name["cause"] = activation.cause
    return name
