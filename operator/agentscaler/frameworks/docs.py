"""The page of the frameworks, generated from their adapters and presets.

`python -m agentscaler.frameworks.docs` writes `docs/frameworks.md`; with `--check` it fails when the file differs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Final

from agentscaler.api.crd import repository, write
from agentscaler.core.policy import Range
from agentscaler.frameworks import generic, units
from agentscaler.frameworks.adapter import MOST_COUNT, Adapter, Place, Setting
from agentscaler.frameworks.preset import Metric, Metrics, Preset
from agentscaler.frameworks.registry import PRESETS

_PREAMBLE: Final = """# Agent frameworks

Generated from the adapters by `python -m agentscaler.frameworks.docs`. Do not edit.

`spec.framework` names the framework of an agent. That chooses four things, each of which you can overrule:
- **Defaults**: objectives, bounds and start values of its performance guide. `status.effective` and `agentscaler
  explain` show what holds.
- **Metrics**: the guide's names beside those of [the contract](contract.md). For each signal the contract's name
  comes first, where an agent exports it.
- **A settings file of its own**, written beside `tuning.json` into the ConfigMap `<name>-settings` (mounted at
  `/etc/agentscaler`), both in one write, of one generation. An agent reports that generation as
  `agent_tuning_applied_generation`, whichever of the two it reads.
- **Limits**: no value is written that the framework cannot hold. Where its limits are narrower than your bounds,
  `status.effective.delivery.limits` says so.

`delivery.baseConfigMap: {name, key}` names your own settings file. The operator reads it, puts in what it decided,
and keeps all else: values, order and, but for JSON, comments. It never writes that ConfigMap. A change of it is seen
within 15 s. While it is broken (above 64 KiB, too) or away, the last good file stays in force, knobs go on moving in
it, and the condition `NativeSettings` names the ConfigMap, the key, the line and the mend. The result is a copy of
your file in a ConfigMap: keep secrets in a Secret.

`delivery.mode` is the most that is allowed. With `Hot`, a setting that only a start reads is not written;
`NativeSettings` lists it with the reason `RestartNeeded`. What your own file or the pod template says of it stays in
force then, also where `tuning.json` says otherwise: leave it out of both for an agent that takes it live from
`tuning.json`. With `Restart`, all settings are written and the pods rolled.

**What a framework's metrics cannot tell** is listed for each. Three things supply it: the client libraries
(`clients/`), which export the contract's metrics; a recording rule that records a metric of yours under the
contract's name and keeps the labels `namespace` and `pod`; or `signals.overrides`, which names your metric.

**Columns.** *From* is what feeds a setting: a value of `tuning.json`, or nothing: then it is listed and stays yours.
*Live*: a running process can take it; else only a start reads it. *Enforced by*: the published package (`framework`),
the agent's own code in the way that the guide shows (`agent`), or nobody (`decorative`: accepted, and without effect;
it is never written). *Place*: the settings file; the environment of the process, which is your pod template; or code,
where an agent sets it from `tuning.json`. A setting marked with * is written only where your file has its section.

**Derived values.** A pool that workers share is raised to their number and never lowered below what you or the
framework say. A breaker that counts failures gets the failure rate times the minimum number of calls, rounded up. A
cache that counts entries gets its bytes over the mean bytes of an entry: measured where metrics tell, else the ratio
of the guide's own defaults; a new mean counts when it differs by half. Each cache that a file names gets the whole
size: with several, set `tuning.cache.max` to what one of them may have.
"""


def generate() -> str:
    """The text of `docs/frameworks.md`."""
    adapted = ((preset, preset.adapter) for preset in PRESETS.values())
    return "\n".join([_PREAMBLE, *(_framework(preset, adapter) for preset, adapter in adapted if adapter is not None)])


def _framework(preset: Preset, adapter: Adapter) -> str:
    entry = f" Mean entry of the cache by the guide: {adapter.entry_bytes:,.0f} bytes." if adapter.entry_bytes else ""
    lines = [
        f"## {preset.title}",
        "",
        f"`spec.framework: {preset.name}`, settings in `{adapter.file}` ({adapter.format.value}).{entry}",
        "",
        "### Settings",
        "",
        *_table(
            ("name", "place", "unit", "limits", "default", "live", "enforced by", "from", "note"),
            (_setting(adapter, each) for each in adapter.settings),
        ),
        "",
        "### Defaults",
        "",
        *_table(("value", "default"), _defaults(preset)),
        "",
        "### Metrics",
        "",
        *_table(("what", "the contract's name first", "else the framework's"), _metrics(preset.metrics)),
        "",
        *([preset.remark, ""] if preset.remark else []),
        "What the framework's own metrics cannot tell:",
        "",
        *_table(("signal", "why, and what supplies it"), preset.metrics.unavailable.items()),
        "",
        "### The guide's advice",
        "",
        *_table(
            ("advice", "covered", "how, or why not"),
            ((each.text, "yes" if each.covered else "no", each.how) for each in adapter.advice),
        ),
        "",
    ]
    return "\n".join(lines)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield _row(head)
    yield _row("---" for _ in head)
    for row in rows:
        yield _row(row)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _setting(adapter: Adapter, setting: Setting) -> tuple[str, ...]:
    durations = setting.unit in units.DURATIONS
    suffix = " s" if durations else ""
    high = "" if setting.high == MOST_COUNT else f"{setting.high:g}"
    limits = f"{setting.low:g} to {high}{suffix}" if high else f"at least {setting.low:g}{suffix}"
    feed = "" if setting.feed is None else setting.feed.value
    times = "" if setting.ratio == 1 else f"{setting.ratio:g} x "
    return (
        f"`{adapter.name(setting)}`{'*' if setting.optional and setting.written else ''}",
        setting.place.value,
        setting.unit.value,
        limits if setting.number else "",
        _default(setting),
        "yes" if setting.hot else "no",
        setting.enforced.value if setting.place is not Place.ENVIRONMENT else "framework",
        f"{times}{feed}",
        setting.note,
    )


def _default(setting: Setting) -> str:
    if setting.default is None:
        return ""
    if isinstance(setting.default, bool):
        return str(setting.default).lower()
    return f"{setting.default} s" if setting.unit in units.DURATIONS else f"{setting.default}"


def _defaults(preset: Preset) -> Iterator[tuple[str, str]]:
    policy = preset.defaults
    for name, objective in (("queueWait", policy.objectives.queue_wait), ("latency", policy.objectives.latency)):
        if objective is not None:
            told = f"{objective.target_seconds * 1000:g} ms at quantile {objective.quantile:g}"
            yield f"`objectives.{name}`", told
    if policy.objectives.error_ratio is not None:
        yield "`objectives.errorRate`", f"{policy.objectives.error_ratio * 100:g} %"
    if policy.objectives.memory_ratio is not None:
        yield "`objectives.memory`", f"{policy.objectives.memory_ratio * 100:g} % of the limit"
    cache, breaker, workers = policy.cache, policy.breaker, policy.workers
    yield "`tuning.workers`", _range(Range(workers.min, workers.max, workers.initial))
    yield "`tuning.cache`", _range(cache.max_bytes, 2**20, " MiB")
    yield "`tuning.cache.ttlSeconds`", _range(cache.ttl_seconds)
    yield "`tuning.circuitBreaker.failureRateThresholdPercent`", _range(breaker.failure_rate_threshold_percent)
    yield "`tuning.circuitBreaker.waitDurationInOpenStateSeconds`", _range(breaker.wait_duration_in_open_state_seconds)


def _range(given: Range | None, unit: int = 1, suffix: str = "") -> str:
    if given is None:
        return ""
    start = "" if given.initial is None else f", from {given.initial / unit:g}{suffix}"
    return f"{given.min / unit:g} to {given.max / unit:g}{suffix}{start}"


def _metrics(metrics: Metrics) -> Iterator[tuple[str, str, str]]:
    other = metrics.otherwise or generic.METRICS
    for field in fields(Metrics):
        first, second = getattr(metrics, field.name), getattr(other, field.name)
        if field.name in {"otherwise", "unavailable"} or (first is None and second is None):
            continue
        yield field.name.replace("_", " "), _names(first), "" if first == second else _names(second)


def _names(metric: Metric | tuple[Metric, ...] | None) -> str:
    if metric is None:
        return ""
    if isinstance(metric, tuple):
        return ", else ".join(_names(each) for each in metric)
    labels = ", ".join(f"{label}={value}" for label, value in metric.matchers)
    scale = "" if metric.scale == 1 else f" x {metric.scale:g}"
    return f"`{metric.name}{f'{{{labels}}}' if labels else ''}`{scale}"


def main() -> int:
    """Write or check `docs/frameworks.md`."""
    return write(repository() / "docs" / "frameworks.md", generate(), check="--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
