"""Heads on one machine, tails on another: what differs, in elements and in integer steps.

The boundaries of all cuts are recorded in one run of the whole model that has all of them as outputs.
"""

import contextlib
import pathlib
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass

import numpy as np
import recorder

from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter

RECORDER = pathlib.Path(recorder.__file__)
UNIFORM = (
    8  # of the samples are noise, in which every value of the type comes; the others vary as pictures and series do
)


def samples(inputs, count=20, seed=0):
    """Stored inputs: the first eight uniform over the whole range of their type, the others smooth."""
    source = np.random.default_rng(seed)
    return [tuple(sample(source, spec, is_smooth=number >= UNIFORM) for spec in inputs) for number in range(count)]


def sample(source, spec, *, is_smooth):
    """One stored input."""
    kind = np.dtype(spec.dtype)
    if not is_smooth:
        drawn = source.uniform(size=spec.shape)
    else:
        drawn = np.zeros(spec.shape)
        for axis, extent in enumerate(spec.shape):
            waves = np.cos(
                np.outer(np.arange(extent) / extent, source.uniform(0, 12, 3)) + source.uniform(0, 6, 3)
            ).sum(1)
            drawn += waves.reshape([-1 if each == axis else 1 for each in range(len(spec.shape))])
        drawn = (drawn - drawn.min()) / max(float(np.ptp(drawn)), 1e-9)
    if not np.issubdtype(kind, np.integer):
        return (4 * drawn - 2).astype(kind)
    limits = np.iinfo(kind)
    return np.clip(np.floor(limits.min + drawn * (float(limits.max) - limits.min + 1)), limits.min, limits.max).astype(
        kind
    )


def everything(package, cuts=None):
    """The whole model with the boundaries of the cuts, by default all, as its outputs, and their places in it."""
    graph = package.graph
    cuts = package.cuts if cuts is None else cuts
    crossing = dict.fromkeys(tensor for cut in cuts for tensor in cut.tensors if tensor not in graph.inputs)
    return flatgraph.extract(graph, 0, len(graph.operators), graph.inputs, tuple(crossing)), tuple(crossing)


class Here:
    """This machine, and this Python or another one with an edge's installation."""

    def __init__(self, folder, python=sys.executable):
        self.exchange, self._python = pathlib.Path(folder).resolve(), python

    def record(self, folder, files):
        """Runs the recorder on `files` in a folder of `exchange`."""
        words = (self._python, self.exchange / folder / RECORDER.name, *files)
        done = subprocess.run(words, cwd=self.exchange / folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


class There:
    """An edge with the processor `cpu`, and a Python in it."""

    def __init__(self, root, cpu, python="/opt/tflsplit/venv/bin/python"):
        self.exchange, self._root, self._cpu, self._python = root.exchange, root, cpu, python

    def record(self, folder, files):
        place = self._root.place(self.exchange / folder)
        self._root.run(self._python, f"{place}/{RECORDER.name}", *files, cpu=self._cpu, cwd=place)


def record(machine, models, given):
    """What each of `models`, a mapping of names to `.tflite` bytes, makes of the samples on a machine."""
    folder = machine.exchange / uuid.uuid4().hex
    folder.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        shutil.copy(RECORDER, folder)
        recorder.write(folder / "samples.npz", given)
        for number, model in enumerate(models.values()):
            (folder / f"{number}.tflite").write_bytes(model)
        machine.record(folder.name, ["samples.npz", *(f"{number}.tflite" for number in range(len(models)))])
        return {name: recorder.read(folder / f"{number}.npz") for number, name in enumerate(models)}


def boundaries(machine, package, given, cuts=None):
    """For each cut, by default all, the boundary of each sample, as heads on `machine` make it."""
    cuts = package.cuts if cuts is None else cuts
    model, tensors = everything(package, cuts)
    (ran,) = record(machine, {"everything": model}, given).values()
    return by_cut(package, tensors, ran, given, cuts)


def by_cut(package, tensors, ran, given, cuts):
    places = {tensor: place for place, tensor in enumerate(tensors)}
    inputs = {tensor: place for place, tensor in enumerate(package.graph.inputs)}
    return {
        cut.id: [
            tuple(out[places[tensor]] if tensor in places else sample[inputs[tensor]] for tensor in cut.tensors)
            for out, sample in zip(ran, given, strict=True)
        ]
        for cut in cuts
    }


@dataclass(frozen=True, slots=True)
class Apart:
    """How far two lists of arrays are apart: `steps` at most, in integer steps; a float that differs counts as one."""

    elements: int = 0
    differing: int = 0
    steps: int = 0

    def __add__(self, other):
        return Apart(self.elements + other.elements, self.differing + other.differing, max(self.steps, other.steps))


def apart(found, wanted):
    total = Apart()
    for one, other in zip(found, wanted, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        mine, theirs = (np.frombuffer(each.tobytes(), np.uint8).reshape(one.size, -1) for each in (one, other))
        differs = (mine != theirs).any(1)
        steps = 0
        if differs.any():
            steps = max(1, int(np.ceil(np.nanmax(np.abs(one.astype(np.float64) - other.astype(np.float64))))))
        total += Apart(one.size, int(differs.sum()), steps)
    return total


@dataclass(frozen=True, slots=True)
class CutApart:
    """A cut, over all samples: its boundaries, and the results of its pairs against the whole model here."""

    cut: str
    boundary: Apart
    boundaries: int  # samples whose boundary differs
    result: Apart
    pairs: int  # samples whose result differs
    same_top: int  # samples whose first output has its largest value in the same place


def compare(package, here, there):
    """Each cut's boundaries `there` against those `here`, and the pairs of heads there and tails here.

    Where a boundary is the same the pair is one of this machine, which `verify` proves.
    """
    whole = here[package.cuts[-1].id]
    return [_compare(package, cut, here[cut.id], there[cut.id], whole) for cut in package.cuts if cut.id in here]


def _compare(package, cut, here, there, whole):
    boundary = result = Apart()
    boundaries = pairs = same_top = 0
    with Interpreter(package.tail_bytes(cut)) if cut != package.cuts[-1] else contextlib.nullcontext() as tail:
        for mine, theirs, wanted in zip(here, there, whole, strict=True):
            found = apart(theirs, mine)
            got = wanted
            if found.differing:
                got = tail.run(*theirs) if tail else theirs
            answer = apart(got, wanted)
            boundary, result = boundary + found, result + answer
            boundaries, pairs = boundaries + bool(found.differing), pairs + bool(answer.differing)
            same_top += int(np.argmax(got[0]) == np.argmax(wanted[0]))
    return CutApart(cut.id, boundary, boundaries, result, pairs, same_top)
