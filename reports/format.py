"""Numbers, times and names as a reader sees them: the one place that turns values into text.

Unknown is never 0: every function returns an en dash for None. Pure; knows no mart and no template.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from datetime import date, datetime
from typing import Literal
from zoneinfo import ZoneInfo

DASH = "–"
# Narrow no-break space: keeps a number and its unit on one line.
THIN = "\u202f"
MINUS = "\u2212"
# Under this sample a rate is said to be thin: the alert rules' minimum sample.
THIN_SAMPLE = 20

_SHORT_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _sign(text: str) -> str:
    return text.replace("-", MINUS)


def count(value: float | None) -> str:
    """A whole number with thousands separators: ``12,345``."""
    return DASH if value is None else _sign(f"{round(value):,}")


def percent(value: float | None, digits: int = 1) -> str:
    """A ratio (0 to 1) as a percentage. Rounding never claims a bound: 0.99996 is not shown as 100 %."""
    if value is None:
        return DASH
    shown = f"{value * 100:.{digits}f}"
    step = 10.0**-digits
    if 0 < value < 1:
        shown = f"{min(max(float(shown), step), 100 - step):.{digits}f}"
    elif value in (0, 1):
        shown = f"{value * 100:.0f}"
    return f"{_sign(shown)}{THIN}%"


def rating(value: float | None) -> str:
    """An average rating of 1 to 5: ``4.21``."""
    return DASH if value is None else f"{value:.2f}"


def duration(milliseconds: float | None) -> str:
    """A response time in the unit that reads best: ``840 ms``, ``1.84 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if milliseconds is None:
        return DASH
    if milliseconds < 999.5:
        return f"{milliseconds:.0f}{THIN}ms"
    seconds = milliseconds / 1000
    if seconds < 9.995:
        return f"{seconds:.2f}{THIN}s"
    if seconds < 99.5:
        return f"{seconds:.1f}{THIN}s"
    whole = round(seconds)
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes}{THIN}min" + (f" {rest}{THIN}s" if rest else "")
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,}{THIN}h" + (f" {minutes}{THIN}min" if minutes else "")


def money(dollars: float | None) -> str:
    """US dollars: cents from one dollar up, three significant digits below."""
    if dollars is None:
        return DASH
    sign, amount = (MINUS if dollars < 0 else ""), abs(dollars)
    if amount == 0:
        return "$0"
    if amount >= 0.995:
        return f"{sign}${amount:,.0f}" if amount >= 99_999.5 else f"{sign}${amount:,.2f}"
    if amount < 1e-6:
        return f"{sign}under $0.000001"
    digits = 2 - math.floor(math.log10(amount))
    text = f"{amount:.{digits}f}".rstrip("0")
    whole, _, decimals = text.partition(".")
    return f"{sign}${whole}.{decimals.ljust(2, '0')}"


def tokens(value: float | None) -> str:
    """A token count, short: ``12,345``, ``1.2 million``, ``3.40 billion``."""
    if value is None or abs(value) < 1e6:
        return count(value)
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if abs(value) >= size:
            return f"{value / size:.2f}{THIN}{name}"
    raise AssertionError("unreachable")  # pragma: no cover


def plain(text: str) -> str:
    """A formatted number without decimals that say nothing: ``80.0 %`` to ``80 %``, ``2.50 s`` stays."""
    return re.sub(r"\.0+(?!\d)", "", text)


def plural(number: int, one: str, many: str | None = None) -> str:
    """``1 use``, ``3 uses``, ``2 libraries`` with the number formatted."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def day(value: date | None) -> str:
    """``21 Nov 2026``."""
    return DASH if value is None else f"{value.day} {_SHORT_MONTHS[value.month - 1]} {value.year}"


def short_day(value: date) -> str:
    """``21 Nov``, where the year is clear."""
    return f"{value.day} {_SHORT_MONTHS[value.month - 1]}"


def days_between(first: date | None, last: date | None) -> str:
    """``1 Nov – 21 Nov 2026``; the year once where it is one, the day once where it is one."""
    if first is None or last is None:
        return day(first or last)
    if first == last:
        return day(last)
    start = short_day(first) if first.year == last.year else day(first)
    return f"{start} {DASH} {day(last)}"


def size(number: int) -> str:
    """Bytes in words: `12 kB`, `1.4 MB`; a thousand to the step."""
    if number < 1_000_000:
        return f"{max(1, round(number / 1000)):,}{THIN}kB"
    return f"{number / 1_000_000:.1f}{THIN}MB"


def moment(value: datetime | None, timezone: str) -> str:
    """A point in time in the reporting zone: ``21 Nov 2026, 01:34 CET``."""
    if value is None:
        return DASH
    local = value.astimezone(ZoneInfo(timezone))
    return f"{day(local.date())}, {local:%H:%M} {local.tzname()}"


def age(days: int) -> str:
    """How long ago a day is: ``today``, ``yesterday``, ``12 days ago``."""
    if days <= 0:
        return "today"
    return "yesterday" if days == 1 else f"{count(days)} days ago"


def difference(
    now: float | None, before: float | None, kind: Literal["relative", "points", "absolute"]
) -> str | None:
    """A change in words of its kind: ``+12.0 %``, ``−1.4 points`` (percentage points), ``+0.12``.

    Of the numbers as they are shown, so that a reader who subtracts them agrees. None where either side
    is unknown, or a relative change has no base.
    """
    if now is None or before is None:
        return None
    if kind == "points":
        return f"{_sign(f'{round(now * 100, 1) - round(before * 100, 1):+.1f}')} points"
    if kind == "absolute":
        return _sign(f"{round(now, 2) - round(before, 2):+.2f}")
    if before == 0:
        return None
    ratio = now / before
    if ratio >= 10:
        return f"×{THIN}{ratio:,.0f}"
    change = (ratio - 1) * 100
    return f"{_sign(f'{change:+.1f}' if abs(change) < 10 else f'{change:+.0f}')}{THIN}%"


def sample(number: int | None, of: str) -> str:
    """The sample behind a number, and that it is thin where it is: ``120 uses``, ``7 uses, thin``."""
    if number is None:
        return DASH
    words = plural(number, of)
    return f"{words}, thin" if 0 < number < THIN_SAMPLE else words


def cut(text: str, limit: int) -> str:
    """At most ``limit`` characters, an ellipsis where something is left out."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def slug(name: str, identity: str) -> str:
    """A file name for a prompt: readable, and one to one with ``identity``, on every file system."""
    plain = unicodedata.normalize("NFKD", name[:200]).encode("ascii", "ignore").decode().lower()
    readable = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:48].strip("-")
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{readable}-{digest}" if readable else digest
