"""Adapters: what is decided reaches the framework's own file, in its units and within its limits."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from agentscaler.core.settings import Breaker, Cache, Settings
from agentscaler.frameworks import aiecs, derive, files, units
from agentscaler.frameworks.adapter import Adapter, Feed, Format, Place, Setting, Unit
from agentscaler.frameworks.errors import BrokenFile
from agentscaler.frameworks.registry import PRESETS
from agentscaler.frameworks.render import entry_bytes_of, render

MEBIBYTE = 2**20
ADAPTERS = {name: preset.adapter for name, preset in PRESETS.items() if preset.adapter is not None}
DECIDED = Settings(3, 12, Cache(200 * MEBIBYTE, 900), Breaker(50, 45, 60, 10, 2))


def optional(low: int, high: int) -> st.SearchStrategy[int | None]:
    return st.none() | st.integers(low, high)


SETTINGS = st.builds(
    Settings,
    replicas=st.integers(0, 1000),
    workers=optional(1, 10_000),
    cache=st.builds(Cache, optional(0, 2**40), optional(1, 604_800)),
    breaker=st.builds(
        Breaker, optional(1, 100), optional(1, 3600), optional(1, 3600), optional(1, 10_000), optional(1, 1000)
    ),
)
"""All that the bounds of any policy allow."""


def adapter_of(name: str) -> Adapter:
    return ADAPTERS[name]


def everything(adapter: Adapter) -> str:
    """A user's file that has every section, so that optional settings are written as well."""
    document = files.read(adapter.format, "")
    for setting in adapter.settings:
        if setting.place is Place.FILE and setting.number and setting.default is not None:
            default = setting.default
            if setting.unit in units.DURATIONS:
                default = units.native(setting, max(float(default), setting.low))
            document.set(setting.path, default)
    return document.text()


@pytest.mark.parametrize("name", ADAPTERS)
@given(settings=SETTINGS, restart=st.booleans(), whole=st.booleans(), entry_bytes=st.floats(1, 2**30))
def test_what_is_written_lies_within_the_limits_and_stays_as_it_is(
    name: str, settings: Settings, restart: bool, whole: bool, entry_bytes: float
) -> None:
    adapter = adapter_of(name)
    base = everything(adapter) if whole else ""
    made = render(adapter, settings, base, entry_bytes, restart=restart)
    document = files.read(adapter.format, made.text)
    for setting in adapter.settings:
        value = document.get(setting.path) if setting.place is Place.FILE else None
        if value is None or not setting.number:
            continue
        low, high = units.limits(setting)
        assert low <= units.ours(setting, value) <= high, adapter.name(setting)
    assert render(adapter, settings, made.text, entry_bytes, restart=restart).text == made.text


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_framework_has_settings_for_workers_cache_and_breaker(name: str) -> None:
    feeds = {each.feed for each in adapter_of(name).settings if each.feed is not None}
    assert feeds & {Feed.WORKERS}
    assert feeds & {Feed.CACHE_ENTRIES, Feed.CACHE_BYTES, Feed.CACHE_TTL}


@pytest.mark.parametrize("name", ADAPTERS)
def test_names_of_settings_are_unique(name: str) -> None:
    adapter = adapter_of(name)
    names = [adapter.name(each) for each in adapter.settings]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ADAPTERS)
def test_decorative_settings_are_never_written(name: str) -> None:
    adapter = adapter_of(name)
    text = render(adapter, DECIDED, everything(adapter), adapter.entry_bytes, restart=True).text
    before, after = (files.read(adapter.format, each) for each in (everything(adapter), text))
    for setting in adapter.settings:
        if setting.place is Place.FILE and not setting.written:
            assert after.get(setting.path) == before.get(setting.path)


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_setting_that_only_a_start_reads_is_withheld_from_running_pods(name: str) -> None:
    adapter = adapter_of(name)
    base = everything(adapter)
    hot = render(adapter, DECIDED, base, adapter.entry_bytes, restart=False)
    document, before = (files.read(adapter.format, each) for each in (hot.text, base))
    for setting in adapter.settings:
        if setting.written and not setting.hot:
            assert document.get(setting.path) == before.get(setting.path)
    assert all(not setting.hot for setting in hot.withheld)
    assert not render(adapter, DECIDED, base, adapter.entry_bytes, restart=True).withheld


KEYS = st.text(alphabet="abcXYZ_09", min_size=1, max_size=6).map(lambda text: f"k{text}")
PLAIN = (
    st.integers(-(2**31), 2**31)
    | st.booleans()
    | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False)
)
TABLES = st.recursive(
    st.dictionaries(KEYS, PLAIN, max_size=3),
    lambda inner: st.dictionaries(KEYS, PLAIN | inner | st.lists(inner, max_size=2), max_size=3),
    max_leaves=12,
)
"""Files of users, with names that are none of a framework's own."""


def without_ours(adapter: Adapter, content: Any) -> Any:
    """What of a file is the user's."""
    ours = {setting.path[0] for setting in adapter.settings}
    return {key: value for key, value in content.items() if key not in ours}


@given(TABLES, SETTINGS)
def test_all_else_of_a_toml_file_stays(content: dict[str, Any], settings: Settings) -> None:
    adapter, text = adapter_of("agentflow"), tomlkit.dumps(content)
    made = render(adapter, settings, text, 10_000.0, restart=True).text
    assert without_ours(adapter, tomllib.loads(made)) == tomllib.loads(text)


@given(TABLES.filter(lambda content: len({key.lower() for key in content}) == len(content)), SETTINGS)
def test_all_else_of_a_json_file_stays(content: dict[str, Any], settings: Settings) -> None:
    adapter = adapter_of("genericagents")
    try:
        made = render(adapter, settings, json.dumps(content), 1.0, restart=True).text
    except BrokenFile as error:
        assert "twice" in str(error)  # noqa: PT017 (two spellings of one name further down)
        return
    assert without_ours(adapter, json.loads(made)) == content


def test_aiecs_gets_an_env_file_in_its_own_names() -> None:
    text = render(adapter_of("aiecs"), DECIDED, "", 100 * 2**20 / 1000, restart=True).text
    assert text.splitlines() == [
        "TOOL_EXECUTOR_MAX_WORKERS=12",
        "TOOL_EXECUTOR_CACHE_SIZE=2000",
        "TOOL_EXECUTOR_CACHE_TTL=900",
        "SEARCH_TOOL_CIRCUIT_BREAKER_THRESHOLD=5",
        "SEARCH_TOOL_CIRCUIT_BREAKER_TIMEOUT=45",
        "SEARCH_TOOL_GROUNDING_CIRCUIT_BREAKER_THRESHOLD=5",
        "SEARCH_TOOL_GROUNDING_CIRCUIT_BREAKER_TIMEOUT=45",
    ]


def test_agentflow_gets_its_file_back_with_what_was_decided() -> None:
    base = """\
[runner]
max_concurrent_events = 100
worker_pool_size = 50   # threads
event_timeout = "30s"

[memory]
state_cache_ttl = "1h"

[llm.openai]
max_connections = 8

[error_routing.circuit_breaker]
timeout_ms = 30000
"""
    adapter = adapter_of("agentflow")
    hot = render(adapter, DECIDED, base, adapter.entry_bytes, restart=False)  # a pool is raised to the workers
    assert (
        hot.text
        == """\
[runner]
max_concurrent_events = 100
worker_pool_size = 12   # threads
event_timeout = "30s"

[memory]
state_cache_ttl = "900s"
state_cache_size = 20000

[llm.openai]
max_connections = 12

[error_routing.circuit_breaker]
timeout_ms = 30000
"""
    )
    withheld = {adapter.name(each) for each in hot.withheld}
    assert withheld == {"error_routing.circuit_breaker.timeout_ms"}
    restarted = render(adapter, DECIDED, base, adapter.entry_bytes, restart=True).text
    assert "timeout_ms = 45000" in restarted
    assert "azure" not in restarted, "a provider that the user does not have"


def test_a_value_that_is_the_same_keeps_the_words_of_the_user() -> None:
    base = '[memory]\nstate_cache_ttl = "15m"\n'
    made = render(adapter_of("agentflow"), DECIDED, base, 10_000.0, restart=False)
    assert 'state_cache_ttl = "15m"' in made.text


def test_what_is_left_to_the_agent_is_left_to_the_file() -> None:
    base = "TOOL_EXECUTOR_MAX_WORKERS=7\n"
    assert render(adapter_of("aiecs"), Settings(1), base, 1000.0, restart=True).text == base


def test_what_is_not_written_may_be_anything() -> None:
    adapter, base = adapter_of("aiecs"), "TOOL_EXECUTOR_MAX_WORKERS=many\nTOOL_EXECUTOR_TIMEOUT=soon\n"
    left = replace(DECIDED, workers=None)
    assert render(adapter, left, base, 1000.0, restart=True).text.startswith(base)
    hot = render(adapter, DECIDED, base, 1000.0, restart=False)
    assert hot.text == base
    assert "TOOL_EXECUTOR_MAX_WORKERS" in {adapter.name(each) for each in hot.withheld}


@pytest.mark.parametrize(
    ("name", "base", "line", "what"),
    [
        ("aiecs", "A=1\nTOOL_EXECUTOR_MAX_WORKERS=many\n", 2, "TOOL_EXECUTOR_MAX_WORKERS must be a whole number"),
        ("agentflow", '\n[runner]\nworker_pool_size = "x"\n', 3, "runner.worker_pool_size must be a number"),
        ("agentflow", '[runner]\nworker_pool_size = "12"\n', 2, "must be a number without quotes"),
        ("agentflow", "[runner]\nworker_pool_size = 12.0\n", 2, "must be a whole number"),
        ("agentflow", '[performance]\npool_size = "500"\n', 2, "must be a number without quotes"),
        ("agentflow", "[runner]\nworker_pool_size = 1" + 400 * "0", 2, "must be a whole number"),
        ("genericagents", '{"Performance": {"MaxConcurrentAgents": 12.0}}', 1, "must be a whole number"),
        ("genericagents", '{"Performance": {"MaxConcurrentAgents": 1' + 400 * "0" + "}}", 1, "must be a whole number"),
        ("aiagentsharp", '{"ResponseCache": {"DefaultExpiration": "24:00:00"}}', 1, "must be a TimeSpan"),
        ("agentflow", "[memory]\nstate_cache_ttl = 3600\n", 2, "memory.state_cache_ttl must be a duration"),
        ("agentflow", "runner = 1\n", 1, "must be a table"),
    ],
)
def test_a_base_with_something_else_where_a_value_has_to_stand_is_refused(
    name: str, base: str, line: int, what: str
) -> None:
    adapter = adapter_of(name)
    with pytest.raises(BrokenFile, match=what) as broken:
        render(adapter, DECIDED, base, adapter.entry_bytes, restart=True)
    assert broken.value.line == line


def test_a_broken_file_is_read_once_and_not_in_each_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter, read, base = adapter_of("agentflow"), files.read, '[runner]\nworker_pool_size = "once"\n'
    texts: list[str] = []

    def noted(form: Format, text: str) -> files.Document:
        texts.append(text)
        return read(form, text)

    monkeypatch.setattr(files, "read", noted)
    for _ in range(3):
        with pytest.raises(BrokenFile, match="without quotes"):
            render(adapter, DECIDED, base, adapter.entry_bytes, restart=True)
    assert texts == [base]


def test_a_section_that_is_written_with_colons_is_there() -> None:
    made = render(adapter_of("genericagents"), DECIDED, '{"database:maxConnections": 2}', 1.0, restart=True)
    assert json.loads(made.text)["database:maxConnections"] == 12


def test_a_pool_follows_the_workers_up_and_never_falls_below_what_the_user_has() -> None:
    assert derive.pool(30, 8) == 30
    assert derive.pool(4, 8) == 8
    assert derive.pool(4, None) == 4


def test_a_counting_breaker_needs_as_many_failures_as_the_rate_makes_of_the_fewest_calls() -> None:
    assert derive.failures(50, 10) == 5
    assert derive.failures(33, 10) == 4
    assert derive.failures(1, 5) == 1
    assert derive.failures(None, 10) is None
    assert derive.failures(50, None) is None


def test_a_mean_entry_is_learned_and_kept_until_it_is_another_one() -> None:
    assert derive.mean_entry(None, None, 100) == 100
    assert derive.mean_entry(300, None, 100) == 300
    assert derive.mean_entry(300, 250, 100) == 250, "each change is a new file for every pod"
    assert derive.mean_entry(400, 250, 100) == 400
    assert derive.mean_entry(None, 250, 100) == 250, "a moment without metrics changes nothing"
    assert derive.mean_entry(None, 100.4, 100) == 100
    assert derive.entries(1000, 250) == 4


def test_the_mean_entry_of_a_file_is_read_back_from_it() -> None:
    adapter = adapter_of("aiecs")
    text = render(adapter, DECIDED, "", 50_000.0, restart=True).text
    kept = entry_bytes_of(adapter, text, DECIDED.cache.max_bytes, restart=True)
    assert kept == pytest.approx(50_000, rel=0.001)
    again = render(adapter, DECIDED, text, kept or 0, restart=True).text
    assert again == text
    assert entry_bytes_of(adapter, text, DECIDED.cache.max_bytes, restart=False) is None, "it is the user's value"


def sample(unit: Unit, **more: float) -> Setting:
    return replace(aiecs.SETTINGS[0], unit=unit, **more)  # type: ignore[arg-type]  # bounds only


@pytest.mark.parametrize(
    ("unit", "ours", "native"),
    [
        (Unit.COUNT, 12, 12),
        (Unit.SECONDS, 90, 90),
        (Unit.MILLISECONDS, 90, 90_000),
        (Unit.MINUTES, 150, 2),
        (Unit.MINUTES, 30, 1),
        (Unit.MEBIBYTES, 3 * MEBIBYTE + 1, 3),
        (Unit.GO_DURATION, 90, "90s"),
        (Unit.TIME_SPAN, 90, "00:01:30"),
        (Unit.TIME_SPAN, 90_061, "1.01:01:01"),
    ],
)
def test_values_are_written_in_the_units_of_the_setting(unit: Unit, ours: float, native: int | str) -> None:
    assert units.native(sample(unit), ours) == native


@pytest.mark.parametrize(
    ("unit", "native", "ours"),
    [
        (Unit.GO_DURATION, "1h30m", 5400),
        (Unit.GO_DURATION, "1.5s", 1.5),
        (Unit.GO_DURATION, "100ms", 0.1),
        (Unit.GO_DURATION, "0", 0),
        (Unit.TIME_SPAN, "00:05:00", 300),
        (Unit.TIME_SPAN, "1.00:00:00", 86_400),
        (Unit.TIME_SPAN, "00:00:00.5", 0.5),
        (Unit.MINUTES, 15, 900),
        (Unit.COUNT, "8", 8),
    ],
)
def test_native_values_are_read(unit: Unit, native: int | str, ours: float) -> None:
    assert units.ours(sample(unit), native) == pytest.approx(ours)


@pytest.mark.parametrize(
    ("unit", "native"),
    [(Unit.GO_DURATION, "30"), (Unit.GO_DURATION, "1x"), (Unit.TIME_SPAN, "5 minutes"), (Unit.COUNT, "nan"),
     (Unit.COUNT, True), (Unit.SECONDS, "30s"), (Unit.COUNT, "1_2"), (Unit.COUNT, 8.0), (Unit.COUNT, "٣"),
     (Unit.TIME_SPAN, "24:00:00"), (Unit.TIME_SPAN, "00:90:00"), (Unit.COUNT, 10**400)],
)  # fmt: skip
def test_native_values_of_another_form_are_refused(unit: Unit, native: int | str | bool) -> None:
    with pytest.raises(ValueError, match="must be"):
        units.ours(sample(unit), native)


@given(st.sampled_from([Unit.COUNT, Unit.SECONDS, Unit.MILLISECONDS, Unit.GO_DURATION, Unit.TIME_SPAN]),
       st.integers(1, 604_800))  # fmt: skip
def test_whole_values_survive_the_way_there_and_back(unit: Unit, value: int) -> None:
    setting = sample(unit)
    assert units.ours(setting, units.native(setting, value)) == pytest.approx(value)
