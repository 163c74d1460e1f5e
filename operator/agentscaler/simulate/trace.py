"""Files of workloads: which format a file has follows from its columns.

Known are the files of the trace collection (requests with tokens, requests with durations, rates, sessions), and any
CSV with `t_seconds` and a rate: `rps` or another single column is a rate per second, `requests` a count per step.
"""

from __future__ import annotations

from math import floor
from pathlib import Path

import numpy as np

from agentscaler.simulate.recording import SESSION_DAY_SECONDS, Blocks, Ints, Rates, Recording, Trace
from agentscaler.simulate.tracefile import TIME, Floats, Table, TraceError, even_step, no_hole, read_table

__all__ = ["Rates", "Recording", "Trace", "TraceError", "agent_call_seconds", "load", "read"]

JITTER_SECONDS = 3.0  # recordings with block ids have times rounded to about this
_RATES = ("rps", "rate", "requests_per_second", "rate_per_second")
_COUNTS = ("requests", "count")
_CV = "rate_weighted_cv"
_REQUEST_COLUMNS = ("input_tokens", "output_tokens", "service_seconds", "llm_s")


def load(path: str | Path, *, seed: int, scale: float = 1.0, column: str | None = None) -> Trace:
    """The trace that this seed draws from a file. To draw several seeds, `read` once. Raises TraceError."""
    return read(path).trace(seed=seed, scale=scale, column=column)


def read(path: str | Path) -> Recording:
    """The recording in a file of any known format, gzipped or plain. Raises TraceError."""
    table = read_table(Path(path))
    name = Path(path).name.removesuffix(".gz").removesuffix(".csv")
    if TIME not in table.columns and "sess" in table.columns:
        return _sessions(name, table)
    times = table.times()
    rate_columns = _rate_columns(table)
    if not rate_columns:
        return _listed(name, table, times)
    step = even_step(table, times)
    cvs = table.numbers(_CV) if _CV in table.columns else None
    several = len(rate_columns) > 1
    rates = tuple(_rates(c, step, table.numbers(c), cvs) for c in rate_columns)
    for r in rates:
        if r.expected_requests <= 0.0:
            raise TraceError(table.file, None, f"{r.name} is 0 in every row: zero requests", "give a file with load")
    return Recording(table.file, tuple(f"{name}:{c}" if several else name for c in rate_columns), rates)


def agent_call_seconds(folder: Path) -> Floats:
    """Measured durations of single model calls out of the trace collection, for traces that only know rates."""
    table = read_table(folder / "agent_calls.csv.gz")
    measured = table.numbers("api_imputed") == 0.0
    seconds: Floats = table.numbers("api_s")[measured]
    return seconds


def _rate_columns(table: Table) -> list[str]:
    known = [c for c in table.columns if c in _RATES or c in _COUNTS or c.endswith("_rps")]
    if known or any(c in table.columns for c in _REQUEST_COLUMNS):
        return known
    others = [c for c in table.columns if c != TIME]
    if len(others) > 1:
        mend = "name the rate rps (per second) or requests (per step), or drop the other columns"
        raise TraceError(table.file, 1, f"which of {', '.join(others)} is the rate?", mend)
    return others


def _rates(column: str, step: float, values: Floats, cvs: Floats | None) -> Rates:
    """Counts are whole requests per step; a column of counts with fractions holds means, so rates."""
    if column not in _COUNTS:
        return Rates(column, step, values, counted=False, cvs=cvs)
    if cvs is not None or bool(np.any(values % 1.0)):
        return Rates(column, step, values / step, counted=False, cvs=cvs)
    return Rates(column, step, values, counted=True)


def _listed(name: str, table: Table, times: Floats) -> Recording:
    no_hole(table, times)
    service = _optional(table, "service_seconds")
    if "llm_s" in table.columns:
        service = table.numbers("llm_s") + table.numbers("tool_s")
    trace = Trace(
        name,
        times,
        floor(float(times[-1])) + 1.0,
        service_seconds=service,
        input_tokens=_optional(table, "input_tokens"),
        cached_tokens=_optional(table, "prefix_tokens"),
        output_tokens=_optional(table, "output_tokens"),
        session=_integers(table, "session_instance"),
        blocks=_blocks(table) if "block_ranges" in table.columns else None,
    )
    return Recording(table.file, (name,), requests=trace, jitter_seconds=JITTER_SECONDS if trace.blocks else 0.0)


def _sessions(name: str, table: Table) -> Recording:
    """Sessions that know only their own time: each seed draws when they start."""
    session = _integers(table, "sess")
    assert session is not None
    if "t_rel" in table.columns:
        begin, service = table.numbers("t_rel"), table.numbers("api_s")
    else:
        service = table.numbers("llm_s") + table.numbers("tool_s")
        begin = _since_start(session, table.numbers("user_gap_s"), service)
    trace = Trace(
        name,
        begin,
        SESSION_DAY_SECONDS,
        service_seconds=service,
        input_tokens=_optional(table, "input_tokens"),
        cached_tokens=_optional(table, "prefix_tokens"),
        output_tokens=_optional(table, "output_tokens"),
        session=session,
    )
    return Recording(table.file, (name,), requests=trace, sessions_drawn=True)


def _since_start(session: Ints, gap: Floats, service: Floats) -> Floats:
    """When each task of a session begins: all gaps up to it and all tasks before it."""
    total = np.cumsum(gap + service)
    fresh = np.concatenate([[True], session[1:] != session[:-1]])
    before = np.concatenate([[0.0], total[:-1]])
    base = np.maximum.accumulate(np.where(fresh, before, 0.0))
    begun: Floats = before - base + gap
    return begun


def _blocks(table: Table) -> Blocks:
    sizes: list[int] = []
    first: list[int] = []
    last: list[int] = []
    for index, cell in enumerate(table.text("block_ranges")):
        ranges = cell.split()
        try:
            for part in ranges:
                low, _, high = part.partition("-")
                first.append(int(low))
                last.append(int(high or low))
        except ValueError:
            raise table.at(index, f"block_ranges is {cell!r}", "write ids and ranges such as '0 14-27'") from None
        sizes.append(len(ranges))
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Blocks(offsets, np.array(first, dtype=np.int64), np.array(last, dtype=np.int64))


def _optional(table: Table, name: str) -> Floats | None:
    return table.numbers(name) if name in table.columns else None


def _integers(table: Table, name: str) -> Ints | None:
    return table.numbers(name).astype(np.int64) if name in table.columns else None
