"""Text for people: counts, shares, long names, and characters that a terminal would obey."""

import json
import os
import re
import unicodedata
from collections.abc import Iterable

ELLIPSIS = "…"


def counted(count: int, noun: str) -> str:
    """`1 frame`, `2 frames`, `1,000 frames`."""
    return f"{count:,} {noun if count == 1 else f'{noun}s'}"


def percent(share: float, digits: int = 1, *, signed: bool = False) -> str:
    """`12.5%`; never a zero with a sign."""
    shown = f"{share:{'+' if signed else ''}.{digits}%}"
    is_zero = not shown.strip("+-0.%")
    return f"{0:.{digits}%}" if is_zero else shown


def printable(text: str) -> str:
    """`text` with escapes in place of all that does not print, line ends but excepted: `\\x1b`, or what hides the order
    of characters. What stands in files of others may hold them, and a terminal obeys them."""
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape", "surrogatepass").decode()
        for each in text
    )


def is_utf8(text: str) -> bool:
    """Whether a name of the file system can stand in a file of text: Linux takes any bytes for one."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def columns(text: str) -> int:
    """The terminal columns that a text takes: two for each wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(each) in "WF" for each in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def shortened(name: str, width: int) -> str:
    """`name` in at most `width` columns, with an ellipsis in place of its middle."""
    if columns(name) <= width:
        return name
    taken = [0, 0]  # characters at the beginning and at the end
    for step in range(len(name)):
        more = list(taken)
        more[step % 2] += 1
        if columns(name[: more[0]] + ELLIPSIS + name[len(name) - more[1] :]) > width:
            break
        taken = more
    return name[: taken[0]] + ELLIPSIS + name[len(name) - taken[1] :]


def told_apart(names: Iterable[str], width: int) -> dict[str, str]:
    """Each of the names in at most `width` columns, as `shortened` does it. Those that would look alike lose what they
    have in common at their beginning: `…_13/pro…Conv2D`, where only a number within a long path differs."""
    found = {name: shortened(name, width) for name in names}
    alike: dict[str, list[str]] = {}
    for name, short in found.items():
        alike.setdefault(short, []).append(name)
    for group in alike.values():
        common = len(os.path.commonprefix(group))  # noqa: RUF071 - of characters, not of paths
        common = min(common, *(len(name) - 1 for name in group))
        if len(group) == 1 or common < 1 or width < 2:
            continue
        # A whole word of a path in front of the difference, if there is room for it.
        dropped = group[0].rfind("/", 0, common) + 1 or common
        rests = told_apart([name[dropped:] for name in group], width - 1)
        for name in group:
            found[name] = ELLIPSIS + rests[name[dropped:]].removeprefix(ELLIPSIS)
    return found


def wrapped(words: str, width: int) -> list[str]:
    """Lines of at most `width` columns, broken at spaces only; later ones are indented as the first. What stands in
    `backticks` is there to be copied, and is never broken: where it is wider, its line is."""
    margin = words[: len(words) - len(words.lstrip())]
    lines = [margin]
    for chunk in re.findall(r"(?:`[^`]*`|[^\s`]|`)+", words):
        gap = " " * (len(lines[-1]) > len(margin))
        if gap and columns(lines[-1] + gap + chunk) > width:
            lines.append(margin)
            gap = ""
        lines[-1] += gap + chunk
    return lines


def alike(word: str, known: Iterable[str], most: int = 2) -> list[str]:
    """Of the known words those that `word` may have been meant for, the likest first; case does not count."""
    import difflib

    by_small = {each.lower(): each for each in known}
    return [by_small[each] for each in difflib.get_close_matches(word.lower(), by_small, n=most)]


def meant(word: str, known: Iterable[str]) -> str:
    """A suggestion to put behind a refusal: the likest known word; empty where none is alike."""
    found = alike(word, known, most=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def json_line(value: object, encoding: str | None = None) -> str:
    """JSON in one line. What does not print, or what `encoding` lacks, is escaped as JSON does it."""
    line = json.dumps(value, ensure_ascii=False)
    try:
        line.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value)
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in line)
