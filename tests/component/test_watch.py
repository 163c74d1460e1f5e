"""kopf as a watcher on a real API server, its gap, and the resync that closes it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import pwd
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import yaml

from agentscaler.kube.api import KubeApi
from agentscaler.kube.connection import load_configuration
from agentscaler.kube.paths import AGENT_DEPLOYMENTS
from agentscaler.kube.resync import Resync
from agentscaler.kube.store import Store
from agentscaler.kube.watch import Watch
from e2e.harness.cluster import ControlPlane
from e2e.harness.process import PATIENCE_SECONDS, free_port

TEMPLATE = {"spec": {"containers": [{"name": "agent", "image": "agent:1"}]}}


class Line:
    """A TCP line to the API server that can be cut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = free_port()  # below those of outgoing connections: it is still free after a cut

    async def join(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, far_writer}

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            sink.transport.abort()

        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        self._writers -= {writer, far_writer}


def through(line: Line, cluster: ControlPlane, directory: Path) -> str:
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{line.port}"
    path = directory / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return str(path)


@asynccontextmanager
async def watching(store: Store, api: KubeApi, namespace: str) -> AsyncIterator[None]:
    stop = asyncio.Event()

    def keep_signals() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)

    running = asyncio.create_task(Watch(store, api.configuration, [namespace]).run(stop, keep_signals))
    try:
        yield
    finally:
        stop.set()
        await running


def agent(namespace: str, name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {
        "apiVersion": "agentscaler.dev/v1alpha1",
        "kind": "AgentDeployment",
        "metadata": metadata,
        "spec": {"template": TEMPLATE},
    }


def names(store: Store) -> set[str]:
    return {record.name for record in store.snapshot()}


async def until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"never saw {what}"
        await asyncio.sleep(0.05)


async def in_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(work)


@pytest.fixture
async def api(cluster: ControlPlane) -> AsyncIterator[KubeApi]:
    api = KubeApi(load_configuration(str(cluster.kubeconfig)))
    yield api
    api.close()


async def test_what_happens_to_objects_reaches_the_store_and_nothing_is_written(
    cluster: ControlPlane, api: KubeApi, namespace: str
) -> None:
    store = Store()
    path = AGENT_DEPLOYMENTS.path(namespace)
    await api.create(path, agent(namespace, "before"), field_manager="test")
    async with watching(store, api, namespace):
        await until(lambda: names(store) == {"before"}, "the object that was there")
        made = await api.create(path, agent(namespace, "after"), field_manager="test")
        await until(lambda: names(store) == {"before", "after"}, "the new object")
        uid = made["metadata"]["uid"]
        await api.patch(f"{path}/after", {"spec": {"replicas": 4}}, field_manager="test")
        await until(lambda: (r := store.get(uid)) is not None and r.spec_raw.get("replicas") == 4, "the change")
        await api.delete(f"{path}/before")
        await until(lambda: names(store) == {"after"}, "the deletion")
    live = cluster.get(f"{path}/after")
    assert "finalizers" not in live["metadata"]
    assert "annotations" not in live["metadata"]
    assert {entry["manager"] for entry in live["metadata"]["managedFields"]} == {"test"}


async def test_a_numeric_user_that_has_no_name_can_watch(
    api: KubeApi, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", nobody)  # to be such a user in truth takes root
    for variable in ("POD_ID", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    store = Store()
    await api.create(AGENT_DEPLOYMENTS.path(namespace), agent(namespace, "seen"), field_manager="test")
    async with watching(store, api, namespace):
        await until(lambda: names(store) == {"seen"}, "the object")


async def test_objects_deleted_in_a_watch_gap_are_gone_after_one_resync(
    cluster: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    line = Line(urlsplit(cluster.url).port or 443)
    await line.join()
    api = KubeApi(load_configuration(through(line, cluster, tmp_path)))
    store = Store()
    dropped: list[int] = []
    resync = Resync(api, store, [namespace], done=dropped.append)
    path = AGENT_DEPLOYMENTS.path(namespace)
    doomed = [f"doomed-{number}" for number in range(3)]
    for name in ("kept", *doomed):
        await in_thread(partial(cluster.apply, agent(namespace, name)))
    try:
        await resync.first()
        assert names(store) == {"kept", *doomed}
        async with watching(store, api, namespace):
            await in_thread(lambda: cluster.apply(agent(namespace, "seen")))
            await until(lambda: "seen" in names(store), "that the watch works")
            await line.cut()
            for name in doomed:
                cluster.request("DELETE", f"{path}/{name}").raise_for_status()
            cluster.apply(agent(namespace, "born"))
            await in_thread(lambda: forget_history(cluster))
            await line.join()
            await until(lambda: "born" in names(store), "the watch after the gap")
            ghosts = names(store) & set(doomed)
            await resync.once()
            assert names(store) == {"kept", "seen", "born"}
    finally:
        await line.cut()
        api.close()
    assert ghosts == set(doomed), "without a gap this test would prove nothing"
    assert dropped == [0, len(doomed)]


def forget_history(cluster: ControlPlane) -> None:
    """Compact etcd and restart the API server: a watch from before is answered by 410."""
    etcd = next(argument for argument in cluster.etcd.argv if argument.startswith("--listen-client-urls="))
    url = etcd.partition("=")[2]
    key = base64.b64encode(b"x").decode()
    revision = requests.post(f"{url}/v3/kv/range", json={"key": key}, timeout=30).json()["header"]["revision"]
    requests.post(f"{url}/v3/kv/compaction", json={"revision": revision, "physical": True}, timeout=30)
    cluster.apiserver.kill()
    cluster.apiserver.start()
    cluster.wait_ready()


async def test_the_first_resync_waits_for_an_api_server_that_is_away(
    cluster: ControlPlane, api: KubeApi, namespace: str
) -> None:
    cluster.apply(agent(namespace, "one"))
    store = Store()
    resync = Resync(api, store, [namespace])
    cluster.apiserver.kill()
    waiting = asyncio.create_task(resync.first())
    try:
        await until(lambda: "refused" in resync.failure, "a failed attempt")
        assert not store.synced
    finally:
        cluster.apiserver.start()
        await in_thread(cluster.wait_ready)
    await waiting
    assert names(store) == {"one"}
    assert resync.failure == ""
