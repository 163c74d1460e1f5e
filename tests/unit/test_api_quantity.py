"""Sizes, tolerances and percentages, to the byte and to the digit."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentscaler.api.quantity import SIZE_PATTERN, format_size, parse_size, parse_tolerance, percent_to_ratio


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        (0, 0),
        (1024, 1024),
        ("64Mi", 67_108_864),
        ("1Gi", 1_073_741_824),
        ("1.5Gi", 1_610_612_736),
        ("1G", 1_000_000_000),
        ("1k", 1000),
        ("1Ki", 1024),
        ("1Ti", 1_099_511_627_776),
        ("2T", 2_000_000_000_000),
        ("0.5", 1),
        ("0.0001Ki", 1),
    ],
)
def test_a_size_is_read_as_kubernetes_reads_it(text: int | str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "Mi", "64MB", "-1", "1e3", "100m", "1 Mi", "64mi", "\u0661Mi", True, None])
def test_what_is_no_size_is_refused_with_the_mend(text: str) -> None:
    with pytest.raises(ValueError, match=r"write it as 256Mi, 1G or plain bytes"):
        parse_size(text)


@given(st.from_regex(SIZE_PATTERN, fullmatch=True))
def test_whatever_the_api_server_takes_for_a_size_is_one(text: str) -> None:
    assert parse_size(text) >= 0


@given(st.integers(0, 2**41))
def test_a_size_survives_being_written(size_bytes: int) -> None:
    assert parse_size(format_size(size_bytes)) == size_bytes


@given(st.integers(1, 1023), st.sampled_from(["Ki", "Mi", "Gi"]))
def test_a_round_size_is_written_as_people_do(number: int, suffix: str) -> None:
    assert format_size(parse_size(f"{number}{suffix}")) == f"{number}{suffix}"


@pytest.mark.parametrize("text", ["0", "1", "1T", "1Ti", "1G", "976562501Ki", "123456789", "1000Ki"])
def test_a_size_is_written_short(text: str) -> None:
    assert format_size(parse_size(text)) == text


@pytest.mark.parametrize(
    ("text", "ratio"), [("0.05", 0.05), ("50m", 0.05), (0, 0.0), (1, 1.0), ("2.5m", 0.0025), ("0", 0.0)]
)
def test_a_tolerance_is_read_as_the_hpa_reads_it(text: int | str, ratio: float) -> None:
    assert parse_tolerance(text) == ratio


@pytest.mark.parametrize("text", ["", "5%", "m", "-1", ".5", "1k"])
def test_what_is_no_tolerance_is_refused_with_the_mend(text: str) -> None:
    with pytest.raises(ValueError, match=r"write it as 0\.05 or 50m"):
        parse_tolerance(text)


@given(st.integers(1, 99_999))
def test_a_percentage_becomes_the_nearest_ratio(thousandths: int) -> None:
    exact = Fraction(thousandths, 100_000)
    assert percent_to_ratio(f"{thousandths // 1000}.{thousandths % 1000:03}") == float(exact)
