"""The agent frameworks that scenarios run, as data: what differs between them, and nothing else."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import yaml

from agentscaler.frameworks.adapter import Enforced
from agentscaler.frameworks.registry import PRESETS
from e2e.kind.agents import build_agentflow, build_agentgraph, build_aiecs, build_dotnet
from e2e.kind.images import ROOT
from e2e.kind.node import registry_answers

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentscaler.frameworks.adapter import Adapter
    from e2e.kind.engine import Engine

Values = dict[str, Any]
"""Settings by their full names, durations as seconds."""

_GO_SECONDS = {"h": 3600, "m": 60, "s": 1}
_TIME_SPAN = re.compile(r"(?:(\d+)\.)?(\d\d):(\d\d):(\d\d)")


@dataclass(frozen=True)
class Framework:
    """A framework, its agent, and what settings look like in its own words.

    Attributes:
        name: As ``spec.framework`` says it; its example has that name, too.
        build: Builds the image of its agent; the name of the image.
        file: Its own settings file.
        read: The values in such a file.
        wants: What the file has to say for a tuning.json, in the framework's own units.
        kept: What the example's own file says and nobody may change.
        shows: What /metrics of each pod says when a tuning.json is in force.
        breaks: Whether its agent has a circuit breaker; two guides have retries instead.
    """

    name: str
    build: Callable[[Engine], str]
    file: str
    read: Callable[[str], Values]
    wants: Callable[[Values], Values]
    kept: Values
    shows: Callable[[Values], Values]
    breaks: bool = True

    @property
    def adapter(self) -> Adapter:
        """What the operator knows of its settings."""
        found = PRESETS[self.name].adapter
        assert found is not None
        return found

    def example(self) -> list[dict[str, Any]]:
        """The manifests that a person starts from, the AgentDeployment last."""
        manifests = yaml.safe_load_all((ROOT / "examples" / f"{self.name}.yaml").read_text())
        return sorted(manifests, key=lambda each: each["kind"] == "AgentDeployment")

    def faults(self, files: dict[str, str]) -> list[str]:
        """What is wrong with its settings file, beside the tuning.json of the same write; empty: nothing."""
        if self.file not in files:
            return [f"there is no {self.file}"]
        found = self.read(files[self.file])
        wanted = self.wants(json.loads(files["tuning.json"])) | self.kept
        faults = [f"{key} is {found.get(key)}, not {value}" for key, value in wanted.items() if found.get(key) != value]
        for setting in self.adapter.settings:
            value = found.get(self.adapter.name(setting))
            if setting.number and value is not None and not setting.low <= float(value) <= setting.high:
                faults.append(f"{self.adapter.name(setting)} is {value}, not {setting.low:g} to {setting.high:g}")
        return faults

    def counts(self) -> tuple[int, int, int, int]:
        """Settings that the operator knows; that somebody acts on; that follow the knobs; those that do so live."""
        settings = self.adapter.settings
        mapped = [each for each in settings if each.feed and each.enforced is not Enforced.NOBODY]
        enforced = [each for each in settings if each.enforced is not Enforced.NOBODY]
        return len(settings), len(enforced), len(mapped), sum(each.hot for each in mapped)


def flat(document: Values, separator: str) -> Values:
    """Nested sections as full names."""
    found: Values = {}
    for key, value in document.items():
        if isinstance(value, dict):
            found |= {f"{key}{separator}{name}": each for name, each in flat(value, separator).items()}
        else:
            found[key] = value
    return found


def _toml(text: str) -> Values:
    return {key: _go_seconds(value) for key, value in flat(tomllib.loads(text), ".").items()}


def _go_seconds(value: Any) -> Any:
    """A Go duration in seconds; anything else as it is."""
    parts = re.findall(r"(\d+)([hms])", value) if isinstance(value, str) else []
    whole = "".join(number + unit for number, unit in parts)
    return sum(int(number) * _GO_SECONDS[unit] for number, unit in parts) if parts and whole == value else value


def _json(text: str) -> Values:
    return {key: _span_seconds(value) for key, value in flat(json.loads(text), ":").items()}


def _span_seconds(value: Any) -> Any:
    """A TimeSpan in seconds; anything else as it is."""
    parts = _TIME_SPAN.fullmatch(value) if isinstance(value, str) else None
    if parts is None:
        return value
    days, hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _env(text: str) -> Values:
    lines = (line.partition("=") for line in text.splitlines() if line and not line.startswith("#"))
    return {key: int(value) if value.isdigit() else value for key, _, value in lines}


def _workers(tuning: Values) -> int:
    return int(tuning["workers"]["maxConcurrent"])


def _entries(tuning: Values, entry_bytes: float) -> int:
    size_bytes: int = tuning["cache"]["maxBytes"]
    return round(size_bytes / entry_bytes)


def _failures(tuning: Values) -> int:
    breaker: dict[str, int] = tuning["circuitBreaker"]
    return ceil(breaker["failureRateThresholdPercent"] * breaker["minimumNumberOfCalls"] / 100)


def _limits(tuning: Values) -> Values:
    """The gauges of an agent that takes workers and the bytes of its cache from what is written."""
    return {"agent_worker_limit": _workers(tuning), "agent_cache_limit_bytes": tuning["cache"]["maxBytes"]}


FRAMEWORKS = (
    Framework(
        name="aiecs",
        build=lambda engine: build_aiecs(engine, registry=registry_answers()),
        file="aiecs.env",
        read=_env,
        wants=lambda tuning: {
            "TOOL_EXECUTOR_MAX_WORKERS": _workers(tuning),
            "TOOL_EXECUTOR_CACHE_SIZE": _entries(tuning, 100 * 2**20 / 1000),  # the guide: 1,000 entries, 100 MB
            "TOOL_EXECUTOR_CACHE_TTL": tuning["cache"]["ttlSeconds"],
            "SEARCH_TOOL_CIRCUIT_BREAKER_THRESHOLD": _failures(tuning),
            "SEARCH_TOOL_CIRCUIT_BREAKER_TIMEOUT": tuning["circuitBreaker"]["waitDurationInOpenStateSeconds"],
        },
        kept={"TOOL_EXECUTOR_TIMEOUT": 30, "TOOL_EXECUTOR_RETRY_ATTEMPTS": 3, "METRICS_PORT": 8001},
        shows=lambda tuning: {"agent_worker_limit": _workers(tuning)},
    ),
    Framework(
        name="agentflow",
        build=build_agentflow,
        file="agentflow.toml",
        read=_toml,
        wants=lambda tuning: {
            "runner.worker_pool_size": _workers(tuning),
            "runner.max_concurrent_events": max(100, _workers(tuning)),  # raised to the workers, never lowered
            "runner.event_buffer_size": max(1000, 2 * _workers(tuning)),
            "memory.state_cache_size": _entries(tuning, 100 * 2**20 / 10_000),  # the guide: 10,000 entries, 100 MB
            "memory.state_cache_ttl": tuning["cache"]["ttlSeconds"],
        },
        kept={"runner.event_timeout": 30, "memory.enable_state_compression": True},
        shows=_limits,
    ),
    Framework(
        name="agentgraph",
        build=build_agentgraph,
        file="agentgraph.env",
        read=_env,
        wants=lambda tuning: {
            "MAX_CONCURRENT_AGENTS": _workers(tuning),
            "CACHE_TTL_SECONDS": tuning["cache"]["ttlSeconds"],
        },
        kept={"LLM_PROVIDER": "openai", "MEMORY_LIMIT_MB": 900, "MONITORING_ENABLED": "true"},
        shows=_limits,
    ),
    Framework(
        name="genericagents",
        build=lambda engine: build_dotnet(engine, "genericagents", registry=registry_answers()),
        file="appsettings.json",
        read=_json,
        wants=lambda tuning: {
            "Performance:MaxConcurrentAgents": _workers(tuning),
            "Performance:CacheExpirationMinutes": tuning["cache"]["ttlSeconds"] // 60,
            "Performance:ConnectionPoolSize": max(100, _workers(tuning)),  # raised to the workers, never lowered
        },
        kept={
            "Performance:TimeoutSeconds": 30,
            "Threading:MinWorkerThreads": 50,
            "Threading:MaxWorkerThreads": 200,
        },
        shows=_limits,
        breaks=False,
    ),
    Framework(
        name="aiagentsharp",
        build=lambda engine: build_dotnet(engine, "aiagentsharp", registry=registry_answers()),
        file="appsettings.json",
        read=_json,
        wants=lambda tuning: {
            "ParallelToolExecutor:MaxConcurrency": _workers(tuning),
            "ResponseCache:DefaultExpiration": tuning["cache"]["ttlSeconds"],
            "ConnectionPool:MaxSize": max(20, _workers(tuning)),
        },
        kept={"OpenAiConfiguration:RequestTimeout": 120},
        shows=_limits,
        breaks=False,
    ),
)
