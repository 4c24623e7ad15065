"""Requests to the API server, and the one line that each failure is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from owmesos.kubernetes.events import ApiFailure
from owmesos.kubernetes.wire.access import (
    REREAD,
    ClientCertificate,
    Credential,
    CredentialsUnavailable,
    FileCredentials,
    FixedCredentials,
    read_token,
)
from owmesos.kubernetes.wire.api_client import PAGE, RIGHTS, ApiClient, Listed, Right
from owmesos.kubernetes.wire.api_errors import ApiRequestFailed, unanswered
from owmesos.kubernetes.wire.decoding import NODES, PODS
from tests.fakes.api_server import FakeApiServer, answer, failure, node, pod
from tests.fakes.odd_server import ODD_ANSWERS, OddServer
from tests.fakes.pki import Pki
from tests.kubernetes.wire.conftest import Access

BODY = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": []}}


async def failed(asked: Awaitable[object]) -> ApiFailure:
    with pytest.raises(ApiRequestFailed) as error:
        await asked
    assert str(error.value) == error.value.failure.message
    assert "\n" not in error.value.failure.message
    return error.value.failure


# -- lists


async def test_a_list_comes_in_pages(server: FakeApiServer, api: ApiClient) -> None:
    server.page_limit = 2
    for number in range(5):
        server.put("nodes", node(f"n{number}"))
    listed = await api.list_all(NODES)
    assert [each.metadata.name for each in listed.items] == ["n0", "n1", "n2", "n3", "n4"]
    assert listed.resource_version == "105"
    assert [query.get("continue") for query in server.queries] == [None, "2", "4"]
    assert {query["limit"] for query in server.queries} == {str(PAGE)}


async def test_an_empty_list_is_empty(server: FakeApiServer, api: ApiClient) -> None:
    server.answers.append(("/pods", answer(200, {"metadata": {"resourceVersion": "7"}, "items": None})))
    assert await api.list_all(PODS) == Listed((), "7")
    assert await api.list_all(PODS) == Listed((), "100")


@pytest.mark.parametrize(("stale", "requests"), [(1, 5), (2, 5)])
async def test_a_list_that_grew_old_is_begun_again(
    server: FakeApiServer, api: ApiClient, stale: int, requests: int
) -> None:
    server.page_limit = 2
    server.stale_tokens = stale
    for number in range(5):
        server.put("pods", pod(f"p{number}"))
    assert len((await api.list_all(PODS)).items) == 5
    assert len(server.requests) == requests


async def test_after_two_stale_lists_all_is_asked_for_at_once(server: FakeApiServer, api: ApiClient) -> None:
    server.page_limit, server.stale_tokens = 2, 2
    for number in range(5):
        server.put("pods", pod(f"p{number}"))
    await api.list_all(PODS)
    assert "limit" not in server.queries[-1]


async def test_an_object_that_cannot_be_read_costs_only_itself(
    server: FakeApiServer, api: ApiClient, caplog: pytest.LogCaptureFixture
) -> None:
    server.put("pods", pod("good"))
    bad = pod("bad", namespace="theirs")
    bad["spec"]["containers"] = [{"resources": {"requests": {"cpu": 2}}}]
    server.put("pods", bad)
    server.put("pods", pod("other"))
    for _ in range(2):
        assert [each.metadata.name for each in (await api.list_all(PODS)).items] == ["good", "other"]
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "pods theirs/bad cannot be read and is left out: Expected `str`, got `int`" in warnings[0].getMessage()


@pytest.mark.parametrize("body", ["", "[]", '{"items": 3}', '{"metadata": [], "items": []}', "[" * 100_000])
async def test_a_list_that_cannot_be_read_is_a_failure(server: FakeApiServer, api: ApiClient, body: str) -> None:
    server.answers.append(("/pods", answer(200, body)))
    assert (await failed(api.list_all(PODS))).reason == "NotReadable"


# -- pods


async def test_a_pod_is_posted_once(server: FakeApiServer, api: ApiClient) -> None:
    made = await api.post_pod("default", BODY)
    assert (made.metadata.name, made.metadata.namespace) == ("a", "default")
    again = await failed(api.post_pod("default", BODY))
    assert (again.status, again.reason, again.certain) == (409, "AlreadyExists", True)
    assert await api.pod("default", "a") == await api.pod("default", "a")
    assert server.headers[0]["Content-Type"] == "application/json"


async def test_a_dry_run_stores_nothing(server: FakeApiServer, api: ApiClient) -> None:
    assert (await api.post_pod("default", BODY, dry_run=True)).metadata.name == "a"
    assert (await failed(api.pod("default", "a"))).status == 404


async def test_a_pod_is_deleted_by_its_uid_with_grace(server: FakeApiServer, api: ApiClient) -> None:
    server.put("pods", pod("a", uid="u1"))
    other = await failed(api.delete_pod("default", "a", uid="u0", grace=2))
    assert (other.status, other.reason) == (409, "Conflict")
    await api.delete_pod("default", "a", uid="u1", grace=2)
    assert server.bodies[-1] == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 2,
        "propagationPolicy": "Background",
        "preconditions": {"uid": "u1"},
    }
    gone = await failed(api.delete_pod("default", "a", uid=None, grace=1))
    assert (gone.status, gone.reason, gone.certain) == (404, "NotFound", True)
    assert "preconditions" not in server.bodies[-1]


async def test_no_pod_is_deleted_without_grace(server: FakeApiServer, api: ApiClient) -> None:
    with pytest.raises(ValueError, match="a grace period of 0 s would give away the room"):
        await api.delete_pod("default", "a", uid=None, grace=0)
    assert server.requests == []


async def test_names_are_quoted(server: FakeApiServer, api: ApiClient) -> None:
    await failed(api.delete_pod("default", "../../nodes/n", uid=None, grace=1))
    assert server.requests == ["DELETE /api/v1/namespaces/default/pods/..%2F..%2Fnodes%2Fn"]


async def test_logs_are_bounded(server: FakeApiServer, api: ApiClient) -> None:
    server.log = b"x" * 1000
    since = datetime(2026, 1, 2, 3, 4, 5, 999_999, tzinfo=timezone(timedelta(hours=1)))
    read = await api.logs("default", "a", container="main", since=since, timestamps=True, limit=100)
    assert read == b"x" * 100
    assert server.queries[0] == {
        "limitBytes": "100",
        "container": "main",
        "sinceTime": "2026-01-02T02:04:05Z",
        "timestamps": "true",
    }


# -- rights


async def test_missing_rights_are_found(server: FakeApiServer, api: ApiClient) -> None:
    assert await api.missing_rights("functions") == []
    server.denied = {("create", "pods"), ("get", "pods/log")}
    missing = await api.missing_rights("functions")
    assert missing == [Right("create", "pods"), Right("get", "pods", "log")]
    assert [str(each) for each in missing] == ["create pods", "get pods/log"]
    asked = [body["spec"]["resourceAttributes"] for body in server.bodies[: len(RIGHTS)]]
    assert asked[0] == {"verb": "list", "resource": "nodes"}
    assert asked[-1] == {"verb": "get", "resource": "pods", "subresource": "log", "namespace": "functions"}


# -- what the API server says


FORBIDDEN = (
    'pods is forbidden: User "system:serviceaccount:ow:invoker" cannot create resource "pods" in API group ""'
    ' in the namespace "functions"'
)
ALL_PODS = 'pods is forbidden: User "me" cannot list resource "pods" in API group "" at the cluster scope'
QUOTA = 'pods "a" is forbidden: exceeded quota: compute, requested: cpu=1, used: cpu=4, limited: cpu=4'
DENIED = 'admission webhook "w.example.org" denied the request: no'
WEBHOOK = 'Internal error occurred: failed calling webhook "w.example.org": connection refused'


@pytest.mark.parametrize(
    ("status", "body", "words", "certain"),
    [
        (
            403,
            failure(403, "Forbidden", FORBIDDEN),
            'create pods in the namespace functions: give it a Role with apiGroups: [""], resources: ["pods"], verbs',
            True,
        ),
        (403, failure(403, "Forbidden", ALL_PODS), "RBAC forbids me to list pods: give it a ClusterRole with", True),
        (403, failure(403, "Forbidden", QUOTA), QUOTA, True),
        (
            404,
            failure(404, "NotFound", 'namespaces "nope" not found', name="nope", kind="namespaces"),
            "the namespace nope does not exist: create it (kubectl create namespace nope) or give another",
            True,
        ),
        (422, failure(422, "Invalid", "spec.x:\n is wrong"), "spec.x: is wrong", True),
        (500, failure(500, "InternalError", WEBHOOK), WEBHOOK, True),
        (500, failure(500, "InternalError", DENIED), DENIED, True),
        (401, failure(401, "Unauthorized", DENIED), DENIED, True),
        (500, failure(500, "InternalError", "etcdserver: request timed out"), "etcdserver: request timed out", False),
        (504, failure(504, "Timeout", "the server timed out"), "the server timed out", False),
        (503, "", "answers 503 with nothing: is that a Kubernetes API server?", False),
        (502, "<html>nginx</html>", "answers 502 with an HTML page: is that a Kubernetes API server?", False),
        (302, "moved", "answers 302 with moved: is that", True),
        (418, {"a": 1}, "answers 418 with", True),
    ],
)
async def test_a_rejection_is_one_clear_line(
    server: FakeApiServer, api: ApiClient, status: int, body: Any, words: str, certain: bool
) -> None:
    server.answers.append(("POST", answer(status, body)))
    said = await failed(api.post_pod("functions", BODY))
    assert words in said.message
    assert (said.status, said.certain) == (status, certain)


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"Retry_After": "7"}, "", 7.0),
        ({}, failure(429, "TooManyRequests", "slow down", retryAfterSeconds=3), 3.0),
        ({"Retry_After": "1"}, "Too many requests, please try again later.\n", 1.0),
        ({"Retry_After": "1000000"}, "", 60.0),
        ({"Retry_After": "-4"}, "", 0.0),
        ({"Retry_After": "nan"}, "", None),
        ({"Retry_After": "soon"}, "", None),
        ({"Retry_After": "Fri, 01 Jan 2021 00:00:00 GMT"}, "", 0.0),
        ({}, "", None),
    ],
)
async def test_a_busy_server_says_when_to_come_again(
    server: FakeApiServer, api: ApiClient, headers: dict[str, str], body: Any, seconds: float | None
) -> None:
    server.answers.append(("POST", answer(429, body, **headers)))
    said = await failed(api.post_pod("default", BODY))
    assert (said.retry_after, said.certain, said.reason) == (seconds, True, "TooManyRequests")


async def test_what_a_busy_server_says_is_told_as_it_is(server: FakeApiServer, api: ApiClient) -> None:
    server.answers.append(("POST", answer(429, "Too many requests, please try again later.\n")))
    said = await failed(api.post_pod("default", BODY))
    assert said.message == f"{server.url} answers 429: Too many requests, please try again later."


# -- who we are


async def test_the_token_is_sent(server: FakeApiServer, api: ApiClient) -> None:
    server.tokens = {"t1"}
    await api.list_all(NODES)
    assert server.headers[0]["Authorization"] == "Bearer t1"
    assert server.headers[0]["User-Agent"] == "owmesos"


async def test_a_token_that_is_not_accepted_is_named(server: FakeApiServer, api: ApiClient) -> None:
    server.tokens = set()
    said = await failed(api.list_all(NODES))
    assert said.message == (
        f"{server.url} does not accept the token of user u (401 Unauthorized):"
        " expired or revoked, or of another cluster"
    )
    assert (said.status, said.reason, said.certain) == (401, "Unauthorized", True)


async def test_without_credentials_they_are_asked_for(server: FakeApiServer, access: Access) -> None:
    server.tokens = set()
    async with ApiClient(access(FixedCredentials(Credential(), "no credentials"))) as api:
        assert (
            "wants credentials (401 Unauthorized), and context c of /k has none"
            in (await failed(api.list_all(NODES))).message
        )


async def test_a_token_that_was_replaced_is_read_and_the_request_sent_again(
    server: FakeApiServer, access: Access, tmp_path: Any
) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    server.tokens = {"old"}
    async with ApiClient(access(FileCredentials(lambda: Credential(read_token(file)), "a file"))) as api:
        await api.list_all(NODES)
        server.tokens = {"new"}
        file.write_text("new")
        await api.post_pod("default", BODY)
    assert [each["Authorization"] for each in server.headers] == ["Bearer old", "Bearer old", "Bearer new"]
    assert len(server.objects["pods"]) == 1


class Failing:
    def current(self) -> Credential | None:
        return None

    def renew(self, rejected: Credential | None = None) -> Credential:
        raise CredentialsUnavailable("login ended with exit code 1: you are not logged in")


async def test_without_a_credential_nothing_is_sent(server: FakeApiServer, access: Access) -> None:
    async with ApiClient(access(Failing())) as api:
        said = await failed(api.list_all(NODES))
    assert said == ApiFailure(
        0, "NoCredentials", "login ended with exit code 1: you are not logged in", certain=True, retry_after=None
    )
    assert server.requests == []


async def test_a_client_certificate_is_shown_and_another_when_it_is_replaced(pki: Pki, access: Access) -> None:
    fake = await FakeApiServer(pki.server("127.0.0.1", asks_client=True)).start()

    def read() -> Credential:
        return Credential(None, ClientCertificate(pki.cert.read_bytes(), pki.key.read_bytes()))

    credentials = FileCredentials(read, "a certificate")
    async with ApiClient(access(credentials, server=fake.url)) as api:
        await api.list_all(NODES)
        pki.issue_client()
        credentials.renew()
        await api.list_all(NODES)
    assert len(fake.requests) == 2
    await fake.stop()


ANONYMOUS = (
    'nodes is forbidden: User "system:anonymous" cannot list resource "nodes" in API group "" at the cluster scope'
)


@pytest.mark.parametrize(
    ("status", "body"),
    [(401, failure(401, "Unauthorized", "Unauthorized")), (403, failure(403, "Forbidden", ANONYMOUS))],
)
async def test_a_client_certificate_that_expired_is_named(
    status: int, body: Any, server: FakeApiServer, pki: Pki, access: Access
) -> None:
    pki.issue_client(not_after=datetime(2024, 5, 6, 7, 8, tzinfo=timezone.utc))
    server.answers.append(("GET", answer(status, body)))
    shown = Credential(None, ClientCertificate(pki.cert.read_bytes(), pki.key.read_bytes()))
    async with ApiClient(access(FixedCredentials(shown, "the client certificate of user u"))) as api:
        said = await failed(api.list_all(NODES))
    message = said.message
    assert said.reason == "Unauthorized"
    assert "the client certificate of user u" in message
    assert message.endswith("the certificate expired on 2024-05-06 07:08 UTC, get a new one")


async def test_a_certificate_that_is_none_is_an_error_of_one_line(access: Access) -> None:
    async with ApiClient(access(FixedCredentials(Credential(None, ClientCertificate(b"x", b"y")), "it"))) as api:
        said = await failed(api.list_all(NODES))
    assert said.message.startswith("context c of /k: the client certificate or its key cannot be used")


# -- whom we trust


async def test_a_server_of_an_unknown_authority_is_not_trusted(server: FakeApiServer, access: Access) -> None:
    async with ApiClient(access(authority=None)) as api:
        said = await failed(api.post_pod("default", BODY))
    assert "is not trusted: " in said.message
    assert said.message.endswith("context c of /k has to name the cluster's certificate-authority")
    assert (said.status, said.reason, said.certain) == (0, "CertificateInvalid", True)
    assert server.requests == []


async def test_a_certificate_for_another_host_is_not_trusted_unless_its_name_is_given(pki: Pki, access: Access) -> None:
    fake = await FakeApiServer(pki.server("kubernetes.default")).start()
    async with ApiClient(access(server=fake.url)) as api:
        assert "give the name that it is for as tls-server-name" in (await failed(api.list_all(NODES))).message
    async with ApiClient(access(server=fake.url, server_name="kubernetes.default")) as api:
        assert (await api.list_all(NODES)).items == ()
    await fake.stop()


async def test_an_expired_certificate_of_the_server_is_named(pki: Pki, access: Access) -> None:
    expired = datetime.now(timezone.utc) - timedelta(days=1)
    fake = await FakeApiServer(pki.server("127.0.0.1", not_after=expired)).start()
    async with ApiClient(access(server=fake.url)) as api:
        assert (
            "certificate has expired; the cluster's administrator has to renew it"
            in (await failed(api.list_all(NODES))).message
        )
    await fake.stop()


async def test_an_authority_that_is_replaced_is_trusted_at_the_next_request(
    server: FakeApiServer, pki: Pki, access: Access
) -> None:
    right, authority = pki.ca.read_text(), [""]
    pki.ca.write_text(Pki(pki.ca.parent).ca.read_text())
    authority[0] = pki.ca.read_text()
    async with ApiClient(access(authority=lambda: authority[0])) as api:
        await failed(api.list_all(NODES))
        authority[0] = right
        await api.list_all(NODES)


async def other_authority(server: FakeApiServer, folder: Path) -> Pki:
    """`server` has a certificate of it from now on, at the same address."""
    other = Pki(folder)
    await server.stop()
    server._tls = other.server("127.0.0.1")
    await server.start()
    return other


# Python 3.10 takes a TLS transport for unclosed when its peer ends.
@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
async def test_authorities_renewed_alone_are_trusted_at_the_first_request(
    server: FakeApiServer, access: Access, tmp_path: Path
) -> None:
    """And the former ones are not trusted any more, though token and certificate are the same."""
    held = access()
    async with ApiClient(held) as api:
        await api.list_all(NODES)
        other = await other_authority(server, tmp_path)
        held.renew(access(authority=other.ca.read_text))
        await api.list_all(NODES)
        held.renew(access())
        assert (await failed(api.list_all(NODES))).reason == "CertificateInvalid"


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
async def test_an_authority_in_a_file_that_was_replaced_fails_no_request(
    server: FakeApiServer, pki: Pki, access: Access, tmp_path: Path
) -> None:
    async with ApiClient(access()) as api:
        await api.list_all(NODES)
        other = await other_authority(server, tmp_path)
        pki.ca.write_bytes(other.ca.read_bytes())
        await api.post_pod("default", BODY)
    assert [request for request in server.requests if request.startswith("POST")] == [
        "POST /api/v1/namespaces/default/pods"
    ]


async def test_an_authority_in_a_file_is_read_each_minute(pki: Pki, access: Access) -> None:
    """What was read last holds on while the file is just being replaced."""
    now = [0.0]
    held = access(clock=lambda: now[0])
    first = held.trusted()
    for unfinished in ("", "-----BEGIN CERTIFICATE-----\nMII"):
        pki.ca.write_text(unfinished)
        now[0] += REREAD
        assert held.trusted() == first
    Pki(pki.ca.parent)
    now[0] += REREAD - 1
    assert held.trusted() == first
    now[0] += 1
    assert held.trusted() == pki.ca.read_text() != first


async def test_an_empty_file_of_authorities_is_an_error(access: Access) -> None:
    """To OpenSSL it would be as good as none, and all that the system trusts."""
    async with ApiClient(access(authority=lambda: "\n")) as api:
        said = await failed(api.list_all(NODES))
    assert said.message == "context c of /k: the certificate authority is not valid PEM: it is empty"


# -- no answer


async def test_nobody_listens(server: FakeApiServer, access: Access) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with ApiClient(access(server=f"https://127.0.0.1:{port}")) as api:
        said = await failed(api.post_pod("default", BODY))
    assert said == ApiFailure(
        0, "Unreachable", f"cannot connect to https://127.0.0.1:{port}: Connection refused", certain=True
    )


async def test_a_connection_that_is_not_made_in_time(access: Access) -> None:
    """The text of aiohttp has the path, by which the reason would be another at each try."""
    error = aiohttp.ConnectionTimeoutError("Connection timeout to host https://h/api/v1/pods?watch=true")
    assert unanswered(error, access(server="https://h")) == ApiFailure(
        0, "Unreachable", "cannot connect to https://h: no answer in time", certain=True
    )


async def test_a_host_that_does_not_exist(access: Access) -> None:
    async with ApiClient(access(server="https://no-such-host.invalid:6443")) as api:
        said = await failed(api.list_all(NODES))
    assert said.message.startswith("cannot connect to https://no-such-host.invalid:6443: ")
    assert said.certain


# Python 3.10 takes a TLS transport for unclosed when its peer ends the handshake, or cuts it.
@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
async def test_a_request_without_an_answer_may_have_been_done(server: FakeApiServer, api: ApiClient) -> None:
    def cut(request: Any) -> Any:
        request.transport.abort()
        raise asyncio.CancelledError

    server.answers.append(("POST", cut))
    said = await failed(api.post_pod("default", BODY))
    assert (said.status, said.reason, said.certain) == (0, "ConnectionBroke", False)


@pytest.mark.parametrize("name", ODD_ANSWERS)
async def test_whatever_is_at_the_address_is_one_line(access: Access, name: str) -> None:
    async with OddServer(ODD_ANSWERS[name]) as odd, ApiClient(access(server=f"http://{odd.address}")) as api:
        said = await failed(api.post_pod("default", BODY))
    assert said.message


@pytest.mark.parametrize("closing", ["before", "during"])
async def test_a_closed_client_says_so(server: FakeApiServer, api: ApiClient, closing: str) -> None:
    if closing == "during":
        await api.list_all(NODES)
    await api.close()
    assert (await failed(api.list_all(NODES))).message == "the client is closed"


async def test_the_proxy_is_asked(server: FakeApiServer, access: Access) -> None:
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 403 Not you\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(proxy, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with ApiClient(access(proxy=f"http://127.0.0.1:{port}")) as api:
        said = await failed(api.list_all(NODES))
    listening.close()
    await listening.wait_closed()
    assert asked[0].startswith(b"CONNECT 127.0.0.1:")
    assert said.message == f"the proxy to {server.url} answers 403: Not you"
