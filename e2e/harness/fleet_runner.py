"""One pod's life as the kubelet leads it: mounts, process, probe, memory limit, drain."""

import asyncio
import logging
import os
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from e2e.harness.fleet_api import KubeApi
from e2e.harness.fleet_mount import MissingConfigMapError, Volume, files_of
from e2e.harness.fleet_pod import SETTINGS_PATH, ConfigMapMount, Pod
from e2e.harness.fleet_status import Condition, Exit, status_patch, timestamp
from e2e.harness.process import Process, free_port

REFRESH_SECONDS = 60.0
BACK_OFF_SECONDS = 1.0
_REPORT_SECONDS = 0.25
_PROBE_FAILURES = 3
_SLOWEST_START_SECONDS = 5.0
_ROOT = Path(__file__).parents[2]
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_IN_FLIGHT = re.compile(r"^agent_(?:inflight_requests|queue_depth)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
_UNREACHABLE = (aiohttp.ClientError, TimeoutError, ConnectionError)
_log = logging.getLogger(__name__)


@dataclass
class Host:
    """What the runners of one fleet share: the machine that they run on."""

    api: KubeApi
    directory: Path
    upstream_url: str
    agents: aiohttp.ClientSession
    refresh_seconds: float = REFRESH_SECONDS
    totals: Counter[str] = field(default_factory=Counter)
    # Python starts cost CPU: a few at a time come up sooner than all at once.
    starting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(3))


class Runner:
    """Runs the process of one pod until the pod goes."""

    def __init__(self, pod: Pod, host: Host) -> None:
        self.pod = pod
        self.host = host
        self.port = free_port()
        self.waiting = ""
        self.restarts = 0
        self.oom_kills = 0
        self.last_exit: Exit | None = None
        self._process: Process | None = None
        self._probe_passed = asyncio.Event()
        self._touched = asyncio.Event()
        self._deleted = asyncio.Event()
        self._gone = asyncio.Event()
        self._directory = host.directory / pod.uid
        self._volumes: list[tuple[ConfigMapMount, Volume]] = []
        if pod.deleting:
            self._deleted.set()

    @property
    def pid(self) -> int | None:
        """The process id while the process runs."""
        return self._process.pid if self._process is not None and self._process.alive else None

    @property
    def ready(self) -> bool:
        """Whether it may be routed to: the API says Ready, the process says ready, and the pod stays."""
        return self.pod.ready and not self._deleted.is_set() and self._probe_passed.is_set() and self.pid is not None

    @property
    def rss_bytes(self) -> int:
        """Resident memory of the process, 0 without one."""
        if self.pid is None:
            return 0
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE_BYTES
        except (FileNotFoundError, ProcessLookupError):
            return 0

    def update(self, pod: Pod) -> None:
        """Takes a newer version of the pod."""
        if pod.annotations != self.pod.annotations:
            self._touched.set()
        if pod.deleting:
            self._deleted.set()
        self.pod = pod

    def remove(self) -> None:
        """The pod is no longer in the API: its process ends at once."""
        self._deleted.set()
        self._gone.set()

    def enforce_memory(self) -> None:
        """Kills the process when it is above the container's limit, as a kernel does."""
        limit = self.pod.container.memory_limit_bytes
        if limit is not None and self._process is not None and self.rss_bytes > limit:
            self.oom_kills += 1
            self.host.totals["oom_kills"] += 1
            _log.info("%s is above its memory limit of %d bytes", self.pod.key, limit)
            self._process.signal(signal.SIGKILL)

    async def run(self) -> None:
        """From the first mount to the mark that lets the pod go; a cancelled run takes its process along."""
        helpers = [asyncio.create_task(self._report_forever())]
        try:
            if await self._mount():
                helpers += [asyncio.create_task(self._refresh_forever()), asyncio.create_task(self._probe_forever())]
                await self._keep_running()
                await self._drain()
        finally:
            for helper in helpers:
                helper.cancel()
            if self._process is not None:
                self._process.kill()
            shutil.rmtree(self._directory, ignore_errors=True)
        if not self._gone.is_set():
            await self.host.api.mark_drained(self.pod.namespace, self.pod.name, self.pod.uid)

    async def _report_forever(self) -> None:
        """Mends the status that kwok set where the process is not ready, or was restarted."""
        restarts_reported = 0
        while not self._deleted.is_set():
            now = Condition(
                ready=self._probe_passed.is_set() and self.pid is not None,
                restarts=self.restarts,
                waiting=self.waiting,
                last_exit=self.last_exit,
            )
            if self.pod.running and (now.ready, now.restarts) != (self.pod.ready, restarts_reported):
                await self.host.api.report(self.pod.namespace, self.pod.name, status_patch(self.pod, now))
                restarts_reported = now.restarts
            await _first(_REPORT_SECONDS, self._deleted.wait())

    async def _mount(self) -> bool:
        """Lays out the volumes; False when the pod was deleted before that was possible."""
        self._volumes = [(mount, Volume(self._directory / mount.volume)) for mount in self.pod.mounts]
        while not self._deleted.is_set():
            try:
                for mount, volume in self._volumes:
                    config_map = await self.host.api.config_map(self.pod.namespace, mount.config_map)
                    volume.show(files_of(mount, config_map))
            except MissingConfigMapError as error:
                self.waiting = str(error)
                await _first(BACK_OFF_SECONDS, self._deleted.wait())
            else:
                self.waiting = ""
                return True
        return False

    async def _refresh_forever(self) -> None:
        while True:
            await _first(self.host.refresh_seconds, self._touched.wait())
            self._touched.clear()
            for mount, volume in self._volumes:
                config_map = await self.host.api.config_map(self.pod.namespace, mount.config_map)
                try:
                    self.host.totals["mount_refreshes"] += volume.show(files_of(mount, config_map))
                except MissingConfigMapError as error:
                    _log.info("%s keeps its files: %s", self.pod.key, error)

    async def _keep_running(self) -> None:
        while True:
            async with self.host.starting:
                if self._deleted.is_set():
                    return
                kills = self.oom_kills
                process = self._process = self._new_process()
                await asyncio.to_thread(process.start)
                self.host.totals["started"] += 1
                came = (self._probe_passed.wait(), _exit(process), self._deleted.wait())
                await _first(_SLOWEST_START_SECONDS, *came)
            await _first(None, _exit(process), self._deleted.wait())
            if self._deleted.is_set():
                return
            self._probe_passed.clear()
            self.last_exit = Exit(process.returncode or 0, out_of_memory=self.oom_kills > kills, at=timestamp())
            self.restarts += 1
            self.host.totals["restarts"] += 1
            await _first(BACK_OFF_SECONDS, self._deleted.wait())

    def _new_process(self) -> Process:
        container = self.pod.container
        directories = {mount.path: str(volume.directory) for mount, volume in self._volumes if mount.path}
        variables = container.variables(self._given(directories), directories)
        log = self.host.directory / "logs" / f"{self.pod.namespace}_{self.pod.name}.log"
        return Process(container.argv(variables, directories), log, env=variables, cwd=_ROOT)

    def _given(self, directories: dict[str, str]) -> dict[str, str]:
        settings = Path(directories.get(SETTINGS_PATH, self._directory / "no-settings"))
        settings.mkdir(parents=True, exist_ok=True)
        paths = [str(_ROOT), str(_ROOT / "clients/python/src"), os.environ.get("PYTHONPATH", "")]
        given = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": ":".join(filter(None, paths)),
            "PORT": str(self.port),
            "SETTINGS_DIR": str(settings),
            "AGENTSCALER_SETTINGS_DIR": str(settings),
            "UPSTREAM_URL": self.host.upstream_url,
        }
        if self.pod.container.memory_limit_bytes is not None:
            given["MEMORY_LIMIT_BYTES"] = str(self.pod.container.memory_limit_bytes)
        return given

    async def _probe_forever(self) -> None:
        failures = 0
        url = f"http://127.0.0.1:{self.port}{self.pod.container.readiness_path}"
        while True:
            status = await self._get_status(url) if self.pid is not None else 0
            failures = 0 if status == 200 else failures + 1
            if status == 200 and self.pid is not None:
                self._probe_passed.set()
            elif status or failures >= _PROBE_FAILURES:
                self._probe_passed.clear()
            await asyncio.sleep(1.0 if self._probe_passed.is_set() else 0.2)

    async def _get_status(self, url: str) -> int:
        try:
            async with self.host.agents.get(url) as response:
                return response.status
        except _UNREACHABLE:
            return 0

    async def _drain(self) -> None:
        """SIGTERM, and SIGKILL when the grace period is over; what was still running then is lost."""
        process = self._process
        if process is None:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.pod.grace_seconds
        pre_stop_seconds = min(self.pod.container.pre_stop_seconds, self.pod.grace_seconds)
        await _first(pre_stop_seconds, _exit(process), self._gone.wait())
        process.signal(signal.SIGTERM)
        await _first(deadline - loop.time(), _exit(process), self._gone.wait())
        if process.alive:
            self.host.totals["drain_kills"] += 1
            self.host.totals["lost_runs"] += await self._in_flight()
        elif process.returncode != -signal.SIGKILL:
            self.host.totals["drained"] += 1

    async def _in_flight(self) -> int:
        try:
            async with self.host.agents.get(f"http://127.0.0.1:{self.port}/metrics") as response:
                return int(sum(float(value) for value in _IN_FLIGHT.findall(await response.text())))
        except _UNREACHABLE:
            return 0


async def _exit(process: Process) -> None:
    """Waits for the end of the process; a pidfd tells it without polling."""
    if not process.alive:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    descriptor = os.pidfd_open(process.pid)
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _first(timeout_seconds: float | None, *awaitables: Awaitable[Any]) -> None:
    """Waits until one of them is done or the time is over; ends the others."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        await asyncio.wait(tasks, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
