"""The output of the Edge TPU compiler as data: of versions 1 to 16, for one model or several compiled together.

Its text may change. A line that is not understood is left out, and nothing is concluded from a line that is missing.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from tflsplit.package.manifest import MappedOperators
from tflsplit.values.classes import dataclass, replace

MAPPED = "Mapped to Edge TPU"

_VERSION = re.compile(r"Edge TPU Compiler version (\S+)")
_TIME = re.compile(r"Models? compiled successfully in (\d+) ms")
_SIZE = re.compile(r"([\d.]+)\s*([KMGT]?i?B)\b")
_ROW = re.compile(r"^(\S+)\s{2,}(\d+)\s{2,}(\S.*?)\s*$")
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}

# The compiler's messages, each with what to do. The first group blames the model, so that a second try cannot help.
_BLAMES_MODEL = {
    "dynamic-sized tensors": "its shapes are not fixed; convert the model again with tflsplit",
    "Invalid model": "give a full int8 .tflite",
    "Didn't find op": "an operator or its version is newer than the compiler",
}
_MAY_PASS = {
    "Internal compiler error": "it gives no reason; a shorter head may compile",
    "large activation tensors": "cut earlier or make the input smaller",
    "Compilation timed out": "raise --timeout, or cut earlier",
}
_FAILED_LINE = re.compile(r"^.*(?:" + "|".join(map(re.escape, (*_BLAMES_MODEL, *_MAY_PASS))) + r"|\bERROR\b).*$", re.M)


@dataclass(frozen=True, slots=True)
class ModelLog:
    """One model's part. Sizes are bytes; None is what was not printed."""

    model: str
    on_chip_used_bytes: int | None = None
    on_chip_remaining_bytes: int | None = None
    off_chip_bytes: int | None = None
    subgraphs: int | None = None
    tpu_operators: int | None = None
    cpu_operators: int | None = None
    operators: tuple[MappedOperators, ...] = ()


@dataclass(frozen=True, slots=True)
class Log:
    """All that one run printed. `milliseconds` is for all of its models."""

    version: str | None
    milliseconds: int | None
    models: tuple[ModelLog, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """`is_final` where trying once more cannot help, because the words blame the model."""

    reason: str
    is_final: bool


def version(text: str) -> str | None:
    found = _VERSION.search(text)
    return found[1] if found else None


def parse(text: str) -> Log:
    """Read a run's output; a part begins at each line "Input model: …"."""
    time = _TIME.search(text)
    parts = re.split(r"^(?=Input model: )", text, flags=re.M)[1:]
    return Log(version(text), int(time[1]) if time else None, tuple(map(_model, parts)))


def operators(text: str) -> tuple[MappedOperators, ...]:
    """The rows under "Operator  Count  Status", as printed with -s and as the .log file holds them."""
    return tuple(_rows(text.splitlines()))


def failure(text: str) -> Failure | None:
    """The compiler's error message with what to do; None where there is none."""
    found = _FAILED_LINE.search(text)
    if found is None:
        return None
    line = " ".join(found[0].split()).removeprefix("ERROR: ")
    advice = next((words for sign, words in (_BLAMES_MODEL | _MAY_PASS).items() if sign in line), None)
    is_final = any(sign in line for sign in _BLAMES_MODEL)
    return Failure(f"{line.rstrip('.!')}: {advice}" if advice else line, is_final)


def with_operators(part: ModelLog, rows: tuple[MappedOperators, ...]) -> ModelLog:
    """`part` with the table of the .log file, for runs that printed none."""
    on_tpu, on_cpu = _totals(rows)
    return replace(part, operators=rows, tpu_operators=on_tpu, cpu_operators=on_cpu)


def _totals(rows: Sequence[MappedOperators]) -> tuple[int, int]:
    on_tpu = sum(row.count for row in rows if row.status == MAPPED)
    return on_tpu, sum(row.count for row in rows) - on_tpu


def _model(part: str) -> ModelLog:
    rows = operators(part)
    on_tpu, on_cpu = (_count(part, f"Number of operations that will run on {place}:") for place in ("Edge TPU", "CPU"))
    if rows and on_tpu is None:  # left out where everything maps
        on_tpu, on_cpu = _totals(rows)
    subgraphs = _count(part, "Number of Edge TPU subgraphs:")
    if on_tpu is None and subgraphs:
        on_tpu, on_cpu = _count(part, "Total number of operations:"), 0
    return ModelLog(
        model=PurePosixPath(_after(part, "Input model:") or "").name,
        on_chip_used_bytes=_bytes(_after(part, "On-chip memory used for caching model parameters:")),
        on_chip_remaining_bytes=_bytes(_after(part, "On-chip memory remaining for caching model parameters:")),
        off_chip_bytes=_bytes(_after(part, "Off-chip memory used for streaming uncached model parameters:")),
        subgraphs=subgraphs,
        tpu_operators=on_tpu,
        cpu_operators=on_cpu,
        operators=rows,
    )


def _after(part: str, label: str) -> str | None:
    return next((line[len(label) :].strip() for line in part.splitlines() if line.startswith(label)), None)


def _count(part: str, label: str) -> int | None:
    text = _after(part, label)
    return int(text) if text is not None and text.isdigit() else None


def _bytes(text: str | None) -> int | None:
    found = _SIZE.fullmatch(text) if text else None
    return round(float(found[1]) * _UNITS[found[2]]) if found and found[2] in _UNITS else None


def _rows(lines: Sequence[str]) -> Iterator[MappedOperators]:
    is_table = False
    for line in lines:
        if line.split() == ["Operator", "Count", "Status"]:
            is_table = True
        elif is_table and (found := _ROW.match(line)):
            yield MappedOperators(found[1], int(found[2]), found[3])
        elif is_table and line.strip():
            is_table = False
