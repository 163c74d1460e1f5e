"""Trace files: what is read of each format, what a seed draws, and the complaint about every kind of bad file."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from agentscaler.simulate import synthetic
from agentscaler.simulate.trace import TraceError, load, read

TRACES = Path(os.environ.get("AGENTSCALER_TRACES", Path(__file__).parents[3] / "shared" / "traces"))
needs_traces = pytest.mark.skipif(not TRACES.is_dir(), reason="the trace collection is not here")


def write(folder: Path, text: str, name: str = "load.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def rates(step: float, values: list[float], column: str = "rps") -> str:
    return "\n".join([f"t_seconds,{column}", *(f"{i * step:g},{v:g}" for i, v in enumerate(values))]) + "\n"


def test_a_csv_of_any_one_rate_column_is_a_rate_per_second(tmp_path: Path) -> None:
    trace = load(write(tmp_path, rates(10, [20.0] * 100, "load")), seed=1)
    assert trace.duration_seconds == 1000
    assert abs(len(trace) - 20_000) < 600
    assert (np.diff(trace.arrivals_seconds) >= 0).all()
    assert trace.arrivals_seconds[-1] < 1000


def test_counted_requests_are_exact_at_scale_one_and_drawn_below(tmp_path: Path) -> None:
    path = write(tmp_path, rates(1, [3, 0, 5] * 1000, "requests"))
    trace = load(path, seed=1)
    assert np.bincount(trace.arrivals_seconds.astype(int)).tolist() == ([3, 0, 5] * 1000)
    half = load(path, seed=1, scale=0.5)
    assert abs(len(half) - 4000) < 300
    assert len(load(path, seed=1, scale=2.0)) == 16_000


def test_fractions_of_requests_are_means(tmp_path: Path) -> None:
    trace = load(write(tmp_path, rates(10, [0.4] * 5000, "requests")), seed=1)
    assert abs(len(trace) - 2000) < 200


def test_the_same_seed_draws_the_same_requests_and_another_one_others(tmp_path: Path) -> None:
    path = write(tmp_path, rates(1, [5.0] * 300))
    one, again, other = (load(path, seed=s).arrivals_seconds for s in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one[:100], other[:100])


def test_gaps_have_the_recorded_variation_and_the_load_its_mean(tmp_path: Path) -> None:
    rows = "\n".join(f"{i * 600},2.0,3.0" for i in range(200))
    trace = load(write(tmp_path, f"t_seconds,rps,rate_weighted_cv\n{rows}\n"), seed=5)
    gaps = np.diff(trace.arrivals_seconds)
    assert abs(len(trace) / 240_000 - 1.0) < 0.03
    assert abs(gaps.std() / gaps.mean() - 3.0) < 0.1


def test_each_rate_column_is_a_trace_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, "t_seconds,calm_rps,busy_rps\n0,1,9\n1,1,9\n2,1,9\n")
    assert [t.name for t in read(path).traces(seed=1)] == ["load:calm_rps", "load:busy_rps"]
    assert load(path, seed=1, column="busy_rps").name == "load:busy_rps"
    with pytest.raises(TraceError, match="name one of calm_rps, busy_rps"):
        load(path, seed=1)


def test_a_gzipped_file_of_requests_keeps_tokens_beside_their_request(tmp_path: Path) -> None:
    path = tmp_path / "calls.csv.gz"
    path.write_bytes(gzip.compress(b"t_seconds,input_tokens,output_tokens\n0.5,10,1\n0.5,20,2\n7.25,30,3\n"))
    trace = load(path, seed=1)
    assert trace.name == "calls"
    assert trace.arrivals_seconds.tolist() == [0.5, 0.5, 7.25]
    assert trace.output_tokens is not None
    assert trace.output_tokens.tolist() == [1, 2, 3]
    assert trace.duration_seconds == 8


def test_sessions_are_kept_or_dropped_as_a_whole(tmp_path: Path) -> None:
    rows = "\n".join(f"{t},{t % 40},1.0,2.0" for t in range(400))
    path = write(tmp_path, f"t_seconds,session_instance,llm_s,tool_s\n{rows}\n")
    trace = load(path, seed=3, scale=0.5)
    assert trace.session is not None
    assert trace.service_seconds is not None
    counts = np.bincount(trace.session)
    assert set(counts[counts > 0].tolist()) == {10}
    assert set(trace.service_seconds.tolist()) == {3.0}


def test_block_ids_follow_their_request_through_the_jitter(tmp_path: Path) -> None:
    path = write(tmp_path, "t_seconds,output_tokens,block_ranges\n0,1,0 7-9\n0,2,0-1\n3,3,5\n")
    trace = load(path, seed=1)
    assert trace.blocks is not None
    assert trace.output_tokens is not None
    found = {int(o): trace.blocks.of(i).tolist() for i, o in enumerate(trace.output_tokens)}
    assert found == {1: [0, 7, 8, 9], 2: [0, 1], 3: [5]}


def test_sessions_without_a_common_clock_start_at_drawn_times(tmp_path: Path) -> None:
    text = "sess,task,llm_s,tool_s,user_gap_s\n1,1,10,5,0\n1,2,4,0,100\n2,1,7,0,0\n"
    one = load(write(tmp_path, text), seed=1)
    assert one.session is not None
    first = one.arrivals_seconds[one.session == 1]
    gap = float(first[-1] - first[0]) % 86_400
    assert min(gap, 86_400 - gap) == pytest.approx(115.0)  # the first task's 15 s and the user's 100 s
    assert not np.array_equal(one.arrivals_seconds, load(write(tmp_path, text), seed=2).arrivals_seconds)


def test_the_beginning_of_a_trace_is_a_trace(tmp_path: Path) -> None:
    trace = load(write(tmp_path, rates(1, [5.0] * 300)), seed=1)
    head = trace.first(60)
    assert head.duration_seconds == 60
    assert np.array_equal(head.arrivals_seconds, trace.arrivals_seconds[trace.arrivals_seconds < 60])


BAD = {
    "a gap in rates": ("t_seconds,rps\n0,1\n60,1\n120,1\n300,1\n360,1\n", 5, "a gap of 180 s", "cut the file there"),
    "a gap in requests": (
        "t_seconds,output_tokens\n" + "\n".join(f"{t},5" for t in [*range(60), *range(90_000, 90_060)]),
        62,
        "no request for 89941 s",
        "cut the file there",
    ),
    "an empty cell": ("t_seconds,rps\n0,1\n1,\n2,1\n", 3, "rps is '', not a number", "drop the row"),
    "rates out of order": ("t_seconds,rps\n0,1\n2,1\n1,1\n", 4, "time 1 comes after 2", "sort the file by t_seconds"),
    "requests out of order": ("t_seconds,output_tokens\n5,1\n3,1\n", 3, "time 3 comes after 5", "sort the file"),
    "a negative time": ("t_seconds,rps\n-1,1\n0,1\n1,1\n", 2, "time -1 is negative", "from the start of the file"),
    "NaN": ("t_seconds,rps\n0,1\n1,nan\n2,1\n", 3, "rps is 'nan'", "finite"),
    "NaN time": ("t_seconds,rps\n0,1\nNaN,1\n2,1\n", 3, "t_seconds is 'NaN'", "finite"),
    "infinity": ("t_seconds,rps\n0,1\n1,inf\n2,1\n", 3, "rps is 'inf'", "finite"),
    "a negative rate": ("t_seconds,rps\n0,1\n1,-4\n2,1\n", 3, "rps is -4", "least is 0"),
    "a word": ("t_seconds,rps\n0,1\n1,many\n", 3, "rps is 'many'", "number"),
    "no time column": ("rps\n1\n2\n", 1, "column t_seconds is missing", "add a column t_seconds"),
    "time by another name": ("t_ms,rps\n0,1\n1000,2\n", 1, "column t_seconds is missing", "rename t_ms"),
    "a date": ("t_seconds,rps\n2026-01-01,1\n", 2, "not a number", "seconds from the start of the file"),
    "semicolons": ("t_seconds;rps\n0;1\n1;2\n", 1, "not separated by commas", "with commas"),
    "half of a format": ("t_seconds,llm_s\n0,1\n", 1, "column tool_s is missing", "the file has t_seconds, llm_s"),
    "which rate": ("t_seconds,a,b\n0,1,2\n1,1,2\n", 1, "which of a, b is the rate?", "name the rate rps"),
    "zero rates": ("t_seconds,rps\n0,0\n1,0\n", None, "zero requests", "with load"),
    "no rows": ("t_seconds,rps\n", None, "zero requests", "at least one row"),
    "nothing": ("", None, "the file is empty", "header"),
    "epoch milliseconds": ("t_seconds,rps\n1700000000000,1\n1700000001000,1\n", 2, "milliseconds", "divide by 1000"),
    "epoch seconds": (
        "t_seconds,rps\n1700000000,1\n1700000001,1\n",
        2,
        "seconds since 1970",
        "subtract the first time",
    ),
    "milliseconds": ("t_seconds,output_tokens\n0,1\n3600000,1\n", None, "look like milliseconds", "by 1000"),
    "a time twice": ("t_seconds,rps\n0,1\n1,1\n1,1\n2,1\n", 4, "time 1 stands twice", "one row for each time"),
    "uneven steps": ("t_seconds,rps\n0,1\n10,1\n20,1\n25,1\n35,1\n", 5, "a row 5 s after the last", "resample"),
    "one rate": ("t_seconds,rps\n0,1\n", None, "one row has no step", "two rows"),
    "a short row": ("t_seconds,rps\n0,1\n1\n", 3, "1 cells where the header has 2", "complete the row"),
    "a column twice": ("t_seconds,rps,rps\n0,1,1\n", 1, "stands twice in the header", "rename"),
    "blocks": ("t_seconds,output_tokens,block_ranges\n0,1,0-x\n", 2, "block_ranges is '0-x'", "ids and ranges"),
}


@pytest.mark.parametrize(("text", "row", "problem", "mend"), BAD.values(), ids=BAD.keys())
def test_a_bad_file_is_named_with_its_row_and_its_mend(
    tmp_path: Path, text: str, row: int | None, problem: str, mend: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(TraceError) as caught:
        load(path, seed=1)
    error = caught.value
    assert (error.file, error.row) == (str(path), row)
    assert problem in error.problem
    assert mend in error.mend
    assert str(path) in str(error)
    assert "\n" not in str(error)


def test_a_file_that_is_no_text_a_cut_archive_and_no_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\xff\xfe")
    whole = gzip.compress(b"t_seconds,rps\n" + b"0,1\n" * 1000)
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    for name, problem in [
        ("picture.csv", "not UTF-8"),
        ("cut.csv.gz", "cut or damaged"),
        ("none.csv", "cannot be read"),
    ]:
        with pytest.raises(TraceError, match=problem):
            read(tmp_path / name)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_means_nothing_is_refused(tmp_path: Path, scale: float) -> None:
    with pytest.raises(TraceError, match="above 0"):
        load(write(tmp_path, rates(1, [1, 1])), seed=1, scale=scale)


def test_a_scale_that_leaves_no_request_or_far_too_many_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, rates(1, [1.0] * 100))
    with pytest.raises(TraceError, match="zero requests"):
        load(path, seed=1, scale=1e-9)
    with pytest.raises(TraceError, match="use a scale of at most"):
        load(path, seed=1, scale=1e9)


@needs_traces
@pytest.mark.parametrize(
    ("file", "scale", "count", "hours"),
    [
        ("azure_llm_conv_2023", 1, 19_366, 0.97),
        ("mooncake_conversation", 1, 12_031, 0.98),
        ("servegen_deepseek_r1_ramp2h", 1, 199_769, 2),
        ("agent_day_tasks", 1, 15_038, 24),
        ("agent_calls", 1, 32_357, 24),
        ("agent_tasks", 1, 3_007, 24),
        ("servegen_deepseek_r1_1d_1s", 0.25, 345_197, 24),
        ("servegen_mlarge_14d_10min", 0.02, 4_738_000, 336),
        ("twit_24h_1s", 0.1, 362_885, 24.61),
    ],
)
def test_the_trace_collection_is_read_whole(file: str, scale: float, count: int, hours: float) -> None:
    trace = load(TRACES / f"{file}.csv.gz", seed=1, scale=scale)
    assert abs(len(trace) / count - 1) < (0.005 if scale != 1 else 1e-9)
    assert trace.duration_seconds / 3600 == pytest.approx(hours, abs=0.01)
    assert (np.diff(trace.arrivals_seconds) >= 0).all()


@pytest.mark.parametrize("name", synthetic.SHAPES)
def test_a_synthetic_load_needs_no_file(name: str) -> None:
    trace = synthetic.trace(name, seed=1)
    expected = float(synthetic.SHAPES[name]().sum())
    assert abs(len(trace) - expected) < 5 * expected**0.5
    assert np.array_equal(trace.arrivals_seconds, synthetic.trace(name, seed=1).arrivals_seconds)


def test_drawn_call_durations_have_the_measured_quantiles() -> None:
    seconds = synthetic.call_seconds(200_000, np.random.default_rng(1))
    assert np.quantile(seconds, 0.5) == pytest.approx(6.1, rel=0.02)
    assert np.quantile(seconds, 0.95) == pytest.approx(28.0, rel=0.03)
