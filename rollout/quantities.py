"""Durations, shares and latencies as a person writes them: `30m`, `20%`, `200ms`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_SECONDS = 3650 * 86400.0
_DURATION = r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)"
_PERCENT = r"([0-9]+(?:\.[0-9]+)?)\s*%"


def parse_duration(value: object) -> timedelta:
    """Return the duration that text such as `30m`, `1h30m`, `200ms` or `24h` stands for.

    >>> parse_duration("1h30m")
    datetime.timedelta(seconds=5400)
    """
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str) and re.fullmatch(f"(?:{_DURATION})+", text := value.strip()):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_DURATION, text))
        if seconds <= _LONGEST_SECONDS:
            return timedelta(seconds=seconds)
        raise ValueError("allowed: a duration of at most 3650d")
    raise ValueError("allowed: a duration such as 200ms, 30s, 30m, 1h30m, 24h")


def format_duration(value: timedelta) -> str:
    """Return a duration as `parse_duration` reads it, in the fewest parts.

    >>> format_duration(timedelta(minutes=90)), format_duration(timedelta(seconds=4.5))
    ('1h30m', '4.5s')
    """
    left = round(value.total_seconds() * 1000)
    if left == 0:
        return "0s"
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000)):
        if unit == "d" and left < 2 * size:  # a day reads better as 24h
            continue
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    if left:
        parts.append(f"{left / 1000:g}s" if left >= 1000 else f"{left}ms")
    return "".join(parts)


def parse_percent(value: object) -> float:
    """Return the ratio (0-1) that text such as `0.1%` stands for.

    >>> parse_percent("20%")
    0.2
    """
    match = re.fullmatch(_PERCENT, value.strip()) if isinstance(value, str) else None
    if match and (share := float(match[1]) / 100) < 1e6:
        return round(share, 12)
    raise ValueError("allowed: a share in percent, such as 0.1% or 20%")


def format_percent(ratio: float) -> str:
    """Return a ratio as percent text.

    >>> format_percent(0.001)
    '0.1%'
    """
    return f"{ratio * 100:.6g}%"


_SIZES = {
    "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
_QUANTITY = r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?"


def parse_quantity(value: object) -> float:
    """Return the number that a quantity such as `512Mi`, `500m` or `0.8` stands for, as in Kubernetes.

    >>> parse_quantity("512Mi"), parse_quantity("500m"), parse_quantity(3)
    (536870912.0, 0.5, 3.0)
    """
    text = str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if (match := re.fullmatch(_QUANTITY, text)) and (number := float(match[1]) * _SIZES[match[2] or ""]) < 1e300:
        return number
    raise ValueError("allowed: a number of 0 or more, also with m, k, M, G, Ki, Mi or Gi, such as 512Mi")


def format_quantity(number: float) -> str:
    """Return a number as `parse_quantity` reads it.

    >>> format_quantity(536870912.0), format_quantity(0.8)
    ('512Mi', '0.8')
    """
    for unit in ("Gi", "Mi", "Ki"):
        if number and number % _SIZES[unit] == 0:
            return f"{number / _SIZES[unit]:.0f}{unit}"
    return repr(number)


def _ratio(value: object) -> float:
    # A bare 0.1 could mean 10 % or 0.1 %, so numbers without a percent sign are refused.
    if (ratio := parse_percent(value)) > 1:
        raise ValueError("allowed: a share from 0% to 100%")
    return ratio


def _weight(value: object) -> int:
    percent = round(parse_percent(value) * 100, 9)
    if percent != round(percent) or not 1 <= percent <= 100:
        raise ValueError("allowed: a whole share from 1% to 100%")
    return round(percent)


def _duration(value: object) -> timedelta:
    if (duration := parse_duration(value)) < timedelta(0):
        raise ValueError("allowed: a duration of 0s or more")
    return duration


def _schema(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


_DURATION_PATTERN = r"^(\d+(\.\d+)?(ms|s|m|h|d))+$"
_PERCENT_PATTERN = r"^\d+(\.\d+)?\s*%$"

Duration = Annotated[
    timedelta, BeforeValidator(_duration), PlainSerializer(format_duration), _schema(_DURATION_PATTERN, "30m")
]
"""Text such as `30m` at the border, a timedelta inside."""
Ratio = Annotated[float, BeforeValidator(_ratio), PlainSerializer(format_percent), _schema(_PERCENT_PATTERN, "0.1%")]
"""Text such as `0.1%` at the border, a float from 0 to 1 inside."""
Effect = Annotated[
    float, BeforeValidator(parse_percent), PlainSerializer(format_percent), _schema(_PERCENT_PATTERN, "10%")
]
"""A relative difference: text such as `10%` at the border, a float inside; may pass 100%."""
Quantity = Annotated[
    float,
    BeforeValidator(parse_quantity),
    PlainSerializer(format_quantity),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": f"^{_QUANTITY}$"}, {"type": "number", "minimum": 0}],
            "examples": ["512Mi"],
        }
    ),
]
"""A number, or text such as `512Mi`, at the border; a float inside."""
Percent = Annotated[
    int, BeforeValidator(_weight), PlainSerializer(lambda percent: f"{percent}%"), _schema(_PERCENT_PATTERN, "20%")
]
"""A weight: text such as `20%` at the border, a whole number from 1 to 100 inside."""
