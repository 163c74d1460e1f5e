from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentscaler.settings import OperatorSettings, SettingsError, load

SERVER = {"prometheus": {"default": {"url": "http://prometheus:9090"}}}


def written(directory: Path, text: str) -> Path:
    path = directory / "operator.yaml"
    path.write_text(text)
    return path


def test_a_flag_outweighs_the_environment_and_that_the_file(tmp_path: Path) -> None:
    file = written(
        tmp_path, "tickSeconds: 2\nresyncSeconds: 60\nwriteBurst: 7\nprometheus: {default: {url: http://a:1}}"
    )
    environ = {"AGENTSCALER_TICK_SECONDS": "3", "AGENTSCALER_RESYNC_SECONDS": "90", "AGENTSCALER_CACHE": "/tmp/x"}
    settings = load(file, environ, {"tick_seconds": 4.0, "write_burst": None})
    assert (settings.tick_seconds, settings.resync_seconds, settings.write_burst) == (4.0, 90.0, 7)


def test_servers_of_one_name_are_merged_field_by_field(tmp_path: Path) -> None:
    text = "prometheus: {main: {url: http://a:1, scrapeIntervalSeconds: 5, matchers: {cluster: eu}}, other: {url: http://b:2}}"
    settings = load(written(tmp_path, text), {}, {"prometheus": {"main": {"url": "http://c:3"}}})
    main = settings.prometheus["main"]
    assert (main.name, main.url, main.scrape_interval_seconds, main.matchers) == (
        "main",
        "http://c:3",
        5,
        (("cluster", "eu"),),
    )
    assert settings.prometheus["other"].url == "http://b:2"


def test_an_environment_alone_is_enough() -> None:
    environ = {"AGENTSCALER_PROMETHEUS_URL": "http://a:1", "AGENTSCALER_NAMESPACES": "one, two", "PATH": "x"}
    settings = load(None, environ, {})
    assert settings.namespaces == ("one", "two")
    assert settings.servers["default"].url == "http://a:1"


@pytest.mark.parametrize(
    ("servers", "default", "expected"),
    [
        ({"main": "http://a:1"}, "", "http://a:1"),
        ({"main": "http://a:1", "default": "http://b:2"}, "", "http://b:2"),
        ({"main": "http://a:1", "default": "http://b:2"}, "main", "http://a:1"),
    ],
)
def test_objects_that_name_no_server_get_the_default_one(servers: dict[str, str], default: str, expected: str) -> None:
    given = {name: {"url": url} for name, url in servers.items()}
    settings = load(None, {}, {"prometheus": given, "default_server": default})
    assert settings.servers["default"].url == expected


def test_with_several_servers_and_no_default_none_is_guessed() -> None:
    given = {"a": {"url": "http://a:1"}, "b": {"url": "http://b:2"}}
    assert set(load(None, {}, {"prometheus": given}).servers) == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a", ["mapping", "tickSeconds"]),
        ("a: [", ["operator.yaml, line 1, column 5", "not YAML"]),
        ("tickSeconds: 0.5\nprometheus: {a: {url: http://a:1}}", ["tickSeconds", "greater than or equal to 1"]),
        ("tickSecond: 5\nprometheus: {a: {url: http://a:1}}", ["tickSecond", "correct its name"]),
        ("prometheus: {a: {url: a:1}}", ["prometheus", "a", "http://host:port"]),
        ("prometheus: {a: {url: http://a:1, urll: x}}", ["a.urll", "correct its name"]),
        ("prometheus: {a: {url: http://a:1, timeoutSeconds: soon}}", ["a.timeoutSeconds", "number"]),
        ("prometheus: {a: http://a:1}", ["a", "url: http://prometheus:9090"]),
        ("prometheus: http://a:1", ["prometheus", "mapping"]),
        ("defaultServer: b\nprometheus: {a: {url: http://a:1}}", ["defaultServer", "'b'", "name one of a"]),
    ],
)
def test_a_wrong_setting_is_named_with_its_mend(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(SettingsError) as refused:
        load(written(tmp_path, text), {}, {})
    assert [word for word in words if word not in str(refused.value)] == []


@pytest.mark.parametrize("text", ["", "prometheus:", "prometheus: {}", "tickSeconds: 5"])
def test_no_server_at_all_is_no_reason_to_end(tmp_path: Path, text: str) -> None:
    assert load(written(tmp_path, text), {}, {}).servers == {}


@pytest.mark.parametrize("text", ["main: {}", "main:", "main: {url: ''}", "main: {url: null, caFile: /a}"])
def test_a_server_whose_url_is_missing_is_no_reason_to_end(tmp_path: Path, text: str) -> None:
    assert load(written(tmp_path, f"prometheus: {{{text}}}"), {}, {}).servers["default"].url == ""


def test_a_secret_in_a_file_that_is_broken_is_not_told(tmp_path: Path) -> None:
    broken = "prometheus:\n  main: {url: http://a:1, headers: {X-Key: s3cret}\n  x"
    with pytest.raises(SettingsError, match="line 3") as refused:
        load(written(tmp_path, broken), {}, {})
    assert "s3cret" not in str(refused.value)


def test_headers_out_of_files_are_read_from_the_settings(tmp_path: Path) -> None:
    files = "headerFiles: {X-Api-Key: /secrets/key}, usernameFile: /u, passwordFile: /p"
    text = f"prometheus: {{main: {{url: http://a:1, {files}}}}}"
    main = load(written(tmp_path, text), {}, {}).prometheus["main"]
    assert (main.header_files, main.username_file, main.password_file) == ((("X-Api-Key", "/secrets/key"),), "/u", "/p")


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a" * 254])
def test_a_lease_has_a_name_that_the_api_server_takes(name: str) -> None:
    with pytest.raises(SettingsError, match="leaseName"):
        load(None, {"AGENTSCALER_LEASE_NAME": name}, SERVER)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.yaml"):
        load(tmp_path / "absent.yaml", {}, SERVER)


def test_every_setting_can_come_from_the_environment() -> None:
    values: dict[str, Any] = {
        name: "1"
        for name in OperatorSettings.model_fields
        if name not in {"prometheus", "tick_seconds", "resync_seconds", "log_format", "log_level", "default_server"}
    }
    environ = {f"AGENTSCALER_{name.upper()}": value for name, value in values.items()}
    settings = load(None, environ, SERVER)
    assert {name: str(getattr(settings, name)) for name in ("kubeconfig", "write_burst", "health_address")} == {
        "kubeconfig": "1",
        "write_burst": "1",
        "health_address": "1",
    }
    assert settings.object_metrics is True
