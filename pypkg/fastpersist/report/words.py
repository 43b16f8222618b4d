"""Names and sizes as they are shown: whatever a file calls its things, it stays on its line."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable

NAME_CHARACTERS = 200  # of a name or a message; a path may be longer
PATH_CHARACTERS = 2000

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def cut(text: str, limit: int = NAME_CHARACTERS) -> str:
    """At most so many characters, with an ellipsis for the rest; lone surrogates are escaped."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace").decode()
    return text


def shown(text: str, limit: int = NAME_CHARACTERS) -> str:
    """Cut, and with escapes for what a terminal would obey: controls, marks of direction."""
    text = cut(text, limit)
    if text.isprintable():
        return text
    escaped = "".join(c if c.isprintable() else _escape(c) for c in text)
    return cut(escaped, limit)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def tagged(text: str, limit: int = NAME_CHARACTERS) -> str:
    """As `shown`, for the text and the attributes of HTML."""
    return html.escape(shown(text, limit))


def size(n_bytes: int) -> str:
    """As people read it: "1.5 MiB"."""
    if n_bytes < 1024:
        return f"{n_bytes} B"
    amount, i = n_bytes / 1024, 0
    while amount >= 999.95 and i < len(_UNITS) - 1:
        amount, i = amount / 1024, i + 1
    return f"{amount:.1f} {_UNITS[i]}"


def count(n: int, one: str, many: str | None = None) -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else ""


def columns(text: str) -> int:
    """How many columns of a terminal."""
    if text.isascii():
        return len(text)
    return sum(_width(c) for c in text)


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fitted(text: str, width: int, *, keep_end: bool = False) -> str:
    """In so many columns; of what is too long the end goes, or the middle of a path."""
    if columns(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    n_end = (width - 1) * 2 // 3 if keep_end else 0
    end = _taken(reversed(text[-n_end:] if n_end else ""), n_end)[::-1]
    return _taken(text, width - 1 - columns(end)) + "…" + end


def _taken(text: Iterable[str], width: int) -> str:
    out = ""
    for character in text:
        width -= _width(character)
        if width < 0:
            break
        out += character
    return out
