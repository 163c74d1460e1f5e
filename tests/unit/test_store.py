from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentscaler.kube.store import Store, unix_seconds

TEMPLATE = {"spec": {"containers": [{"name": "agent", "image": "agent:1"}]}}


def body(
    uid: str, version: int, generation: int = 1, spec: dict[str, Any] | None = None, **status: Any
) -> dict[str, Any]:
    return {
        "metadata": {
            "uid": uid,
            "name": f"name-{uid}",
            "namespace": "agents",
            "generation": generation,
            "resourceVersion": str(version),
            "creationTimestamp": "2026-11-21T08:00:00Z",
        },
        "spec": {"template": TEMPLATE} if spec is None else spec,
        "status": status,
    }


def versions(store: Store) -> dict[str, str]:
    return {record.uid: record.resource_version for record in store.snapshot()}


def test_an_older_event_changes_nothing() -> None:
    store = Store()
    store.put(body("a", 10, observed=2))
    store.put(body("a", 9, observed=1))
    record = store.get("a")
    assert record is not None
    assert (record.resource_version, record.status) == ("10", {"observed": 2})


def test_versions_are_compared_as_numbers() -> None:
    store = Store()
    store.put(body("a", 99))
    store.put(body("a", 100))
    assert versions(store) == {"a": "100"}


def test_the_answer_to_our_own_write_is_ahead_of_the_watch() -> None:
    store = Store()
    store.put(body("a", 1))
    store.patched("a", body("a", 5, observed=5))
    store.put(body("a", 3, observed=3))
    record = store.get("a")
    assert record is not None
    assert record.status == {"observed": 5}


def test_an_answer_for_another_object_or_one_that_is_gone_is_dropped() -> None:
    store = Store()
    store.put(body("a", 1))
    store.patched("a", body("b", 5))
    store.delete("a")
    store.patched("a", body("a", 6))
    assert versions(store) == {}


def test_what_was_deleted_stays_deleted_whatever_comes_late() -> None:
    store = Store()
    store.put(body("a", 1))
    store.delete("a")
    store.put(body("a", 2))
    store.resync([body("a", 1)], "1")
    assert versions(store) == {}


def test_a_resync_adds_replaces_and_drops_ghosts() -> None:
    store = Store()
    before = store.synced
    store.put(body("ghost", 1))
    store.put(body("stale", 2))
    assert store.resync([body("stale", 4), body("new", 5)], "6") == 1
    assert (before, store.synced) == (False, True)
    assert versions(store) == {"stale": "4", "new": "5"}


def test_a_resync_keeps_what_came_after_its_list_was_read() -> None:
    store = Store()
    store.put(body("late", 9))
    store.put(body("a", 8, observed=8))
    assert store.resync([body("a", 3, observed=3)], "7") == 0
    assert versions(store) == {"a": "8", "late": "9"}


def test_a_spec_that_does_not_parse_keeps_its_place() -> None:
    store = Store()
    store.put(body("a", 1, spec={"replicas": "many"}))
    record = store.get("a")
    assert record is not None
    assert record.spec is None
    assert "replicas" in record.invalid
    store.put(body("a", 2, generation=2))
    mended = store.get("a")
    assert mended is not None
    assert mended.spec is not None
    assert mended.invalid == ""


def test_a_spec_is_parsed_once_for_each_generation() -> None:
    store = Store()
    store.put(body("a", 1))
    first = store.get("a")
    store.put(body("a", 2, observed=1))
    second = store.get("a")
    assert first is not None
    assert second is not None
    assert second.spec is first.spec


def test_a_record_knows_its_target() -> None:
    store = Store()
    store.put(body("a", 1))
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs"}
    store.put(body("b", 2, spec={"scaleTargetRef": reference}))
    own, adopted = store.snapshot()
    assert (own.target_name, own.adopts) == ("name-a", False)
    assert (adopted.target_name, adopted.adopts) == ("theirs", True)
    assert own.created_at == unix_seconds("2026-11-21T08:00:00+00:00")
    assert store.find("agents", "name-b") == adopted
    assert store.find("other", "name-b") is None


@given(st.data())
def test_whatever_events_are_lost_doubled_or_late_a_resync_makes_the_store_equal_to_the_list(
    data: st.DataObject,
) -> None:
    """A world of objects that come, change and go; the watch shows any part of it in any order, some of it too late."""
    history: list[tuple[str, dict[str, Any]]] = []
    world: dict[str, dict[str, Any]] = {}
    for version in range(1, data.draw(st.integers(1, 25)) + 1):
        uid = data.draw(st.sampled_from("abcdef"))
        gone = any(kind == "DELETED" and known["metadata"]["uid"] == uid for kind, known in history)
        if gone:
            continue
        if uid in world and data.draw(st.booleans()):
            history.append(("DELETED", world.pop(uid)))
        else:
            world[uid] = body(uid, version)
            history.append(("MODIFIED", world[uid]))
    store = Store()
    for kind, known in data.draw(st.lists(st.sampled_from(history), max_size=40)):
        if kind == "DELETED":
            store.delete(known["metadata"]["uid"])
        else:
            store.put(known)
    store.resync(list(world.values()), "1000")
    expected = {uid: known["metadata"]["resourceVersion"] for uid, known in world.items()}
    assert versions(store) == expected
    for kind, known in data.draw(st.lists(st.sampled_from(history), max_size=10)):
        if kind == "MODIFIED" and known["metadata"]["uid"] in world:
            store.put(known)
    assert versions(store) == expected


@pytest.mark.parametrize(("text", "expected"), [(None, None), ("", None), ("1970-01-01T00:01:00Z", 60.0)])
def test_timestamps_are_unix_seconds(text: str | None, expected: float | None) -> None:
    assert unix_seconds(text) == expected
