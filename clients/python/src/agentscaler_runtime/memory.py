"""Memory: how much is used, and the gate that lets no run start when it is short."""

import ctypes
import gc
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


class MemoryGate:
    """Lets no run start above the high-water mark.

    A run takes its memory only after it started. So after the gate was shut, runs start one at a time for a while: a
    whole queue let go at once would be past the limit before it could be measured.

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
        self._shut_since: float | None = None
        self._recovered_at = -1.0
        self._last_start_at = -1.0

    @property
    def limit_bytes(self) -> int | None:
        """The limit in force; None: no limit is known."""
        return None if self._budget is None else self._budget.limit_bytes

    @property
    def shut_since(self) -> float | None:
        """Since what time of the clock the gate is shut; None: it is open. As of the last `measure` or `may_start`."""
        return self._shut_since

    def measure(self) -> bool:
        """Measures memory; whether it is below the mark."""
        used = None if self._budget is None else self._budget.used_bytes()
        now = self._clock()
        if (
            self._budget is not None
            and used is not None
            and used * 100 > self._budget.limit_bytes * self._high_water_percent
        ):
            if self._shut_since is None:
                self._shut_since = now
            return False
        if self._shut_since is not None:
            self._shut_since = None
            self._recovered_at = now + _RECOVERY_SECONDS
        return True

    def may_start(self) -> bool:
        """Whether a run may start now; the caller then starts it."""
        if not self.measure():
            return False
        now = self._clock()
        if now < self._recovered_at and now - self._last_start_at < _RAMP_SECONDS:
            return False
        self._last_start_at = now
        return True
