"""What other runtimes make of whole packages, beside what is said of them without running anything.

    python tests/support/said_and_shown.py measure ROWS.jsonl PYTHON PACKAGE...   another Python of this machine
    python tests/support/said_and_shown.py report ROWS.jsonl > docs/measurements/runtimes.md

A package that ROWS.jsonl has for that runtime is left out, so a run that was ended goes on. Tails run here, as in a
cloud.
"""

import json
import pathlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import across
import known_classes
import numpy as np

from tflsplit.kernels import classes, exactness, keeping
from tflsplit.kernels.exactness import Exactness
from tflsplit.package import reading

SAMPLES = 200
MOST_CUTS = 20
STANDS_IN = "tflite-runtime"
MOST_BYTES = 100_000_000  # of boundaries in memory at once, for each machine


@dataclass(frozen=True, slots=True)
class Row:
    """A cut of a package, heads on another machine. `said` is by the two kernel classes: exact, or what is not;
    `table` is what `inspect` says. Of `samples`, `boundaries` are other boundaries and `results` other results."""

    package: str
    machine: str
    cut: str
    said: str
    table: str
    samples: int
    boundaries: int
    results: int
    steps: int

    @property
    def is_said_exact(self) -> bool:
        return self.said == "exact"


def samples(inputs, count):
    """Of four kinds in turn: noise over the whole range, smooth, of two values, and noise around the middle."""
    source = np.random.default_rng(0)
    return [tuple(_sample(source, spec, number % 4) for spec in inputs) for number in range(count)]


def _sample(source, spec, kind):
    array = across.sample(source, spec, is_smooth=kind == 1)
    if kind < 2:
        return array
    if kind == 2:
        pair = source.choice(array.reshape(-1), 2)
        return pair[source.integers(0, 2, array.shape)].astype(array.dtype)
    if array.dtype.kind == "f":
        return source.uniform(-0.1, 0.1, array.shape).astype(array.dtype)
    limits = np.iinfo(array.dtype)
    middle = spec.zero_point if spec.is_quantised else (int(limits.min) + int(limits.max)) // 2
    return np.clip(middle + source.integers(-8, 9, array.shape), limits.min, limits.max).astype(array.dtype)


def some_of(cuts):
    """At most `MOST_CUTS`, spread evenly, the last among them."""
    places = np.linspace(0, len(cuts) - 1, min(MOST_CUTS, len(cuts)))
    return tuple(cuts[place] for place in dict.fromkeys(places.round().astype(int)))


def compared(package, machine, kernel_class, *, here, name, count=SAMPLES) -> Iterator[Row]:
    """A row for each cut that has a head: heads on `machine`, of that class, against heads on the machine `here`."""
    cuts = some_of(package.cuts)
    found = {cut.id: [] for cut in cuts}
    every = samples(package.manifest.inputs, count)
    at_a_time = max(1, MOST_BYTES // sum(cut.payload_bytes for cut in cuts))
    for first in range(0, count, at_a_time):
        given = every[first : first + at_a_time]
        ours = across.boundaries(here, package, given, cuts)
        for row in across.compare(package, ours, across.boundaries(machine, package, given, cuts)):
            found[row.cut].append(row)
    for cut in cuts:
        kinds = package.head_kinds(cut)
        if not kinds:
            continue
        rows = found[cut.id]
        yield Row(
            *(package.path.stem, name, cut.id, str(classes.compare(keeping.here(), kernel_class, kinds))),
            *(exactness.of_kinds(kinds).exact_on.value, count),
            *(sum(row.boundaries for row in rows), sum(row.pairs for row in rows)),
            max(row.boundary.steps for row in rows),
        )


def measure(file, python, *packages):
    kernel_class = known_classes.class_of(python)
    with tempfile.TemporaryDirectory() as folder:
        machine, here = across.Here(folder, python), across.Here(folder)
        for path in packages:
            add(file, path, machine, kernel_class, here=here, name=f"x86-64, {kernel_class.runtime}")


def add(file, path, machine, kernel_class, *, here, name, count=SAMPLES):
    """Appends the rows of a package to the file, unless it has them."""
    package = reading.open_package(path)
    file = pathlib.Path(file)
    if file.exists() and any((row.package, row.machine) == (package.path.stem, name) for row in read(file)):
        return
    lines = [
        json.dumps(asdict(row)) + "\n"
        for row in compared(package, machine, kernel_class, here=here, name=name, count=count)
    ]
    with file.open("a") as appended:
        appended.write("".join(lines))


def read(file) -> list[Row]:
    return [Row(**json.loads(line)) for line in pathlib.Path(file).read_text().splitlines()]


def report(rows) -> str:
    """As docs/measurements/runtimes.md."""
    parts = [_HEAD]
    for machine in dict.fromkeys(row.machine for row in rows):
        of_it = [row for row in rows if row.machine == machine]
        lines = [
            _line(name, [row for row in of_it if row.package == name])
            for name in sorted({row.package for row in of_it})
        ]
        parts.append("\n".join([f"## Heads on {machine}\n", *_COLUMNS, *lines, _line("**all**", of_it), ""]))
    return "\n".join([*parts, *_by_reason(rows), *_by_table(rows)])


_HEAD = """\
# What is said of other runtimes and processors, and what they show

Written by `tests/support/said_and_shown.py`. Whole packages, of each at most 20 cuts spread evenly: a head on another
runtime, or on an emulated processor, against the same head on x86-64 with LiteRT 2.3.0, where all tails run. Samples
are noise, smooth, of two values, and around zero, in turn. *Said exact*: no operator kind of the head differs between
the two kernel classes. A cut differs if one element of its boundary does in one of the samples.
"""
_COLUMNS = (
    "| package | samples | said exact | of which differ | said inexact | of which differ | boundaries that differ "
    "| results that differ | steps |",
    "|---|---|---|---|---|---|---|---|---|",
)


def _line(name, rows):
    exact, others = ([row for row in rows if row.is_said_exact is wanted] for wanted in (True, False))
    samples, of_others = "…".join(sorted({str(row.samples) for row in rows})), sum(row.samples for row in others)
    counted = (samples, len(exact), _differing(exact), len(others), _differing(others))
    shares = (f"{sum(getattr(row, what) for row in others):,} of {of_others:,}" for what in ("boundaries", "results"))
    return f"| {' | '.join(map(str, (name, *counted, *shares, max(row.steps for row in rows))))} |"


def _differing(rows):
    return sum(row.boundaries > 0 for row in rows)


def _by_reason(rows):
    """What each operator kind that is named in warnings was worth."""
    yield "## Warnings, by what they name\n\n| machine | operator kind | cuts | of which differ |\n|---|---|---|---|"
    found = {}
    for row in rows:
        for kind in row.said.replace("differs in ", "").replace("not known of ", "").replace("; ", ", ").split(", "):
            if not row.is_said_exact:
                found.setdefault((row.machine, kind), []).append(row)
    for (machine, kind), each in sorted(found.items()):
        yield f"| {machine} | {kind} | {len(each)} | {_differing(each)} |"
    yield ""


def _by_table(rows):
    """What `inspect` says of a cut, against all machines that were tried with it."""
    yield "## What `inspect` says\n"
    yield "| of a cut | cuts | differ with LiteRT | differ with tflite-runtime |\n|---|---|---|---|"
    cuts = {}
    for row in rows:
        cuts.setdefault((row.package, row.cut), []).append(row)
    for verdict in Exactness:
        found = [each for each in cuts.values() if each[0].table == verdict.value]
        shown = [
            sum(any(row.boundaries and (STANDS_IN in row.machine) is wanted for row in each) for each in found)
            for wanted in (False, True)
        ]
        yield f"| {verdict.value} | {len(found)} | {shown[0]} | {shown[1]} |"
    yield ""


if __name__ == "__main__":
    if sys.argv[1] == "report":
        print(report(read(sys.argv[2])), end="")
    else:
        measure(*sys.argv[2:])
