"""The admin API's part for standalone mode: actions and activations, in the form of OpenWhisk's own API.

The paths are shorter than OpenWhisk's, for there is one namespace. The guard and the form of errors are those of
`owmesos.service.admin`; only the code of an action may be large.
"""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from owmesos.errors import InvalidInput
from owmesos.openwhisk.activation import APPLICATION_ERROR, DEVELOPER_ERROR, SUCCESS, WHISK_ERROR, Activation
from owmesos.openwhisk.entities import ActionDocument
from owmesos.service.admin_guard import answer, refusal
from owmesos.service.admin_requests import body, flag, number, one, only, unless_stopping
from owmesos.service.standalone import BLOCKING_WAIT, ActionExists, Standalone
from owmesos.service.standalone_actions import WantedAction

MAX_ACTION_BODY = 80 * 2**20
"""Bytes: the most code, with what JSON escapes in it."""
MAX_LIMIT = 200
_STATUS = {
    SUCCESS: "success",
    APPLICATION_ERROR: "application error",
    DEVELOPER_ERROR: "action developer error",
    WHISK_ERROR: "whisk internal error",
}


class _Invocation(msgspec.Struct, forbid_unknown_fields=True):
    """`timeout` in seconds: how long to wait for the result."""

    params: dict[str, Any] = {}
    blocking: bool = False
    timeout: float = BLOCKING_WAIT


class StandaloneRoutes:
    """What is asked of one Standalone."""

    def __init__(self, standalone: Standalone) -> None:
        self._standalone = standalone

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/api/v1/actions", self.actions)
        router.add_get("/api/v1/actions/{name}", self.action)
        router.add_put("/api/v1/actions/{name}", self.put)
        router.add_delete("/api/v1/actions/{name}", self.delete)
        router.add_post("/api/v1/actions/{name}/invoke", self.invoke)
        router.add_get("/api/v1/activations", self.activations)
        router.add_get("/api/v1/activations/{id}", self.activation)
        router.add_get("/api/v1/activations/{id}/logs", self.logs)
        router.add_get("/api/v1/activations/{id}/result", self.result)

    async def actions(self, request: web.Request) -> web.Response:
        only(request)
        return answer([_action(document) for document in self._standalone.actions()])

    async def action(self, request: web.Request) -> web.Response:
        only(request)
        return answer(_action(await self._standalone.action(request.match_info["name"])))

    async def put(self, request: web.Request) -> web.Response:
        """`overwrite=1` changes an action that is there."""
        only(request, "overwrite")
        overwrite = flag(request, "overwrite")
        wanted = await body(request, WantedAction, limit=MAX_ACTION_BODY)
        try:
            document = await self._standalone.put_action(request.match_info["name"], wanted, overwrite=overwrite)
        except ActionExists as error:
            return refusal(409, str(error))
        return answer(_action(document))

    async def delete(self, request: web.Request) -> web.Response:
        only(request)
        return answer(_action(await self._standalone.delete_action(request.match_info["name"])))

    async def invoke(self, request: web.Request) -> web.Response:
        """202 and the activation's id where there is no result to be shown, or not yet."""
        only(request)
        wanted = await body(request, _Invocation)
        if not 0 < wanted.timeout <= BLOCKING_WAIT:
            raise InvalidInput(f"timeout must be more than 0 and at most {BLOCKING_WAIT:g} seconds")
        work = self._standalone.invoke(
            request.match_info["name"], wanted.params, blocking=wanted.blocking, wait=wanted.timeout
        )
        invoked = await unless_stopping(request, work)
        if invoked.activation is None:
            return answer({"activationId": invoked.activation_id}, 202)
        return answer(_activation(invoked.activation))

    async def activations(self, request: web.Request) -> web.Response:
        only(request, "name", "limit", "skip")
        found = await self._standalone.activations(
            name=one(request, "name", "") or None,
            limit=number(request, "limit", 30, 1, MAX_LIMIT),
            skip=number(request, "skip", 0, 0, 10**9),
        )
        return answer([_summary(activation) for activation in found])

    async def activation(self, request: web.Request) -> web.Response:
        return answer(_activation(await self._found(request)))

    async def logs(self, request: web.Request) -> web.Response:
        return answer({"logs": (await self._found(request)).logs})

    async def result(self, request: web.Request) -> web.Response:
        response = _activation(await self._found(request))["response"]
        return answer({key: response[key] for key in ("result", "status", "success")})

    async def _found(self, request: web.Request) -> Activation:
        only(request)
        return await self._standalone.activation(request.match_info["id"])


def _action(document: ActionDocument) -> dict[str, Any]:
    """As OpenWhisk's API shows it; in a listing without its code."""
    exec_ = {"kind": document.exec.kind, "binary": document.exec.binary}
    if document.exec.code is not None:
        exec_["code"] = document.exec.code
    if document.exec.main is not None:
        exec_["main"] = document.exec.main
    return {
        "namespace": document.namespace,
        "name": document.name,
        "version": document.version,
        "exec": exec_,
        "limits": document.limits,
        "parameters": document.parameters,
        "annotations": document.annotations,
        "publish": document.publish,
        "updated": document.updated,
    }


def _activation(activation: Activation) -> dict[str, Any]:
    """As OpenWhisk's API shows it."""
    response = activation.response
    return {
        **_outline(activation),
        "subject": activation.subject,
        "response": {
            "status": _STATUS[response.status_code],
            "statusCode": response.status_code,
            "success": response.status_code == SUCCESS,
            "result": response.result,
            **({} if response.size is None else {"size": response.size}),
        },
        "logs": activation.logs,
    }


def _summary(activation: Activation) -> dict[str, Any]:
    """As a listing shows it."""
    return {**_outline(activation), "statusCode": activation.response.status_code}


def _outline(activation: Activation) -> dict[str, Any]:
    return {
        "namespace": activation.namespace,
        "name": activation.name,
        "version": activation.version,
        "activationId": activation.activation_id,
        **({} if activation.cause is None else {"cause": activation.cause}),
        "start": activation.start,
        "end": activation.end,
        "duration": activation.duration,
        "annotations": activation.annotations,
        "publish": activation.publish,
    }
