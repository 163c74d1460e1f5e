from pathlib import Path

import pytest

from agentscaler_runtime.memory import MemoryBudget, MemoryGate, cgroup_budget, resident_bytes
from clients.python.tests.support import Clock

V1_UNLIMITED = "9223372036854771712"


def write(directory: Path, **files: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name.replace("__", ".")).write_text(content)


def test_resident_memory_follows_what_is_held() -> None:
    before = resident_bytes()
    assert before is not None
    block = bytearray(b"x" * 40_000_000)
    after = resident_bytes()
    assert after is not None
    assert 30_000_000 < after - before < 60_000_000
    del block


@pytest.mark.parametrize("inside_container", [True, False])
def test_a_cgroup_v2_limit_is_found(tmp_path: Path, inside_container: bool) -> None:
    own = tmp_path if inside_container else tmp_path / "pod" / "agent"
    write(
        own,
        memory__max="1000000\n",
        memory__current="700000\n",
        memory__stat="anon 400000\ninactive_file 200000\nactive_file 100000\n",
    )
    write(tmp_path / "proc", cgroup="0::/pod/agent\n")
    budget = cgroup_budget(tmp_path, tmp_path / "proc" / "cgroup")
    assert budget is not None
    assert (budget.limit_bytes, budget.used_bytes()) == (1_000_000, 500_000)


@pytest.mark.parametrize("inside_container", [True, False])
def test_a_cgroup_v1_limit_is_found(tmp_path: Path, inside_container: bool) -> None:
    own = tmp_path / "memory" if inside_container else tmp_path / "memory" / "pod"
    write(
        own,
        memory__limit_in_bytes="1000000",
        memory__usage_in_bytes="700000",
        memory__stat="inactive_file 1\ntotal_inactive_file 300000\n",
    )
    write(tmp_path / "proc", cgroup="5:cpu,cpuacct:/pod\n4:memory:/pod\n0::/\n")
    budget = cgroup_budget(tmp_path, tmp_path / "proc" / "cgroup")
    assert budget is not None
    assert (budget.limit_bytes, budget.used_bytes()) == (1_000_000, 400_000)


def test_no_limit_is_no_budget(tmp_path: Path) -> None:
    write(tmp_path / "memory", memory__limit_in_bytes=V1_UNLIMITED)
    write(tmp_path, memory__max="max\n", cgroup="4:memory:/\n0::/\n")
    assert cgroup_budget(tmp_path, tmp_path / "cgroup") is None
    assert cgroup_budget(tmp_path, tmp_path / "nowhere") is None


def test_the_gate_shuts_above_the_mark_and_says_since_when() -> None:
    clock, used = Clock(), [900]
    gate = MemoryGate(MemoryBudget(1000, lambda: used[0]), 90, clock=clock)
    assert gate.may_start(0)
    used[0] = 901
    assert not gate.may_start(0)
    shut_at = clock.now
    clock.now += 7
    assert not gate.may_start(0)
    assert gate.shut_since == shut_at
    used[0] = 800
    assert gate.may_start(0)
    assert gate.shut_since is None


def test_after_it_was_shut_runs_start_one_by_one_for_a_while() -> None:
    clock, used = Clock(), [950]
    gate = MemoryGate(MemoryBudget(1000, lambda: used[0]), 90, clock=clock)
    assert not gate.may_start(0)
    used[0] = 500
    assert [gate.may_start(0) for _ in range(3)] == [True, False, False]
    clock.now += 0.25
    assert [gate.may_start(0) for _ in range(3)] == [True, False, False]
    clock.now += 5
    assert [gate.may_start(0) for _ in range(3)] == [True] * 3


def test_without_a_budget_or_a_measurement_the_gate_is_open() -> None:
    assert MemoryGate(None, 90).may_start(0)
    assert MemoryGate(MemoryBudget(1, lambda: None), 90).may_start(0)
    with pytest.raises(ValueError, match="high_water_percent"):
        MemoryGate(None, 0)


def learned(gate: MemoryGate, clock: Clock, used: list[int], base: int, per_run: int) -> None:
    """Lets the gate see some seconds of work between two and four runs."""
    for step in range(40):
        running = 2 + step % 3
        used[0] = base + per_run * running
        clock.now += 0.25
        gate.measure(running)


def test_what_a_run_will_take_is_counted_before_it_is_taken() -> None:
    clock, used = Clock(), [0]
    gate = MemoryGate(MemoryBudget(1000, lambda: used[0]), 90, clock=clock)
    learned(gate, clock, used, base=100, per_run=100)
    used[0] = 300  # two runs, and each further one takes its 100 only after all have started
    assert [gate.may_start(running) for running in range(2, 9)] == [True] * 6 + [False]
    assert gate.shut_since is None
    used[0] = 850  # something else holds memory: what is really used counts
    assert not gate.may_start(2)


def test_the_law_of_a_run_is_forgotten_when_runs_become_smaller() -> None:
    clock, used = Clock(), [0]
    gate = MemoryGate(MemoryBudget(1000, lambda: used[0]), 90, clock=clock)
    learned(gate, clock, used, base=100, per_run=200)
    assert not gate.may_start(4)
    for _ in range(6):
        learned(gate, clock, used, base=100, per_run=20)
    assert gate.may_start(4)
    assert gate.may_start(20)


def test_a_run_that_is_alone_starts_whatever_the_law_says() -> None:
    clock, used = Clock(), [0]
    gate = MemoryGate(MemoryBudget(1000, lambda: used[0]), 90, clock=clock)
    learned(gate, clock, used, base=100, per_run=240)
    used[0] = 890
    assert gate.may_start(0)
    assert not gate.may_start(1)


def test_where_runs_differ_much_the_gate_leaves_room_for_twice_their_spread() -> None:
    clock, used = Clock(), [0]
    gate = MemoryGate(MemoryBudget(1000, lambda: used[0]), 90, clock=clock)
    for step in range(80):
        running = 2 + step % 3
        used[0] = 100 + 100 * running + (100 if step % 2 else -100)
        clock.now += 0.25
        gate.measure(running)
    used[0] = 300
    assert [gate.may_start(running) for running in range(2, 8)] == [True] * 4 + [False] * 2  # an even law lets 7 run
