"""What a Prometheus-compatible server answers to a query, checked: a value, or an error of ours."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backends.prometheus.deadline import seconds_left
from rollout.errors import UnavailableError

LATEST: Final = 253_402_300_800.0
"""The year 10000: no moment of a datetime is later."""
MOST_WARNINGS: Final = 10
LONGEST_TEXT: Final = 200
"""Characters kept of a text that the server wrote."""
_REMARKS: Final = ("errorType", "error", "warnings", "infos")
_RESULT_TYPES: Final = ("matrix", "vector", "scalar", "string")
_BOUNDARIES: Final = {0.0, 1.0, 2.0, 3.0}
"""How a bucket's two edges are closed; 0: the upper one, 1: the lower one, 2: none, 3: both."""

Floats = NDArray[np.float64]
Histograms = tuple[tuple[float, dict[str, Any]], ...]


@dataclass(frozen=True, slots=True, eq=False)
class SampledSeries:
    """One series' samples, in order of time; no moment comes twice, and no value is NaN or infinite.

    `times` are seconds since the epoch, as long as `values`. A native histogram is `count`, `sum` and `buckets` as
    Prometheus' HTTP API writes them: numbers as texts, a bucket as [boundaries, lower edge, upper edge, count].
    """

    labels: Mapping[str, str]
    identity: str
    """All labels as one text, in the order in which the server gives them."""
    times: Floats
    values: Floats
    histograms: Histograms = ()


@dataclass(frozen=True, slots=True, eq=False)
class QueryResult:
    """The series that a query has, and what the server remarks on them: that a part is missing, for example."""

    series: tuple[SampledSeries, ...]
    warnings: tuple[str, ...] = ()


def decode(body: bytes, hide: Callable[[str], str]) -> dict[str, Any]:
    """Return the JSON object that an answer's body holds, its whole numbers as floats too.

    Parameters
    ----------
    body
        UTF-8, as JSON is.
    hide
        Takes what is secret from the texts that the server says beside the data: they are shown to people.
    """
    try:
        document = json.loads(body, parse_int=float)
    except RecursionError:
        raise UnavailableError("the answer is nested too deeply") from None
    except ValueError:
        raise UnavailableError("the answer is no JSON: is this Prometheus, or a login page before it?") from None
    if not isinstance(document, dict):
        raise UnavailableError(f"the answer is {_kind(document)}, expected an object")
    return document | {name: _hidden(document[name], hide) for name in _REMARKS if name in document}


def _hidden(remark: Any, hide: Callable[[str], str]) -> Any:
    if isinstance(remark, list):
        return [_hidden(text, hide) for text in remark if isinstance(text, str)]
    return hide(remark) if isinstance(remark, str) else None


def matrix(document: Mapping[str, Any]) -> QueryResult:
    """Return the answer to a range selector."""
    _, result = _data(document, "matrix")
    return _query_result(result, document)


def vector(document: Mapping[str, Any]) -> QueryResult:
    """Return the answer to an instant query: one sample a series; a scalar's series has no labels."""
    kind, result = _data(document, "vector", "scalar")
    if kind == "scalar":
        result = [{"metric": {}, "value": result}]
    singles = [_as_lists(series) for series in _list(result, "data.result")]
    return _query_result(singles, document)


def server_error(document: Mapping[str, Any]) -> str:
    """Return what a server says went wrong, such as `bad_data: parse error`, or an empty text."""
    texts = [document.get(name) for name in ("errorType", "error")]
    return shortened(": ".join(text for text in texts if isinstance(text, str) and text))


def shortened(text: str) -> str:
    """Return a server's text as it can be shown: in one line, without control characters, not too long."""
    seen = text[: 4 * LONGEST_TEXT].encode(errors="replace").decode()
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in seen).split())
    return line if len(line) <= LONGEST_TEXT else f"{line[: LONGEST_TEXT - 1]}…"


def _data(document: Mapping[str, Any], *allowed: str) -> tuple[str, Any]:
    if document.get("status") == "error":
        raise UnavailableError(server_error(document) or "the server reports an error and does not say which")
    data = document.get("data")
    if not isinstance(data, dict):
        raise UnavailableError(f"data is {_kind(data)}, expected an object")
    kind = data.get("resultType")
    if kind not in allowed:
        got = kind if kind in _RESULT_TYPES else "none that Prometheus has"
        raise UnavailableError(f"data.resultType is {got}, expected {' or '.join(allowed)}")
    return kind, data.get("result")


def _query_result(result: Any, document: Mapping[str, Any]) -> QueryResult:
    return QueryResult(tuple(_series(_list(result, "data.result"))), tuple(_warnings(document)))


def _series(result: list[Any]) -> Iterator[SampledSeries]:
    known = dict[str, int]()
    checked: list[tuple[dict[str, str], str, Histograms]] = []
    pairs: list[Any] = []
    ends: list[int] = []
    for index, entry in enumerate(result):
        if index % _STRETCH == 0:
            seconds_left()  # a large answer is given up when the time is over
        if not isinstance(entry, dict):
            raise UnavailableError(f"data.result[{index}] is {_kind(entry)}, expected an object")
        labels, identity = _labels(entry.get("metric"), index)
        if (former := known.setdefault(identity, index)) != index:
            raise UnavailableError(f"data.result[{index}].metric has the same labels as data.result[{former}]")
        if "values" not in entry and "histograms" not in entry:
            raise UnavailableError(f"data.result[{index}] has no samples")
        samples, histograms = entry.get("values", _NONE), entry.get("histograms", _NONE)
        if not isinstance(samples, list) or not isinstance(histograms, list):
            name, wrong = ("histograms", histograms) if isinstance(samples, list) else ("values", samples)
            raise UnavailableError(f"data.result[{index}].{name} is {_kind(wrong)}, expected a list")
        pairs += samples
        ends.append(len(pairs))
        counted = _histograms(histograms, f"data.result[{index}].histograms") if histograms else ()
        checked.append((labels, identity, counted))
    for (labels, identity, counted), (times, values) in zip(checked, _samples(pairs, ends), strict=True):
        if len(times) or counted:
            yield SampledSeries(labels, identity, times, values, counted)


def _labels(metric: Any, index: int) -> tuple[dict[str, str], str]:
    if not isinstance(metric, dict):
        raise UnavailableError(f"data.result[{index}].metric is {_kind(metric)}, expected an object of texts")
    try:
        identity = "\x00".join([*metric, *metric.values()])
        identity.encode()
    except TypeError:
        raise UnavailableError(f"data.result[{index}].metric has a label that is no text") from None
    except UnicodeEncodeError:
        raise UnavailableError(f"data.result[{index}].metric has a label that is not valid Unicode") from None
    return metric, identity


def _samples(pairs: list[Any], ends: list[int]) -> Iterator[tuple[Floats, Floats]]:
    """Yield each series' times and values; samples that are not finite, such as stale markers, are left out.

    All series are converted at once: a mesh has thousands of them, with a few samples each.
    """
    times, texts = _columns(pairs, ends)
    try:
        joined = "".join(texts)
        values = np.fromiter(map(float, texts), np.float64, len(texts))
    except (TypeError, ValueError):
        raise UnavailableError(
            f"{_place(_bad_value(texts), ends)} has a value that is no number written as a text"
        ) from None
    if "_" in joined or not joined.isascii():  # Python takes more for a number than Go does
        bad = next(index for index, text in enumerate(texts) if "_" in text or not text.isascii())
        raise UnavailableError(f"{_place(bad, ends)} has a value that is no number written as a text")
    is_valid = np.isfinite(values) & (times >= 0) & (times < LATEST)
    ascends = np.append(times[1:] > times[:-1], True)
    ascends[[end - 1 for end in ends if end]] = True
    is_plain = bool(is_valid.all() and ascends.all())
    times.flags.writeable = values.flags.writeable = False
    for start, end in pairwise([0, *ends]):
        part = slice(start, end)
        yield (
            (times[part], values[part])
            if is_plain
            else _in_order(times[part][is_valid[part]], values[part][is_valid[part]])
        )


def _bad_value(texts: list[Any]) -> int:
    for index, text in enumerate(texts):
        try:
            "".join([text])
            float(text)
        except (TypeError, ValueError):
            return index
    return len(texts)


def _place(index: int, ends: list[int]) -> str:
    """Return where among the series a sample stands."""
    return f"data.result[{bisect_right(ends, index)}].values"


def _columns(pairs: list[Any], ends: list[int]) -> tuple[Floats, list[Any]]:
    for index, pair in enumerate(pairs):
        if type(pair) is not list or len(pair) != 2 or type(pair[0]) is not float:
            raise UnavailableError(f"{_place(index, ends)} has a sample that is no pair of a time and a value")
    return np.array([pair[0] for pair in pairs], np.float64), [pair[1] for pair in pairs]


def _in_order(times: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Return the samples by time, and of several at one moment the first."""
    times, first = np.unique(times, return_index=True)
    values = values[first]
    times.flags.writeable = values.flags.writeable = False
    return times, values


def _histograms(pairs: list[Any], where: str) -> Histograms:
    if not all(isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is float for pair in pairs):
        raise UnavailableError(f"{where} has a sample that is no pair of a time and a histogram")
    times, histograms = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    counted = {
        float(time): histogram
        for time, histogram in reversed(list(zip(times, histograms, strict=True)))
        if _is_counted(histogram, where) and 0 <= time < LATEST
    }
    return tuple(sorted(counted.items(), key=lambda item: item[0]))


def _is_counted(histogram: Any, where: str) -> bool:
    """Return whether a native histogram holds numbers; a stale one does not."""
    if not isinstance(histogram, dict):
        raise UnavailableError(f"{where} has a histogram that is {_kind(histogram)}, expected an object")
    buckets = _list(histogram.get("buckets") or [], f"{where} buckets")
    if not all(map(_is_bucket, buckets)):
        raise UnavailableError(f"{where} has a bucket that is not [boundaries, lower edge, upper edge, count]")
    counts = [_number(bucket[3], where) for bucket in buckets]
    edges = [_number(edge, where) for bucket in buckets for edge in bucket[1:3]]
    counts += [_number(histogram.get(name), where) for name in ("count", "sum")]
    return all(map(math.isfinite, counts)) and not any(map(math.isnan, edges))


def _is_bucket(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and type(value[0]) is float and value[0] in _BOUNDARIES


def _number(text: Any, where: str) -> float:
    try:
        if isinstance(text, str):
            return float(text)
    except ValueError:
        pass
    raise UnavailableError(f"{where} has a histogram whose numbers are not written as texts")


def _as_lists(series: Any) -> Any:
    """Return a vector's series in the form of a matrix's."""
    if not isinstance(series, dict):
        return series
    lists = {plural: [series[name]] for name, plural in _PLURALS.items() if name in series}
    return {"metric": series.get("metric")} | lists


_PLURALS: Final = {"value": "values", "histogram": "histograms"}


def _warnings(document: Mapping[str, Any]) -> Iterator[str]:
    remarks = [document.get(name) for name in ("warnings", "infos")]
    texts = [text for part in remarks if isinstance(part, list) for text in part if isinstance(text, str) and text]
    yield from map(shortened, texts[:MOST_WARNINGS])
    if len(texts) > MOST_WARNINGS:
        yield f"and {len(texts) - MOST_WARNINGS} more"


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise UnavailableError(f"{where} is {_kind(value)}, expected a list")
    return value


def _kind(value: Any) -> str:
    """Name a JSON value's type."""
    if value is None:
        return "missing or null"
    return _KINDS[type(value)]


_NONE: Final[list[Any]] = []
_STRETCH: Final = 64
"""Series that are read between two looks at the clock."""
_KINDS: Final = {bool: "a boolean", float: "a number", str: "a text", list: "a list", dict: "an object"}
