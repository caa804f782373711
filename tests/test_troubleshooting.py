"""Every refusal says what to do, or stands in docs/troubleshooting.md with what it means."""

import ast
import functools
import pathlib
import re

from tflsplit import errors

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
# A peer is told these, not a person: one section is about all of them. The other only joins messages of the rest.
NOT_BY_MESSAGE = ("FrameError", "ConfigurationError")
KINDS = {name for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, Exception)}
# The in-process twin of a broker, for tests and notebooks.
NOBODY_SEES = ("broker/transport/memory.py",)
_DO = (
    "add|allow|ask|become|bring|build|check|choose|close|compile|convert|copy|delete|export|free|give|"
    "grant|install|is it|is the|are you|leave|log in|lower|make|measure|move|name|needs?|open|plan|"
    "plug|profile|push|put|raise|record|remove|rename|repeat|replace|restart|retry|run|save|say|see|"
    "send|set|split|start|stop|sudo|take|train|try|update|use|wait|write|apt install|pip install"
)
# An imperative that begins a clause, what was expected, a limit, or an option or command to type.
SAYS_WHAT_TO_DO = re.compile(
    rf"(^|[;:,(?] ?|\b(or|so|and|else|then|to|first) )({_DO})\b"
    r"|\b(expected|at most|at least|only|must|supported|needs?|needed)\b|`tflsplit|--[a-z]"
)


def words_of(node):
    """A message with {} for what is filled in; None where it is made elsewhere."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in parts)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return (words_of(left) or "{}") + (words_of(right) or "{}")
    return None


@functools.cache
def messages():
    """Every message of an error of ours: where it stands, its class, its words."""
    return tuple(_messages())


def _messages():
    for package in ("tflsplit", "broker", "converters", "edge_runtime"):
        for path in sorted((ROOT / package).rglob("*.py")):
            place = path.relative_to(ROOT).as_posix()
            if place in NOBODY_SEES:
                continue
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and node.args:
                    kind = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
                    words = words_of(node.args[0])
                    if kind in KINDS and words is not None and re.search("[a-z]{3}", words):
                        yield f"{place}:{node.lineno}", kind, words


def entries():
    """The messages in the first column of the page's tables, as patterns; … stands for anything."""
    rows = PAGE.partition("## Messages, and what to do")[2].splitlines()
    cells = [row.split(" | ")[0] for row in rows if row.startswith("| `")]
    return {
        entry: re.compile(".*".join(map(re.escape, entry.split("…"))))
        for cell in cells
        for entry in re.findall(r"`([^`]+)`", cell)
    }


def test_every_message_says_what_to_do_or_has_an_entry():
    known = list(entries().values())
    lacking = [
        f"{place}: {words}"
        for place, kind, words in messages()
        if kind not in NOT_BY_MESSAGE
        if not SAYS_WHAT_TO_DO.search(words) and not any(entry.search(words) for entry in known)
    ]

    assert lacking == [], "say what to do, or add an entry to docs/troubleshooting.md"
    assert "`FrameError`" in PAGE.partition("### What is sent")[2]


def test_every_entry_is_of_a_message_that_there_is():
    said = [words for _, _, words in messages()]

    assert [entry for entry, pattern in entries().items() if not any(map(pattern.search, said))] == []


def test_the_rule_tells_a_message_that_says_nothing():
    assert SAYS_WHAT_TO_DO.search("{}: no scale; convert it again")
    assert SAYS_WHAT_TO_DO.search("batch of {}: expected 1 to 64")
    for words in ("{}: it cannot run here", "{} went wrong ({})", "the model gives nothing"):
        assert not SAYS_WHAT_TO_DO.search(words)
        assert not any(pattern.search(words) for pattern in entries().values())
