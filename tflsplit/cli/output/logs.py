"""The log on stderr of every command, in one of three forms: for people, for journald, or as JSON for programs.

A log call has a fixed phrase and key=value pairs, for example `log.info("edge runs cut=%s", cut.id)`. The pairs are
found in the template, so that each becomes a field of its own type in JSON.
"""

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from types import TracebackType
from typing import Any, TextIO

import click

from tflsplit import text
from tflsplit.cli.output import foreign_lines
from tflsplit.values.classes import dataclass

TEXT, JSON = "text", "json"
LEVELS = ("debug", "info", "warning", "error")

# The priorities of syslog. Journald reads them at the beginning of a line.
_PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}

# `key=%s`, with this or another placeholder; `%%` is a percent sign.
_PLACEHOLDER = re.compile(r"(?:(?P<key>\w+)=)?(?P<spec>%(?:%|[-+ 0#]*\d*(?:\.\d+)?[a-zA-Z]))")
_USERINFO = re.compile(r"(://[^\s/@:]*):[^\s/@]+@")
_OWN_FIELDS = ("time", "level", "logger", "event", "error", "repeated")

# A message that comes with each frame is shown _BURST times, and after that once in _QUIET_S seconds with a count. The
# number of different messages that are counted is bounded, as everything is in a process that runs for months.
_BURST = 5
_QUIET_S = 60.0
_KINDS = 256

# Whose templates have a fixed phrase and pairs.
_OURS = ("tflsplit", "broker", "edge_runtime", "converters")
# How the warnings and errors of the libraries begin that we load.
_FOREIGN = {
    logging.WARNING: re.compile(r"WARNING\b|W\d{4} "),
    logging.ERROR: re.compile(r"ERROR\b|[EF]\d{4} |Traceback|terminate called"),
}


def set_up(*, is_json: bool = False) -> None:
    """Sends the log to stderr. Called at the start of a command, whose options may change level and format after it."""
    root = logging.getLogger()
    # A library may have added a handler by logging before this; with two handlers each line would be written twice.
    for earlier in [handler for handler in root.handlers if type(handler) in (Handler, logging.StreamHandler)]:
        root.removeHandler(earlier)
        earlier.close()
    handler = Handler(sys.stderr)
    handler.setFormatter(_formatter(JSON if is_json else TEXT))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    sys.excepthook = _show_bug
    threading.excepthook = _show_bug_of_thread
    if is_json:
        foreign_lines.wrap(_foreign)


@contextmanager
def above_a_bar() -> Iterator[None]:
    """The log goes where `sys.stderr` has come to lead, which may be what keeps a progress bar below it."""
    moved = [handler for handler in logging.getLogger().handlers if isinstance(handler, Handler)]
    before = [handler.setStream(sys.stderr) for handler in moved]
    try:
        yield
    finally:
        for handler, stream in zip(moved, before, strict=True):
            handler.setStream(stream or handler.stream)


# For a command that only shows something: what goes well on its way, such as a connection, is not worth a line.
QUIET: dict[str, Any] = {"default_map": {"log_level": "warning"}}


def add_options(command: click.Command) -> None:
    """Adds the options `--debug`, `--log-level` and `--log-format`."""
    command.params += [
        click.Option(
            ["--log-level"],
            type=click.Choice(LEVELS),
            default="info",
            show_default=True,
            expose_value=False,
            callback=_set_level,
            help="Log messages of this level and above to stderr.",
        ),
        click.Option(
            ["--log-format"],
            type=click.Choice((TEXT, JSON)),
            default=TEXT,
            show_default=True,
            expose_value=False,
            callback=_set_format,
            help="Format of every line on stderr. Lines to journald also get a priority.",
        ),
        click.Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            callback=_set_debug,
            help="Log everything, and show a traceback for an error.",
        ),
    ]


def refusal(reason: str) -> None:
    """Prints the reason why a command ends, in one line on stderr."""
    _print(logging.ERROR, "refused", "reason", reason, prefix="tflsplit: ")


def warning(words: str) -> None:
    """Prints a warning of a command that goes on."""
    _print(logging.WARNING, "warning", "text", words, prefix="warning: ")


def progress(words: str) -> None:
    """Prints what a command does now."""
    _print(logging.INFO, "progress", "text", words)


def is_json() -> bool:
    """Whether every line on stderr is to be JSON."""
    handlers = logging.getLogger().handlers
    return any(isinstance(each.formatter, JsonFormatter) for each in handlers if isinstance(each, Handler))


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether a command line does: looked for before it is parsed, since it may be wrong."""
    return "--log-format=json" in arguments or ("--log-format", JSON) in pairwise(arguments)


def _print(level: int, event: str, key: str, words: str, *, prefix: str = "") -> None:
    line = _without_secrets(" ".join(words.split()))
    if is_json():
        record = logging.LogRecord("tflsplit", level, "", 0, f"{event} {key}=%s", (line,), None)
        click.echo(JsonFormatter(is_journal=is_journal()).format(record), err=True)
    else:
        priority = f"<{_PRIORITIES[level]}>" if is_journal() else ""
        click.echo(priority + text.printable(prefix + line), err=True)


def _show_bug(kind: type[BaseException], bug: BaseException, trace: TracebackType | None) -> None:
    if is_json():
        logging.getLogger("tflsplit").critical("bug", exc_info=(kind, bug, trace))
    else:
        sys.__excepthook__(kind, bug, trace)


def _show_bug_of_thread(failed: threading.ExceptHookArgs) -> None:
    name = failed.thread.name if failed.thread is not None else None
    if is_json() and failed.exc_value is not None:
        trace = (failed.exc_type, failed.exc_value, failed.exc_traceback)
        logging.getLogger("tflsplit").critical("bug thread=%s", name, exc_info=trace)
    else:
        threading.__excepthook__(failed)


def _foreign(line: str) -> str:
    """A line on stderr that is none of our log, as JSON."""
    level = next((level for level, start in _FOREIGN.items() if start.match(line)), logging.INFO)
    phrase = "line of a library or another process text=%s"
    record = logging.LogRecord("tflsplit.stderr", level, "", 0, phrase, (line,), None)
    return JsonFormatter(is_journal=is_journal()).format(record)


def is_journal(descriptor: int | None = None) -> bool:
    """Whether stderr is the stream that systemd connected to journald. It may have been redirected since."""
    named = os.environ.get("JOURNAL_STREAM", "")
    if not named:
        return False
    try:
        there = os.fstat(foreign_lines.original() if descriptor is None else descriptor)
    except OSError:
        return False
    return named == f"{there.st_dev}:{there.st_ino}"


class TextFormatter(logging.Formatter):
    """One line for people. For journald a line has no time, which journald adds, and begins with a priority."""

    def __init__(self, *, is_journal: bool) -> None:
        super().__init__("%(message)s" if is_journal else "%(asctime)s %(levelname)s %(message)s")
        self._is_journal = is_journal

    def format(self, record: logging.LogRecord) -> str:
        repeated = getattr(record, "repeated", 0)
        shown = _without_secrets(super().format(record)) + (f" repeated={repeated}" if repeated else "")
        for key, value in parts(record)[1].items():
            if value is None:
                shown = shown.replace(f" {key}=None", "", 1)
            elif isinstance(value, str) and re.search(r"\s", value):  # else nobody could tell where it ends
                shown = shown.replace(f" {key}={value}", f" {key}={value!r}", 1)
        shown = text.printable(shown)
        if not self._is_journal:
            return shown
        priority = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(priority + line for line in shown.splitlines())


class JsonFormatter(logging.Formatter):
    """One JSON object in each line: time, level, logger, event (the fixed phrase) and the pairs."""

    def __init__(self, *, is_journal: bool) -> None:
        super().__init__()
        self._is_journal = is_journal

    def format(self, record: logging.LogRecord) -> str:
        phrase, pairs = parts(record)
        written = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields: dict[str, Any] = {
            "time": f"{written}.{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": phrase,
            **{f"{key}_" if key in _OWN_FIELDS else key: value for key, value in pairs.items() if value is not None},
        }
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        if repeated := getattr(record, "repeated", 0):
            fields["repeated"] = repeated
        clean = {key: _without_secrets(value) if isinstance(value, str) else value for key, value in fields.items()}
        shown = text.json_line(clean, sys.stderr.encoding)
        return f"<{_PRIORITIES.get(record.levelno, 6)}>{shown}" if self._is_journal else shown


def parts(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    """A record's phrase without the pairs, and its pairs."""
    if record.name == "py.warnings":
        return "warning of a library", {"text": " ".join(record.getMessage().split())}
    if record.name.partition(".")[0] not in _OURS:
        return "message of a library", {"text": record.getMessage()}
    # Of a single argument that is a dict, logging makes the arguments.
    left = list(record.args) if isinstance(record.args, tuple) else [record.args]
    pairs: dict[str, Any] = {}

    def take(found: re.Match[str]) -> str:
        if found["spec"] == "%%":
            return found[0].replace("%%", "%")
        value = left.pop(0)
        if found["key"] is None:
            pairs["text"] = record.getMessage()
            return text.ELLIPSIS
        pairs[found["key"]] = value if isinstance(value, str | int | float | None) else str(value)
        return ""

    try:
        phrase = _PLACEHOLDER.sub(take, str(record.msg))
    except (IndexError, TypeError, ValueError):  # a template and arguments that do not fit say so in text, too
        return record.getMessage(), {}
    return re.sub(r"\s+([;,.)]|$)", r"\1", re.sub(r"\s{2,}", " ", phrase)).strip(), pairs


class Handler(logging.StreamHandler):  # type: ignore[type-arg]  # generic for type checkers only
    """Shows a warning or error that is repeated only a few times, and counts it after that.

    Messages that differ only in numbers are the same. The count is shown with the first line of any kind that comes
    _QUIET_S seconds or more after the first of them, or at the end of the process.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._repeated: dict[tuple[str, str], _Repeated] = {}

    def emit(self, record: logging.LogRecord) -> None:
        now_s = self._clock()
        self._show_counts(lambda repeated: now_s - repeated.since_s >= _QUIET_S)
        if record.levelno < logging.WARNING:
            super().emit(record)
            return
        kind = (record.name, re.sub(r"\d+", "0", record.getMessage()))
        repeated = self._repeated.setdefault(kind, _Repeated(now_s, record))
        repeated.count += 1
        repeated.last = record
        if repeated.count <= _BURST:
            super().emit(record)
        if len(self._repeated) > _KINDS:
            oldest = next(iter(self._repeated.values()))
            self._show_counts(lambda repeated: repeated is oldest)

    def close(self) -> None:
        self._show_counts(lambda repeated: True)
        super().close()

    def _show_counts(self, is_due: Callable[["_Repeated"], bool]) -> None:
        for kind in [kind for kind, repeated in self._repeated.items() if is_due(repeated)]:
            repeated = self._repeated.pop(kind)
            if repeated.count > _BURST:
                repeated.last.repeated = repeated.count - _BURST
                super().emit(repeated.last)


@dataclass(slots=True)
class _Repeated:
    since_s: float
    last: logging.LogRecord
    count: int = 0


def _formatter(name: str) -> logging.Formatter:
    return (JsonFormatter if name == JSON else TextFormatter)(is_journal=is_journal())


def _without_secrets(text: str) -> str:
    """`text` without the passwords in addresses, which may stand in a message of any library."""
    return _USERINFO.sub(r"\1:***@", text)


def _set_level(context: click.Context, _parameter: click.Parameter, value: str) -> None:
    if not context.find_root().meta.get("debug"):
        logging.getLogger().setLevel(value.upper())


def _set_format(_context: click.Context, _parameter: click.Parameter, value: str) -> None:
    for handler in logging.getLogger().handlers:
        if isinstance(handler, Handler):
            handler.setFormatter(_formatter(value))
    if value == JSON:
        foreign_lines.wrap(_foreign)


def _set_debug(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.find_root().meta["debug"] = True
        logging.getLogger().setLevel(logging.DEBUG)
