"""Memory: how much is used, and the gate that lets no run start when it is short."""

import ctypes
import gc
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_UNLIMITED_BYTES = 2**60  # cgroup v1 writes "no limit" as a number near 2**63
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_RAMP_SECONDS = 0.2
_RECOVERY_SECONDS = 5.0
_FADE_SECONDS = 15.0
_ENOUGH_SAMPLES = 20.0
_LEAST_VARIANCE = 0.25
_FORGET_SECONDS = 30.0
_SPREADS = 2.0


@dataclass(frozen=True)
class MemoryBudget:
    """A limit and the way to measure what counts against it.

    Attributes:
        limit_bytes: Where the kernel or the user draws the line.
        used_bytes: Measures now; None when it cannot be measured.
    """

    limit_bytes: int
    used_bytes: Callable[[], int | None]


def resident_bytes() -> int | None:
    """Resident memory of this process in bytes; None where there is no /proc."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return None


def cgroup_budget(
    root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> MemoryBudget | None:
    """The limit of the container, from cgroup v2 or v1.

    Held against it is the working set: usage without the page cache that the kernel can take back.

    Args:
        root: Where cgroups are mounted.
        membership: The kernel's list of this process's cgroups.

    Returns:
        None: there is no limit, or it cannot be read.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            mount = root / "memory"
        elif not controllers:
            names = ("memory.max", "memory.current", "inactive_file")
            mount = root
        else:
            continue
        # Inside a container the cgroup is mounted as the root itself, whatever the kernel's list says.
        for directory in (mount / path.lstrip("/"), mount):
            budget = _budget_of(directory, *names)
            if budget is not None:
                return budget
    return None


def _budget_of(directory: Path, limit_name: str, usage_name: str, inactive_name: str) -> MemoryBudget | None:
    limit_bytes = _read_number(directory / limit_name)
    if limit_bytes is None or limit_bytes >= _UNLIMITED_BYTES:
        return None

    def used_bytes() -> int | None:
        usage = _read_number(directory / usage_name)
        if usage is None:
            return None
        try:
            stat = dict(line.split() for line in (directory / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            stat = {}
        return max(0, usage - int(stat.get(inactive_name, 0)))

    return MemoryBudget(limit_bytes, used_bytes)


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # v2 writes "max" for no limit
        return None


def give_back() -> None:
    """Gives memory that nobody uses any more back to the kernel. It takes a while where there are many objects."""
    gc.collect()  # where little runs, little is allocated, and the collector of cycles would not start by itself
    with suppress(AttributeError, OSError, TypeError):  # glibc has it; others need it less
        ctypes.CDLL(None).malloc_trim(0)


class RunLaw:
    """What memory grows by with each run: a line through the measurements of the last seconds, older ones fading.

    Args:
        clock: Seconds of a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = 0.0
        self._n = self._x = self._y = self._xx = self._xy = self._yy = 0.0
        self._per_run = self._above = 0.0

    def observe(self, running: int, used_bytes: int) -> None:
        """One measurement: so many runs, so many bytes."""
        now = self._clock()
        elapsed = now - self._at
        fade = math.exp(-elapsed / _FADE_SECONDS)
        self._at = now
        self._n = self._n * fade + 1
        self._x = self._x * fade + running
        self._y = self._y * fade + used_bytes
        self._xx = self._xx * fade + running * running
        self._xy = self._xy * fade + running * used_bytes
        self._yy = self._yy * fade + used_bytes * used_bytes
        if self._n < _ENOUGH_SAMPLES:
            return
        mean_running, mean_bytes = self._x / self._n, self._y / self._n
        variance = self._xx / self._n - mean_running**2
        if variance >= _LEAST_VARIANCE:
            self._per_run = max(0.0, (self._xy / self._n - mean_running * mean_bytes) / variance)
        else:  # a steady number of runs does not tell, which is no reason to forget at once
            self._per_run *= 0.5 ** (elapsed / _FORGET_SECONDS)
        self._above = max(0.0, used_bytes - self._line(running))

    def _line(self, running: int) -> float:
        return self._y / self._n + self._per_run * (running - self._x / self._n)

    def expected_bytes(self, running: int, used_bytes: int) -> float:
        """What will be used once one more run and all `running` ones have taken what a run takes.

        It is `used_bytes` while the measurements do not tell: too few, or all with the same number of runs.
        """
        if self._n < _ENOUGH_SAMPLES:
            return used_bytes
        # What stood above the line at the last measurement is no run's, and the runs since then come on top of it.
        return max(used_bytes, self._line(running) + self._above) + self._per_run

    def unlikely_bytes(self, running: int) -> float:
        """What one more run beside `running` ones will hardly exceed: the line and twice the spread about it.

        0 while they do not tell.
        """
        if self._n < _ENOUGH_SAMPLES:
            return 0.0
        mean_running, mean_bytes = self._x / self._n, self._y / self._n
        explained = self._per_run**2 * (self._xx / self._n - mean_running**2)
        variance = max(0.0, self._yy / self._n - mean_bytes**2 - explained)
        return self._line(running + 1) + _SPREADS * math.sqrt(variance)


class MemoryGate:
    """Lets no run start that would take memory above the high-water mark.

    A run takes its memory only after it started. So what the runs that go on will still take is counted as taken, as
    far as it is known what a run takes; and where they stray far, twice their spread must fit below the limit. After
    the gate was shut, runs start one at a time for a while: a whole queue let go at once would be past the limit before
    it could be measured.

    Args:
        budget: What is limited; None: the gate is always open.
        high_water_percent: The mark, in percent of the limit.
        clock: Seconds of a clock that never goes back.
    """

    def __init__(
        self, budget: MemoryBudget | None, high_water_percent: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not 1 <= high_water_percent <= 100:
            raise ValueError("high_water_percent must be from 1 to 100")
        self._budget = budget
        self._high_water_percent = high_water_percent
        self._clock = clock
        self._law = RunLaw(clock)
        self._shut_since: float | None = None
        self._recovered_at = -1.0
        self._last_start_at = -1.0

    @property
    def limit_bytes(self) -> int | None:
        """The limit in force; None: no limit is known."""
        return None if self._budget is None else self._budget.limit_bytes

    @property
    def shut_since(self) -> float | None:
        """Since what time of the clock memory is above the mark; None: it is below. As of the last measurement."""
        return self._shut_since

    def measure(self, running: int) -> None:
        """Measures memory while so many runs go on. To be called a few times a second, at any number of runs."""
        used = self._used_bytes()
        if used is not None:
            self._law.observe(running, used)
            self._note(used)

    def may_start(self, running: int) -> bool:
        """Whether one more run may start beside the `running` ones; the caller then starts it.

        What nobody runs beside may always start below the mark: else one odd measurement could stop all work.
        """
        used = self._used_bytes()
        if self._budget is None or used is None:
            return True
        if not self._note(used):
            return False
        now = self._clock()
        if running and self._law.expected_bytes(running, used) > self._mark_bytes():
            return False
        if running and self._law.unlikely_bytes(running) > self._budget.limit_bytes:
            return False
        if now < self._recovered_at and now - self._last_start_at < _RAMP_SECONDS:
            return False
        self._last_start_at = now
        return True

    def _used_bytes(self) -> int | None:
        return None if self._budget is None else self._budget.used_bytes()

    def _mark_bytes(self) -> float:
        assert self._budget is not None
        return self._budget.limit_bytes * self._high_water_percent / 100

    def _note(self, used_bytes: int) -> bool:
        """Notes whether memory is below the mark."""
        now = self._clock()
        if used_bytes > self._mark_bytes():
            if self._shut_since is None:
                self._shut_since = now
            return False
        if self._shut_since is not None:
            self._shut_since = None
            self._recovered_at = now + _RECOVERY_SECONDS
        return True
