import json
import logging
import os
from pathlib import Path

import pytest

from agentscaler_runtime import Metrics, Settings
from agentscaler_runtime.watcher import SettingsFile
from clients.python.tests.support import sample


def document(generation: int, workers: int = 5) -> str:
    return json.dumps({"generation": generation, "workers": {"maxConcurrent": workers}})


def swap(directory: Path, version: str, content: str) -> None:
    """Writes a ConfigMap volume as the kubelet does: a new directory, and `..data` swapped over to it."""
    target = directory / f"..{version}"
    target.mkdir()
    (target / "tuning.json").write_text(content)
    link = directory / "..data_tmp"
    link.symlink_to(target.name)
    data = directory / "..data"
    old = data.resolve() if data.exists() else None
    link.rename(data)
    if not (directory / "tuning.json").is_symlink():
        (directory / "tuning.json").symlink_to("..data/tuning.json")
    if old:
        (old / "tuning.json").unlink()
        old.rmdir()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def file(tmp_path: Path, metrics: Metrics) -> SettingsFile:
    return SettingsFile(tmp_path, Settings(), metrics)


def test_a_missing_directory_is_no_error(tmp_path: Path, metrics: Metrics) -> None:
    assert SettingsFile(tmp_path / "nowhere", Settings(), metrics).poll() is None
    assert sample(metrics, "agent_tuning_errors_total") == 0


def test_each_swap_of_a_configmap_volume_is_seen_once(tmp_path: Path, file: SettingsFile) -> None:
    for generation in (1, 2, 3):
        swap(tmp_path, f"v{generation}", document(generation))
        tuning = file.poll()
        assert tuning is not None
        assert tuning.generation == generation
        assert file.poll() is None


def test_a_change_of_equal_size_and_time_in_place_is_seen(tmp_path: Path, file: SettingsFile) -> None:
    path = tmp_path / "tuning.json"
    path.write_text(document(1))
    os.utime(path, ns=(1, 1))
    assert file.poll()
    with path.open("r+") as same_inode:
        same_inode.write(document(2))
    os.utime(path, ns=(1, 1))
    tuning = file.poll()
    assert tuning is not None
    assert tuning.generation == 2


def test_a_broken_file_is_counted_and_logged_once_for_each_content(
    tmp_path: Path, file: SettingsFile, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tuning.json"
    for content, polls in (("{", 3), ('{"generation": 0}', 2)):
        path.write_text(content)
        assert [file.poll() for _ in range(polls)] == [None] * polls
    assert sample(metrics, "agent_tuning_errors_total") == 2
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert "generation must be from 1" in caplog.text
    path.write_text(document(4))
    assert file.poll() is not None


def test_a_file_that_cannot_be_read_is_an_error_and_recovers(
    tmp_path: Path, file: SettingsFile, metrics: Metrics
) -> None:
    path = tmp_path / "tuning.json"
    path.mkdir()
    assert file.poll() is None
    assert file.poll() is None
    assert sample(metrics, "agent_tuning_errors_total") == 1
    path.rmdir()
    path.write_text(document(1))
    assert file.poll() is not None


def test_a_file_that_disappears_changes_nothing(tmp_path: Path, file: SettingsFile, metrics: Metrics) -> None:
    path = tmp_path / "tuning.json"
    path.write_text(document(1))
    assert file.poll() is not None
    path.unlink()
    assert file.poll() is None
    path.write_text(document(1))
    assert file.poll() is None
    assert sample(metrics, "agent_tuning_errors_total") == 0


def test_unknown_keys_are_logged_once_for_each_content(
    tmp_path: Path, file: SettingsFile, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tuning.json").write_text('{"generation": 1, "colour": "blue"}')
    assert file.poll() is not None
    assert file.poll() is None
    assert [record.getMessage() for record in caplog.records] == [
        "tuning.json has keys that this agent does not know: colour"
    ]
