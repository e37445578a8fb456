"""Text that others wrote, fit for a terminal: what would steer it, or turn the line around, is written out."""

from __future__ import annotations

import re

# C0, DEL and C1 but for tab and newline; line separators, and what turns the direction of writing (CVE-2021-42574).
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Return text whose control characters are written as escapes; tabs and newlines stay.

    >>> printable("\x1b[2Jgone\u202e")
    '\\x1b[2Jgone\\u202e'
    """
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)
