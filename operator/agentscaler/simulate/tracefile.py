"""Reading a trace file: its table, and every complaint about it with the row and the mend."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TIME = "t_seconds"
LONGEST_SECONDS = 31 * 86_400.0
HOLE_SECONDS = 600.0  # a shorter silence is never called a hole
HOLE_RATIO = 30.0  # a hole is this many times as long as the second longest silence
_EPOCH_SECONDS = 1e8
_UNITS = ((1e17, "nanoseconds", "1e9"), (1e14, "microseconds", "1e6"), (1e11, "milliseconds", "1000"))


class TraceError(Exception):
    """A trace that cannot be simulated as it is.

    Attributes:
        file: the path as it was given.
        row: the line in the file, the header being line 1; None where the whole file is meant.
        problem: what is wrong.
        mend: what to do about it.
    """

    def __init__(self, file: str, row: int | None, problem: str, mend: str) -> None:
        where = file if row is None else f"{file}, row {row}"
        super().__init__(f"{where}: {problem}; {mend}")
        self.file = file
        self.row = row
        self.problem = problem
        self.mend = mend


@dataclass(frozen=True, slots=True)
class Table:
    """The text of a trace file by column, and the line at which each row stands."""

    file: str
    columns: dict[str, list[str]]
    lines: list[int]

    def text(self, name: str) -> list[str]:
        """A column as it is written. Raises TraceError where it is missing."""
        if name not in self.columns:
            mend = f"add the column {name}; the file has {', '.join(self.columns)}"
            raise TraceError(self.file, 1, f"column {name} is missing", mend)
        return self.columns[name]

    def numbers(self, name: str, *, least: float | None = 0.0) -> Floats:
        """A column of finite numbers, none below `least`. Raises TraceError with the first row that is not so."""
        text = self.text(name)
        try:
            values = np.array(text, dtype=np.float64)
        except ValueError:
            at = next(i for i, cell in enumerate(text) if not _is_number(cell))
            what = "seconds from the start of the file" if name == TIME else "a number"
            raise self.at(at, f"{name} is {text[at]!r}, not a number", f"write {what} or drop the row") from None
        if len(bad := np.flatnonzero(~np.isfinite(values))):
            raise self.at(int(bad[0]), f"{name} is {text[bad[0]]!r}", "write a finite number or drop the row")
        if least is not None and len(bad := np.flatnonzero(values < least)):
            mend = "count time from the start of the file" if name == TIME else f"the least is {least:g}"
            raise self.at(int(bad[0]), f"{name} is {values[bad[0]]:g}", mend)
        return values

    def at(self, index: int, problem: str, mend: str) -> TraceError:
        """The error for the row of this index."""
        return TraceError(self.file, self.lines[index], problem, mend)

    def times(self) -> Floats:
        """The column `t_seconds`: seconds from the start of the file, in order. Raises TraceError otherwise."""
        if TIME not in self.columns:
            raise self._no_times()
        times = self.numbers(TIME, least=None)
        _not_another_unit(self.file, times)
        if len(bad := np.flatnonzero(times < 0)):
            raise self.at(int(bad[0]), f"time {times[bad[0]]:g} is negative", "count time from the start of the file")
        if len(bad := np.flatnonzero(np.diff(times) < 0)):
            at = int(bad[0]) + 1
            problem = f"time {times[at]:g} comes after {times[at - 1]:g}"
            raise self.at(at, problem, f"sort the file by {TIME}")
        if times[-1] - times[0] > LONGEST_SECONDS:
            problem = f"times span {(times[-1] - times[0]) / 86400:.0f} days, more than 31: they look like milliseconds"
            raise TraceError(self.file, None, problem, f"divide {TIME} by 1000, or cut the file")
        return times

    def _no_times(self) -> TraceError:
        if len(self.columns) == 1 and any(mark in next(iter(self.columns)) for mark in (";", "\t")):
            problem = "the columns are not separated by commas"
            return TraceError(self.file, 1, problem, f"write a CSV with commas and a column {TIME}")
        near = [name for name in self.columns if name.lower().startswith(("t_", "time", "timestamp", "ts"))]
        if near:
            mend = f"rename {near[0]} to {TIME}, in seconds from the start of the file"
        else:
            mend = f"add a column {TIME}, in seconds from the start of the file"
        return TraceError(self.file, 1, f"column {TIME} is missing", mend)


def read_table(path: Path) -> Table:
    """The table in a CSV file, gzipped or plain. Raises TraceError."""
    return parse_table(str(path), _text(path))


def parse_table(file: str, text: str) -> Table:
    """The table in a text with a header line. Raises TraceError for rows that do not fit the header."""
    reader = csv.reader(io.StringIO(text))
    try:
        header = [name.strip().removeprefix("\ufeff") for name in next(reader, [])]
        if not any(header):
            raise TraceError(file, None, "the file is empty", f"give a CSV with a header and a column {TIME}")
        if len(set(header)) < len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise TraceError(file, 1, f"column {twice!r} stands twice in the header", "rename one of them")
        rows, lines = _rows(file, reader, len(header))
    except csv.Error as error:
        raise TraceError(file, reader.line_num, f"not CSV: {error}", "write plain CSV") from None
    if not rows:
        raise TraceError(file, None, "no rows, so zero requests", "give a file with at least one row below the header")
    return Table(file, dict(zip(header, map(list, zip(*rows, strict=True)), strict=True)), lines)


def even_step(table: Table, times: Floats) -> float:
    """Seconds between the rows of rates. Raises TraceError where a row is missing, twice there or out of step."""
    if len(times) < 2:
        raise TraceError(table.file, None, "one row has no step", "give a rate trace at least two rows")
    steps = np.diff(times)
    step = float(np.median(steps))
    if len(bad := np.flatnonzero(steps <= 0.0)):
        raise table.at(int(bad[0]) + 1, f"time {times[bad[0] + 1]:g} stands twice", "keep one row for each time")
    off = np.abs(steps - step) > 0.01 * step
    if len(bad := np.flatnonzero(off)):
        at = int(bad[0]) + 1
        if steps[at - 1] > step:
            problem = f"a gap of {steps[at - 1]:g} s where rows are {step:g} s apart"
            mend = "fill it with the rates of that time (0 if there was no traffic), or cut the file there"
        else:
            problem = f"a row {steps[at - 1]:g} s after the last where rows are {step:g} s apart"
            mend = "resample the file to one step"
        raise table.at(at, problem, mend)
    return step


def no_hole(table: Table, times: Floats) -> None:
    """Refuses a trace of requests with one silence that is out of all proportion: more likely a hole in the recording.

    Raises:
        TraceError: with the row after the hole.
    """
    gaps = np.diff(times, prepend=0.0)
    if len(gaps) < 3:
        return
    at = int(np.argmax(gaps))
    second = float(np.max(np.delete(gaps, at)))
    if gaps[at] >= HOLE_SECONDS and gaps[at] > HOLE_RATIO * second:
        problem = f"no request for {gaps[at]:.0f} s, while the next longest silence is {second:.1f} s"
        mend = "cut the file there, count time from its first request, or write it as rates with zeros if it was calm"
        raise table.at(at, problem, mend)


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
        return raw.decode()
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise TraceError(str(path), None, f"not gzip: {error}", "give gzip or plain CSV") from None
        raise TraceError(str(path), None, f"cannot be read: {error.strerror or error}", "check the path") from None
    except (EOFError, zlib.error) as error:
        raise TraceError(str(path), None, f"the gzip file is cut or damaged: {error}", "fetch it again") from None
    except UnicodeDecodeError as error:
        raise TraceError(str(path), None, f"not UTF-8 text: {error.reason}", "give gzip or plain CSV") from None


def _rows(file: str, reader: Iterable[list[str]], width: int) -> tuple[list[list[str]], list[int]]:
    rows: list[list[str]] = []
    lines: list[int] = []
    for number, row in enumerate(reader, start=2):
        if not row:
            continue
        if len(row) != width:
            problem = f"{len(row)} cells where the header has {width} columns"
            raise TraceError(file, number, problem, "complete the row or drop it")
        rows.append(row)
        lines.append(number)
    return rows, lines


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _not_another_unit(file: str, times: Floats) -> None:
    first = abs(float(times[0]))
    if first < _EPOCH_SECONDS:
        return
    unit, divisor = next(((u, d) for bound, u, d in _UNITS if first > bound), ("seconds", ""))
    mend = f"subtract the first time{f' and divide by {divisor}' if divisor else ''}"
    raise TraceError(file, 2, f"times look like {unit} since 1970", mend)
