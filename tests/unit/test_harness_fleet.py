"""The fleet's pure parts: what it reads of a pod, and how a volume looks on disk."""

from pathlib import Path
from typing import Any

import pytest

from e2e.harness.fleet_mount import MissingConfigMapError, Volume, files_of
from e2e.harness.fleet_pod import ConfigMapMount, UnsupportedPodError, bytes_of, expand, parse_pod


def pod(**container: Any) -> dict[str, Any]:
    return {
        "metadata": {"uid": "u", "namespace": "agents", "name": "researcher-6d4cf56db6-x7k2p"},
        "spec": {"nodeName": "node-0", "containers": [{"name": "agent", **container}]},
    }


@pytest.mark.parametrize(
    ("quantity", "count"),
    [("128Mi", 128 * 2**20), ("1.5Gi", 3 * 2**29), ("200M", 200_000_000), ("4096", 4096), ("1k", 1000)],
)
def test_quantities_are_read_as_the_api_means_them(quantity: str, count: int) -> None:
    assert bytes_of(quantity) == count


def test_a_quantity_that_is_none_is_refused() -> None:
    with pytest.raises(UnsupportedPodError, match="12 MB"):
        bytes_of("12 MB")


def test_references_expand_as_in_a_kubelet() -> None:
    assert expand("--port=$(PORT) $(NOT_KNOWN) $$(PORT)", {"PORT": "1"}) == "--port=1 $(NOT_KNOWN) $(PORT)"


def test_a_container_without_a_command_runs_the_reference_agent_with_the_pods_arguments() -> None:
    container = parse_pod(pod(args=["--time-scale", "0.05"], resources={"limits": {"memory": "64Mi"}})).container
    argv = container.argv(
        {"PORT": "1", "SETTINGS_DIR": "/s", "UPSTREAM_URL": "http://u", "MEMORY_LIMIT_BYTES": "9"}, {}
    )
    assert " ".join(argv) == (
        "python -m e2e.agents.reference --port 1 --settings-dir /s --upstream http://u --memory-limit-bytes 9"
        " --time-scale 0.05"
    )


def test_a_containers_own_command_and_environment_are_taken() -> None:
    env = [
        {"name": "A", "value": "a$(PORT)"},
        {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    container = parse_pod(pod(command=["my-agent"], args=["$(PORT)"], env=env)).container
    assert container.argv({"PORT": "1"}, {}) == ("my-agent", "1")
    assert container.variables({"PORT": "1"}, {}) == {"PORT": "1", "A": "a1", "ME": "researcher-6d4cf56db6-x7k2p"}


def test_mounted_paths_become_the_real_directories() -> None:
    env = [{"name": "DIR", "value": "/etc/agentscaler"}]
    args = ["--f=/etc/agentscaler/a.json", "/etc/agentscaler-x"]
    container = parse_pod(pod(command=["x"], args=args, env=env)).container
    directories = {"/etc/agentscaler": "/tmp/v"}
    assert container.argv({}, directories) == ("x", "--f=/tmp/v/a.json", "/etc/agentscaler-x")
    assert container.variables({}, directories) == {"DIR": "/tmp/v"}


def test_what_cannot_be_played_is_refused_and_not_left_out() -> None:
    secret = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    with pytest.raises(UnsupportedPodError, match="env KEY"):
        parse_pod(pod(env=[secret]))
    with pytest.raises(UnsupportedPodError, match="preStop"):
        parse_pod(pod(lifecycle={"preStop": {"exec": {"command": ["true"]}}}))


def test_a_pod_belongs_to_the_deployment_that_its_name_says() -> None:
    found = parse_pod(pod())
    assert found.belongs_to("researcher")
    assert not found.belongs_to("research")
    assert not found.belongs_to("researcher-6d4cf56db6")


def mount(**changes: Any) -> ConfigMapMount:
    return ConfigMapMount(**{"volume": "v", "config_map": "c", "optional": False, "path": "", **changes})


def test_a_missing_config_map_stops_a_pod_unless_it_is_optional() -> None:
    with pytest.raises(MissingConfigMapError, match='"c" not found'):
        files_of(mount(), None)
    assert files_of(mount(optional=True), None) == {}


def test_items_choose_keys_and_name_files() -> None:
    config_map = {"data": {"a": "1", "b": "2"}, "binaryData": {"c": "Aw=="}}
    assert files_of(mount(), config_map) == {"a": b"1", "b": b"2", "c": b"\x03"}
    assert files_of(mount(items=(("a", "d/e"),)), config_map) == {"d/e": b"1"}
    with pytest.raises(MissingConfigMapError, match='no key "z"'):
        files_of(mount(items=(("z", "z"),)), config_map)


def test_a_volume_is_swapped_as_a_whole_behind_one_symlink(tmp_path: Path) -> None:
    directory = tmp_path / "volume"
    volume = Volume(directory)
    assert volume.show({"tuning.json": b"1", "old": b"x"})
    first = (directory / "..data").readlink()
    assert (directory / "tuning.json").readlink() == Path("..data/tuning.json")

    assert not volume.show({"tuning.json": b"1", "old": b"x"})
    assert (directory / "..data").readlink() == first

    assert volume.show({"tuning.json": b"2"})
    assert (directory / "..data").readlink() != first
    assert (directory / "tuning.json").read_bytes() == b"2"
    assert sorted(entry.name for entry in directory.iterdir()) == ["..data", "..version_2", "tuning.json"]


def test_an_optional_volume_without_a_config_map_is_an_empty_directory(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "volume")
    assert volume.show({})
    assert [entry.name for entry in (tmp_path / "volume" / "..data").iterdir()] == []
