"""Native histograms, as a client of Prometheus' remote write sends them: just enough protobuf and snappy."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping


def histogram(*, at_ms: int, total: float, schema: int, buckets: Mapping[int, int]) -> bytes:
    """Return one sample, of so many requests in each bucket; bucket i ends at base ** i."""
    spans, deltas, before, last = b"", b"", 0, 0
    for index, count in sorted(buckets.items()):
        gap = index - last if spans else index
        spans += _bytes(11, _int(1, _zigzag(gap)) + _int(2, 1))
        deltas += _varint(_zigzag(count - before))
        before, last = count, index + 1
    counted = _int(1, sum(buckets.values())) + _double(3, total) + _int(4, _zigzag(schema)) + _double(5, 1e-9)
    return counted + _int(6, 0) + spans + _bytes(12, deltas) + _int(15, at_ms)


def write_request(series: Iterable[tuple[Mapping[str, str], Iterable[bytes]]]) -> bytes:
    """Return the body of a request that writes series of native histograms."""
    message = b""
    for labels, histograms in series:
        texts = [_bytes(1, name.encode()) + _bytes(2, value.encode()) for name, value in sorted(labels.items())]
        message += _bytes(1, b"".join([*(_bytes(1, text) for text in texts), *(_bytes(4, one) for one in histograms)]))
    return _snappy(message)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _zigzag(number: int) -> int:
    return number * 2 if number >= 0 else -number * 2 - 1


def _int(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _double(field: int, number: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", number)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _snappy(content: bytes) -> bytes:
    """Return a block of literals: right, and no smaller."""
    parts = [content[start : start + 65536] for start in range(0, len(content), 65536)]
    return _varint(len(content)) + b"".join(b"\xf4" + struct.pack("<H", len(part) - 1) + part for part in parts)
