"""A head, or the segments of a model, that take several inputs at once, on the CPU. Each row is bit for bit what it is
alone: that is tried before they serve.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.accelerators.protocol import Accelerator, OpenModel
from tflsplit import errors, segments
from tflsplit.graph.cuts import Cut
from tflsplit.graph.tensors import Array
from tflsplit.package import verify
from tflsplit.package.reading import Package
from tflsplit.segments import Segments
from tflsplit.values.classes import replace

# Each place in a batch is tried with as many samples.
_ROUNDS = 2
_REMEDY = "leave the batch out, or take another cut"


class Batched:
    """An `OpenModel` for up to `batch` inputs; fewer are filled up with the last one."""

    def __init__(self, opened: OpenModel, batch: int) -> None:
        self._opened, self._batch = opened, batch
        self.name = opened.name
        self.outputs = opened.outputs
        self.properties: Mapping[str, str] = opened.properties

    def run(self, *arrays: Array) -> tuple[Array, ...]:
        count = len(arrays[0])
        if count < self._batch:
            arrays = segments.filled(arrays, self._batch)
        return tuple(output[:count] for output in self._opened.run(*arrays))

    def close(self) -> None:
        self._opened.close()


def open_on(accelerator: Accelerator, package: Package, cut: Cut, batch: int) -> Batched:
    """SettingsError for a head that cannot take so many inputs at once, or gives other bits then."""
    if not isinstance(accelerator, Cpu):
        raise errors.SettingsError(
            f"a batch of {batch} on accelerator {accelerator.name}: it takes one input at a time; leave the batch out, "
            "or run on the CPU"
        )
    model, name = package.head_bytes(cut), f"{package.path}: head of {cut.id}"
    one = accelerator.open(model, name=name)
    try:
        verify.check_boundary(package, cut, "head's outputs", one.outputs)
        several = _several(accelerator, model, name, batch)
        try:
            samples = verify.random_samples(package.manifest.inputs, _ROUNDS * batch, table_sizes=package.table_sizes)
            _check_rows(f"the head of {cut.id}", samples, one.run, several.run, batch)
        except errors.TflsplitError:
            several.close()
            raise
    finally:
        one.close()
    return several


@contextlib.contextmanager
def chained(package: Package, cuts: Iterable[Cut], *, threads: int, batch: int) -> Iterator[Segments]:
    """Segments between `cuts` for so many inputs, open until the block ends; SettingsError where the model cannot take
    them, or gives other bits then."""
    places = tuple(cuts)
    try:
        several = Segments(package, places, threads=threads, batch=batch)
    except errors.DeviceError as cause:
        raise errors.SettingsError(f"a batch of {batch}: {cause}; {_REMEDY}") from cause
    with several:
        if batch > 1:
            with Segments(package, places, threads=threads) as one:
                _check_chain(package, one, several, batch)
        yield several


def _check_chain(package: Package, one: Segments, several: Segments, batch: int) -> None:
    start, *others = one.cuts
    sizes = package.table_sizes if start.position == 0 else ()
    samples = verify.random_samples(start.boundary, _ROUNDS * batch, table_sizes=sizes)
    for cut in others:

        def to_there(segments: Segments, stop: Cut = cut) -> Callable[..., tuple[Array, ...]]:
            return lambda *arrays: segments.run(arrays, start, stop)

        _check_rows(f"the model up to {cut.id}", samples, to_there(one), to_there(several), batch)


def _several(cpu: Cpu, model: bytes, name: str, batch: int) -> Batched:
    try:
        return Batched(replace(cpu, batch=batch).open(model, name=name), batch)
    except errors.DeviceError as cause:
        raise errors.SettingsError(f"a batch of {batch}: {cause}; {_REMEDY}") from cause


_Run = Callable[..., tuple[Array, ...]]


def _check_rows(what: str, samples: Sequence[tuple[Array, ...]], one: _Run, several: _Run, batch: int) -> None:
    alone = [one(*sample) for sample in samples]
    for start in range(0, len(samples), batch):
        rows = [np.concatenate(column) for column in zip(*samples[start : start + batch], strict=True)]
        try:
            outputs = several(*rows)
        except errors.DeviceError as cause:
            raise errors.SettingsError(f"a batch of {batch}: {cause}; {_REMEDY}") from cause
        together = [tuple(output[row : row + 1] for output in outputs) for row in range(batch)]
        if not verify.are_equal(alone[start : start + batch], together):
            raise errors.SettingsError(
                f"a batch of {batch}: {what} gives other bits for so many inputs at once than for each alone; {_REMEDY}"
            )
