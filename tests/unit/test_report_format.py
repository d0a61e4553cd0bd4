"""Values as readers see them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

import pytest

from reports import format as fmt

T, M = fmt.THIN, fmt.MINUS


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, f"0{T}%"),
        (1, f"100{T}%"),
        (0.8613, f"86.1{T}%"),
        (0.99996, f"99.9{T}%"),
        (0.00001, f"0.1{T}%"),
        (-0.0314, f"{M}3.1{T}%"),
    ],
)
def test_a_share_never_claims_all_or_nothing_by_rounding(value: float | None, text: str) -> None:
    assert fmt.percent(value) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, "–"),
        (0, f"0{T}ms"),
        (999.4, f"999{T}ms"),
        (999.6, f"1.00{T}s"),
        (9_994, f"9.99{T}s"),
        (9_996, f"10.0{T}s"),
        (99_600, f"1{T}min 40{T}s"),
        (180_000, f"3{T}min"),
        (3_599_600, f"1{T}h"),
        (7_500_000, f"2{T}h 5{T}min"),
    ],
)
def test_a_time_has_the_unit_that_reads_best(milliseconds: float | None, text: str) -> None:
    assert fmt.duration(milliseconds) == text


@pytest.mark.parametrize(
    ("dollars", "text"),
    [
        (None, "–"),
        (0, "$0"),
        (9990, "$9,990.00"),
        (0.995, "$0.99"),
        (0.999, "$1.00"),
        (1234567, "$1,234,567"),
        (0.5, "$0.50"),
        (0.000575, "$0.000575"),
        (0.0042, "$0.0042"),
        (1e-9, "under $0.000001"),
        (-3, f"{M}$3.00"),
    ],
)
def test_money_keeps_three_digits_below_a_dollar(dollars: float | None, text: str) -> None:
    assert fmt.money(dollars) == text


@pytest.mark.parametrize(
    ("now", "before", "kind", "text"),
    [
        (112, 100, "relative", f"+12{T}%"),
        (99, 100, "relative", f"{M}1.0{T}%"),
        (1200, 100, "relative", f"×{T}12"),
        (5, 0, "relative", None),
        (None, 1, "relative", None),
        (0.8, 0.814, "points", f"{M}1.4 points"),
        (4.2, 4.08, "absolute", "+0.12"),
    ],
)
def test_a_change_is_said_in_its_own_kind(now: float, before: float, kind: str, text: str | None) -> None:
    assert fmt.difference(now, before, kind) == text  # type: ignore[arg-type]


def test_a_thin_sample_says_so() -> None:
    assert fmt.sample(19, "outcome") == "19 outcomes, thin"
    assert fmt.sample(20, "outcome") == "20 outcomes"
    assert fmt.sample(1, "rating") == "1 rating, thin"
    assert fmt.sample(0, "rating") == "0 ratings"


def test_days_name_the_year_once() -> None:
    assert fmt.days_between(date(2026, 2, 1), date(2026, 3, 1)) == "1 Feb – 1 Mar 2026"
    assert fmt.days_between(date(2025, 12, 2), date(2026, 3, 1)) == "2 Dec 2025 – 1 Mar 2026"
    assert fmt.days_between(date(2026, 3, 1), date(2026, 3, 1)) == "1 Mar 2026"


def test_a_moment_is_told_in_the_reporting_zone() -> None:
    moment = datetime(2026, 3, 1, 23, 34, tzinfo=UTC)
    assert fmt.moment(moment, "Europe/Berlin") == "2 Mar 2026, 00:34 CET"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "CON", "a/b\\c:d", "", "😀", "\u202eevil", "x" * 500, "é\0"]
)
def test_a_file_name_is_safe_whatever_the_prompt_is_called(name: str) -> None:
    slug = fmt.slug(name, "some id")
    assert re.fullmatch(r"[a-z0-9-]{1,60}", slug)


def test_prompts_of_one_name_get_pages_of_their_own() -> None:
    assert fmt.slug("Same name", "1") != fmt.slug("same-name", "2")
    assert fmt.slug("Same name", "1") == fmt.slug("Same name", "1")


def test_a_difference_is_that_of_the_numbers_as_shown() -> None:
    assert (fmt.rating(4.1149), fmt.rating(4.0551)) == ("4.11", "4.06")
    assert fmt.difference(4.1149, 4.0551, "absolute") == "+0.05"
    assert fmt.difference(0.93249, 0.92451, "points") == "+0.7 points"
