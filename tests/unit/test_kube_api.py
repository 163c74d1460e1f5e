"""The face of the API server against a server that can be made to answer anything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from kubernetes import client

from agentscaler.kube.api import APPLY, KubeApi
from agentscaler.kube.bucket import TokenBucket
from agentscaler.kube.errors import (
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    KubeError,
    NotFound,
    Refused,
    Throttled,
    Unauthorized,
    Unavailable,
)
from agentscaler.kube.memo import problem_of
from agentscaler.kube.paths import AGENT_DEPLOYMENTS, CONFIG_MAPS, DEPLOYMENTS, PODS, access

Answer = Callable[[web.Request], web.StreamResponse]


@dataclass
class Server:
    """Answers what a test tells it to, and remembers what it was asked."""

    answer: Answer = lambda _: web.json_response({})
    asked: list[tuple[str, str, dict[str, str], str, Any]] = field(default_factory=list)
    delay_seconds: float = 0.0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        content_type = request.headers.get("Content-Type", "")
        body = json.loads(text) if text else None
        self.asked.append((request.method, request.path, dict(request.query), content_type, body))
        await asyncio.sleep(self.delay_seconds)
        return self.answer(request)


@asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[tuple[Server, KubeApi]]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    api = KubeApi(client.Configuration(host=f"http://{host}:{port}"), **limits)
    try:
        yield server, api
    finally:
        await asyncio.to_thread(api.close)
        await runner.cleanup()


def status(code: int, message: str = "no", reason: str = "", headers: Any = None, **details: Any) -> Answer:
    body = {"kind": "Status", "status": "Failure", "message": message, "reason": reason, "details": details}
    return lambda _: web.json_response(body, status=code, headers=headers)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, Invalid),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (410, Gone),
        (418, KubeError),
        (422, Invalid),
        (429, Throttled),
        (500, Unavailable),
        (503, Unavailable),
        (504, Unavailable),
    ],
)
async def test_each_status_is_an_error_of_its_own(code: int, kind: type[KubeError]) -> None:
    async with serving() as (server, api):
        server.answer = status(code)
        with pytest.raises(KubeError) as raised:
            await api.get(DEPLOYMENTS.path("agents", "x"))
        assert (type(raised.value), raised.value.status) == (kind, code)
        assert len(server.asked) == 1, "reads are not repeated"
        assert api.failures == {kind.__name__: 1}


async def test_forbidden_names_the_missing_rule() -> None:
    async with serving() as (server, api):
        server.answer = status(403)
        with pytest.raises(Forbidden) as raised:
            await api.patch(DEPLOYMENTS.path("agents", "x", "scale"), {}, field_manager="m")
        error = raised.value
        assert (error.verb, error.resource, error.namespace) == ("patch", "deployments/scale.apps", "agents")
        assert 'apiGroups ["apps"], resources ["deployments/scale"], verbs ["patch"]' in str(error)
        with pytest.raises(Forbidden, match="list pods in the whole cluster; add to a ClusterRole"):
            await api.list(PODS.path())


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ('pods is forbidden: User "u" cannot list resource "pods" in API group ""', Forbidden),
        ('deployments.apps "x" is forbidden: exceeded quota: small, requested: count/deployments.apps=1', Refused),
        ('events "x" is forbidden: unable to create new content because namespace a is being terminated', Refused),
    ],
)
async def test_a_quota_and_a_namespace_that_ends_are_no_missing_permission(message: str, kind: type[KubeError]) -> None:
    async with serving() as (server, api):
        server.answer = status(403, message, "Forbidden")
        with pytest.raises(KubeError) as raised:
            await api.create(DEPLOYMENTS.path("agents"), {}, field_manager="m")
        assert type(raised.value) is kind
        assert ("add to a Role" in str(raised.value)) == (kind is Forbidden)
        assert (message in str(raised.value)) == (kind is Refused)
        assert bool(api.denied) == (kind is Forbidden)
        assert problem_of(raised.value).message == str(raised.value)


async def test_invalid_names_the_fields() -> None:
    async with serving() as (server, api):
        server.answer = status(422, causes=[{"field": "spec.template", "message": "Required value"}])
        with pytest.raises(Invalid) as raised:
            await api.create(DEPLOYMENTS.path("agents"), {}, field_manager="m")
        assert raised.value.causes == (("spec.template", "Required value"),)


async def test_a_malformed_apply_is_invalid_and_not_an_outage() -> None:
    async with serving() as (server, api):
        server.answer = status(500, "failed to create typed patch object (a/b): .spec.x: field not declared in schema")
        with pytest.raises(Invalid):
            await api.patch(DEPLOYMENTS.path("a", "b"), {}, field_manager="m", content_type=APPLY)
        assert len(server.asked) == 1


async def test_a_taken_name_is_told_from_a_changed_object() -> None:
    async with serving() as (server, api):
        for reason, exists in (("AlreadyExists", True), ("Conflict", False)):
            server.answer = status(409, reason=reason)
            with pytest.raises(Conflict) as raised:
                await api.create(CONFIG_MAPS.path("agents"), {}, field_manager="m")
            assert raised.value.exists is exists


async def test_a_slow_answer_is_given_up_and_a_write_of_unknown_fate_is_not_repeated() -> None:
    async with serving(timeout_seconds=(0.2, 0.2)) as (server, api):
        server.delay_seconds = 0.6
        with pytest.raises(Unavailable, match="timed out") as raised:
            await api.patch(DEPLOYMENTS.path("a", "b"), {}, field_manager="m")
        assert (raised.value.status, len(server.asked)) == (0, 1)


async def test_a_write_that_the_server_gave_up_waiting_for_is_not_repeated() -> None:
    async with serving() as (server, api):
        server.answer = status(504, "Timeout: request did not complete within the allotted timeout")
        with pytest.raises(Unavailable):
            await api.patch(DEPLOYMENTS.path("a", "b"), {}, field_manager="m")
        assert len(server.asked) == 1


async def test_no_connection_is_unavailable_and_says_so_in_constant_words() -> None:
    api = KubeApi(client.Configuration(host="http://127.0.0.1:9"))
    messages = set()
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"cannot get deployments\.apps in namespace a: .*refused") as raised:
            await api.get(DEPLOYMENTS.path("a", "b"))
        messages.add(str(raised.value))
    assert len(messages) == 1
    api.close()


@pytest.mark.parametrize("text", ["<html>", "[1]", ""])
async def test_garbage_is_unavailable(text: str) -> None:
    async with serving() as (server, api):
        server.answer = lambda _: web.Response(text=text)
        with pytest.raises(Unavailable, match="the answer is not"):
            await api.get("/version")


async def test_writes_are_repeated_while_the_server_asks_for_patience() -> None:
    async with serving() as (server, api):
        answers = iter((status(429, headers={"Retry-After": "0"}), status(503)))

        def improving(request: web.Request) -> web.StreamResponse:
            answer = next(answers, None)
            return answer(request) if answer else web.json_response({"ok": True})

        server.answer = improving
        assert await api.patch(CONFIG_MAPS.path("a", "b"), {"x": 1}, field_manager="m") == {"ok": True}
        assert [asked[4] for asked in server.asked] == [{"x": 1}] * 3


async def test_patience_ends() -> None:
    async with serving() as (server, api):
        server.answer = status(429, headers={"Retry-After": "0"})
        with pytest.raises(Throttled):
            await api.delete(CONFIG_MAPS.path("a", "b"))
        assert len(server.asked) == 3
        server.answer = status(429, headers={"Retry-After": "3600"})
        with pytest.raises(Throttled) as raised:
            await api.delete(CONFIG_MAPS.path("a", "b"))
        assert (raised.value.retry_after_seconds, len(server.asked)) == (3600, 4)


async def test_a_list_is_read_page_by_page_and_begun_anew_when_it_expires() -> None:
    pages = {
        "": {"items": [{"n": 1}, {"n": 2}], "metadata": {"resourceVersion": "7", "continue": "next"}},
        "next": {"items": [{"n": 3}], "metadata": {"resourceVersion": "7"}},
    }
    async with serving() as (server, api):
        server.answer = lambda request: web.json_response(pages[request.query.get("continue", "")])
        listing = await api.list(PODS.path("a"), limit=2, label_selector="x=y", keep=lambda item: item["n"])
        assert (listing, listing.list_version) == ([1, 2, 3], "7")
        assert [asked[2] for asked in server.asked] == [
            {"limit": "2", "labelSelector": "x=y", "resourceVersion": "0"},
            {"limit": "2", "labelSelector": "x=y", "continue": "next"},
        ]

        whole = {"items": [{"n": 9}], "metadata": {"resourceVersion": "8"}}

        def expiring(request: web.Request) -> web.StreamResponse:
            if "continue" in request.query:
                return status(410)(request)
            return web.json_response(pages[""] if "limit" in request.query else whole)

        server.answer = expiring
        assert await api.list(PODS.path("a")) == [{"n": 9}]


async def test_a_write_says_what_it_means() -> None:
    async with serving() as (server, api):
        path = DEPLOYMENTS.path("a", "b")
        await api.patch(path, {"kind": "Deployment"}, field_manager="m", content_type=APPLY, force=True, strict=True)
        await api.delete(path, uid="u")
        await api.create(DEPLOYMENTS.path("a"), {"x": 1}, field_manager="m", dry_run=True)
        assert server.asked[0][2:] == (
            {"fieldManager": "m", "fieldValidation": "Strict", "force": "true"},
            "application/apply-patch+yaml",
            {"kind": "Deployment"},
        )
        assert server.asked[1][4]["preconditions"] == {"uid": "u"}
        assert server.asked[2][2] == {"fieldManager": "m", "dryRun": "All"}
        assert api.requests == {
            ("patch", "deployments.apps"): 1,
            ("delete", "deployments.apps"): 1,
            ("create", "deployments.apps"): 1,
        }


def test_the_bucket_lets_a_burst_through_and_then_keeps_the_pace() -> None:
    now = 0.0
    bucket = TokenBucket(10, 5, clock=lambda: now)
    assert [bucket.wait_seconds() for _ in range(7)] == pytest.approx([0, 0, 0, 0, 0, 0.1, 0.2])
    now = 100.0
    assert [bucket.wait_seconds() for _ in range(6)] == pytest.approx([0, 0, 0, 0, 0, 0.1])
    bucket.pause(3)
    assert bucket.wait_seconds() == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", AGENT_DEPLOYMENTS.path(), "list agentdeployments.agentscaler.dev in the whole cluster"),
        ("GET", CONFIG_MAPS.path("a"), "list configmaps in namespace a"),
        ("GET", CONFIG_MAPS.path("a", "b"), "get configmaps in namespace a"),
        ("POST", PODS.path("a", "b", "eviction"), "create pods/eviction in namespace a"),
        ("GET", "/api/v1/namespaces/a", "get namespaces in the whole cluster"),
        ("GET", "/version", "get /version in the whole cluster"),
    ],
)
def test_a_request_is_named_as_rbac_names_it(method: str, path: str, words: str) -> None:
    assert str(access(method, path)) == words
