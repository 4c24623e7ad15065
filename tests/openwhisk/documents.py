"""Documents of actions as OpenWhisk stores them, and the manifest that the tests' kinds are in."""

from __future__ import annotations

from typing import Any

from owmesos.openwhisk.manifest import Manifest, parse

MANIFEST: Manifest = parse(
    '{"runtimes": {"python": [{"kind": "python:3", "default": true, "image": {"name": "python"}}],'
    ' "nodejs": [{"kind": "nodejs:20", "default": true, "image": {"name": "nodejs"}, "sentinelledLogs": false}]},'
    ' "blackboxes": []}'
)


def action_document(namespace: str = "guest", name: str = "hello", *, code: Any = "pass") -> dict[str, Any]:
    """Of `whisks`."""
    return {
        "_id": f"{namespace}/{name}",
        "entityType": "action",
        "namespace": namespace,
        "name": name,
        "version": "0.0.1",
        "publish": False,
        "annotations": [{"key": "exec", "value": "python:3"}, {"key": "provide-api-key", "value": False}],
        "parameters": [{"key": "greeting", "value": "Hi", "init": True}],
        "limits": {"timeout": 60000, "memory": 128, "logs": 10, "concurrency": 1},
        "exec": {"kind": "python:3", "code": code, "binary": False, "main": "main"},
        "updated": 1573724400000,
    }
