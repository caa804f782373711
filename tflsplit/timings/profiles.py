"""Measured timings in a file: what one device (edge or cloud) needs for each cut of one package.

A profile is measured on the machine that will do the work and carried to where the plan is made, raw samples included.
This module owns the file's format. It measures nothing itself; `edge_runtime.profiling.profiler` does.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from tflsplit import arguments, errors, strict_json, text
from tflsplit.kernels.classes import KernelClass
from tflsplit.values.classes import dataclass, field

SCHEMA = 2
# Below this many runs a percentile says nothing; `check_fits` refuses such timings.
FEWEST_RUNS = 5
# Beyond these a file is damaged: a day for one frame, and more bytes than any frame may carry.
LONGEST_S = 86_400.0
_MOST_BYTES = float(1 << 40)


class Origin(str, Enum):
    """Where a figure comes from. It is kept beside each figure, up to the report."""

    MEASURED = "measured"
    STATED = "stated"
    ESTIMATED = "estimated"


class Side(str, Enum):
    EDGE = "edge"
    CLOUD = "cloud"


@dataclass(frozen=True, slots=True, repr=False)
class Timing:
    """Repeated timings of one thing, in seconds, in the order they were taken. Percentiles are derived."""

    samples_s: tuple[float, ...]
    origin: Origin = Origin.MEASURED

    def __post_init__(self) -> None:
        if not self.samples_s:
            raise ValueError("a timing needs at least one sample")
        if not all(0.0 <= sample <= LONGEST_S for sample in self.samples_s):
            raise ValueError(f"timings are from 0 to {LONGEST_S:.0f} seconds")

    def __repr__(self) -> str:
        return f"<timing p50 {self.p50_s * 1e3:.3g} ms, {self.runs} runs, {self.origin.value}>"

    @property
    def runs(self) -> int:
        return len(self.samples_s)

    @property
    def p50_s(self) -> float:
        return self.percentile_s(50)

    @property
    def p95_s(self) -> float:
        return self.percentile_s(95)

    @property
    def mean_s(self) -> float:
        return float(np.mean(self.samples_s))

    def percentile_s(self, percent: float) -> float:
        return float(np.percentile(self.samples_s, percent))

    def as_json(self) -> dict[str, object]:
        return {
            "p50_s": self.p50_s,
            "p95_s": self.p95_s,
            "p99_s": self.percentile_s(99),
            "runs": self.runs,
            "origin": self.origin.value,
            "samples_s": list(self.samples_s),
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Timing":
        return cls(tuple(float(sample) for sample in fields["samples_s"]), Origin(fields["origin"]))


@dataclass(frozen=True, slots=True)
class BitsTiming:
    """`coding` as in `CutTiming`, of features that travel in so many bits."""

    bits: int
    coding: Timing

    def as_json(self) -> dict[str, object]:
        return {"bits": self.bits, "coding": self.coding.as_json()}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "BitsTiming":
        return cls(int(fields["bits"]), Timing.from_json(fields["coding"]))


@dataclass(frozen=True, slots=True)
class CutTiming:
    """One cut on one side. `run` is the head (edge) or the tail (cloud). `coding` is what is done to a frame beside it:
    encoding it and reading its result at the edge, decoding it and making the result in the cloud.

    `coded_bytes` is the mean size of a coded boundary on calibration features (edge only; None where nothing was
    coded). `load_s` is the time to load the half, `memory_bytes` what it adds to the process. `in_bits` are the fewer
    bits that were measured for the cut; none in profiles of older versions.
    """

    cut: str
    run: Timing
    coding: Timing
    coded_bytes: float | None
    load_s: float
    memory_bytes: int
    in_bits: tuple[BitsTiming, ...] = ()

    def __post_init__(self) -> None:
        _check_bytes(self.coded_bytes)
        if not 0.0 <= self.load_s <= LONGEST_S:
            raise ValueError(f"loading took {self.load_s} seconds")

    def as_json(self) -> dict[str, object]:
        return {
            "cut": self.cut,
            "run": self.run.as_json(),
            "coding": self.coding.as_json(),
            "coded_bytes": self.coded_bytes,
            "load_s": self.load_s,
            "memory_bytes": self.memory_bytes,
            "in_bits": [each.as_json() for each in self.in_bits],
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "CutTiming":
        return cls(
            cut=str(fields["cut"]),
            run=Timing.from_json(fields["run"]),
            coding=Timing.from_json(fields["coding"]),
            coded_bytes=None if fields["coded_bytes"] is None else float(fields["coded_bytes"]),
            load_s=float(fields["load_s"]),
            memory_bytes=int(fields["memory_bytes"]),
            in_bits=tuple(BitsTiming.from_json(each) for each in fields.get("in_bits", ())),
        )


@dataclass(frozen=True, slots=True)
class PixelTiming:
    """The input sent before its preprocessing, as `raw` pixels or `jpeg:QUALITY`. `capture` is reading and resizing
    (edge only). `coding` is at the edge encoding it and reading its result; in the cloud decoding and preprocessing it
    and making the result. `coded_bytes` are a picture's; None where inputs were noise.
    """

    input_codec: str
    capture: Timing | None
    coding: Timing
    coded_bytes: float | None

    def __post_init__(self) -> None:
        _check_bytes(self.coded_bytes)

    def as_json(self) -> dict[str, object]:
        return {
            "input_codec": self.input_codec,
            "capture": self.capture.as_json() if self.capture else None,
            "coding": self.coding.as_json(),
            "coded_bytes": self.coded_bytes,
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "PixelTiming":
        return cls(
            input_codec=str(fields["input_codec"]),
            capture=Timing.from_json(fields["capture"]) if fields["capture"] else None,
            coding=Timing.from_json(fields["coding"]),
            coded_bytes=None if fields["coded_bytes"] is None else float(fields["coded_bytes"]),
        )


@dataclass(frozen=True, slots=True)
class Besides:
    """What an edge takes for a frame besides preprocessing, head and coding: processor time in s, `own_s` of the thread
    that computes and `all_s` of all, with so many `cores` to run on. `switch_s` is how much longer a head takes behind
    another one on the same device; None where that was not measured."""

    own_s: float
    all_s: float
    cores: int
    switch_s: float | None = None

    def __post_init__(self) -> None:
        for taken_s in (self.own_s, self.all_s, self.switch_s or 0.0):
            if not 0.0 <= taken_s <= LONGEST_S:
                raise ValueError(f"a frame took {taken_s} seconds besides")

    def of_frame_s(self, threads: int) -> float:
        """How much later the next frame begins: other threads take from heads only what these leave no core for."""
        return self.own_s if self.cores > threads else self.all_s

    def as_json(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Besides":
        switch_s = fields["switch_s"]
        times = float(fields["own_s"]), float(fields["all_s"])
        return cls(*times, int(fields["cores"]), None if switch_s is None else float(switch_s))


@dataclass(frozen=True, slots=True, repr=False)
class Profile:
    """`preprocess` turns one raw input into the model's stored input (edge only), reading and resizing included.
    `pixels` times sending a picture before that, by codec. `machine` is free text by key: host, cpu, governor,
    temperature, runtime and the like, for people who compare two files. `kernel_class` is that of its CPU, None in
    profiles of before there were classes. `piece` is what each piece of a shared model costs besides its operators, on
    the CPU, and `besides` is the edge's; None where that was not measured. Every timing and size is of a frame of
    `batch` inputs.
    """

    package: str
    name: str
    side: Side
    accelerator: str
    machine: dict[str, str]
    cuts: tuple[CutTiming, ...]
    preprocess: Timing | None = None
    notes: tuple[str, ...] = field(default=())
    pixels: tuple[PixelTiming, ...] = ()
    kernel_class: KernelClass | None = None
    batch: int = 1
    piece: Timing | None = None
    besides: Besides | None = None

    def __repr__(self) -> str:
        times = [entry.run.p50_s * 1e3 for entry in self.cuts]
        spread = f", p50 {min(times):.3g} to {max(times):.3g} ms" if times else ""
        cuts = text.counted(len(times), "cut")
        return f"<profile of {self.name} on the {self.side.value}, {self.accelerator}: {cuts}{spread}>"

    def timing(self, cut: str) -> CutTiming | None:
        return next((entry for entry in self.cuts if entry.cut == cut), None)


def _check_bytes(coded_bytes: float | None) -> None:
    if coded_bytes is not None and not 0.0 <= coded_bytes <= _MOST_BYTES:
        raise ValueError(f"{coded_bytes} coded bytes")


def render(profile: Profile) -> str:
    fields = {
        "schema": SCHEMA,
        "kind": "profile",
        "package": profile.package,
        "name": profile.name,
        "side": profile.side.value,
        "batch": profile.batch,
        "accelerator": profile.accelerator,
        "machine": profile.machine,
        "kernel_class": profile.kernel_class.as_json() if profile.kernel_class else None,
        "notes": list(profile.notes),
        "preprocess": profile.preprocess.as_json() if profile.preprocess else None,
        "piece": profile.piece.as_json() if profile.piece else None,
        "pixels": [entry.as_json() for entry in profile.pixels],
        "besides": profile.besides.as_json() if profile.besides else None,
        "cuts": [entry.as_json() for entry in profile.cuts],
    }
    return json.dumps(fields, indent=1) + "\n"


def read(path: Path) -> Profile:
    """Raises DataError for a file that is no profile, one of another schema, or one that is damaged."""
    fields = read_json(path, "profile", SCHEMA)
    with parsing(path, "profile", "profile"):
        return Profile(
            package=str(fields["package"]),
            name=str(fields["name"]),
            side=Side(fields["side"]),
            accelerator=str(fields["accelerator"]),
            machine={str(key): str(value) for key, value in fields["machine"].items()},
            notes=tuple(str(note) for note in fields["notes"]),
            preprocess=Timing.from_json(fields["preprocess"]) if fields["preprocess"] else None,
            cuts=tuple(CutTiming.from_json(entry) for entry in fields["cuts"]),
            pixels=tuple(PixelTiming.from_json(entry) for entry in fields["pixels"]),
            kernel_class=KernelClass.from_json(fields["kernel_class"]) if fields.get("kernel_class") else None,
            batch=_batch(fields.get("batch", 1)),
            piece=Timing.from_json(fields["piece"]) if fields.get("piece") else None,
            besides=Besides.from_json(fields["besides"]) if fields.get("besides") else None,
        )


def _batch(found: object) -> int:
    """Profiles of older versions say nothing: they are of one input a frame."""
    if not isinstance(found, int) or found < 1:
        raise ValueError(f"a batch of {found!r}")
    return found


@contextmanager
def parsing(name: object, kind: str, command: str) -> Iterator[None]:
    """Whatever parsing the fields of a file raises becomes the DataError that the file is damaged."""
    try:
        yield
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as cause:
        raise errors.DataError(f"{name}: damaged {kind} ({cause!r}); run `tflsplit {command}` again") from cause
    except errors.SettingsError as cause:
        raise errors.DataError(f"{name}: damaged {kind} ({cause}); run `tflsplit {command}` again") from cause


def read_json(path: Path, kind: str, schema: int) -> dict[str, Any]:
    """The fields of one of our JSON files, of this kind and schema; DataError says what else it is."""
    path = arguments.path(path, kind)
    try:
        fields = strict_json.parse(arguments.read(path).decode("utf-8-sig"))
    except OSError as cause:
        raise errors.DataError(f"{path}: cannot be read as a {kind} ({errors.one_line(cause)})") from cause
    except (json.JSONDecodeError, UnicodeDecodeError) as cause:
        where = f" (it stops being JSON in line {cause.lineno})" if isinstance(cause, json.JSONDecodeError) else ""
        raise errors.DataError(f"{path}: not a {kind} file of tflsplit, which is JSON{where}; make it again") from cause
    except (ValueError, RecursionError) as cause:
        raise errors.DataError(f"{path}: damaged {kind} ({errors.one_line(cause)}); make it again") from cause
    if not isinstance(fields, dict) or fields.get("kind") != kind:
        other = fields.get("kind") if isinstance(fields, dict) and isinstance(fields.get("kind"), str) else None
        what = f"but one of kind {text.printable(other)[:40]!r}" if other else "nor any other of its files"
        raise errors.DataError(f"{path}: not a {kind} file of tflsplit, {what}; give one that it wrote")
    if fields.get("schema") != schema:
        raise errors.DataError(
            f"{path}: {kind} of schema {fields.get('schema')!r}, this tflsplit reads {schema}; make it again"
        )
    return fields


def check_fits(profile: Profile, digest: str, side: Side, cuts: Sequence[str], *, path: Path, batch: int = 1) -> None:
    """DataError unless a profile is of this package, side and batch, and has enough runs of every cut that it times."""
    if profile.package != digest:
        raise errors.DataError(
            f"{path}: measured for package {profile.package[:16]} ({profile.name}), this one is {digest[:16]}"
        )
    if profile.side is not side:
        raise errors.DataError(f"{path}: a profile of the {profile.side.value}, expected the {side.value}'s")
    if profile.batch != batch:
        needed = f"tflsplit profile --side {side.value}{f' --batch {batch}' if batch > 1 else ''}"
        raise errors.DataError(
            f"{path}: measured with {text.counted(profile.batch, 'input')} a frame, this needs {batch}; run `{needed}`"
        )
    unknown = [entry.cut for entry in profile.cuts if entry.cut not in cuts]
    if unknown:
        raise errors.DataError(f"{path}: times cut {unknown[0]!r}, which this package does not have")
    few = [entry for entry in profile.cuts if entry.run.runs < FEWEST_RUNS]
    if few:
        raise errors.DataError(
            f"{path}: cut {few[0].cut} was run {few[0].run.runs} times, at least {FEWEST_RUNS} needed; profile again"
        )
