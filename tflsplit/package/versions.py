"""What the other kernels of this machine make of heads: rounding as it may be elsewhere, to judge results by.

A device with tflite-runtime computes what LiteRT computes here without XNNPACK, on 32- and 64-bit Arm mostly what its
reference code does. They run in a process without rights, since reference code aborts on some models.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tflsplit import errors
from tflsplit.graph.interpreter import Interpreter, Kernels
from tflsplit.graph.tensors import Array
from tflsplit.package import alone
from tflsplit.package.alone import Rows
from tflsplit.values.classes import dataclass

OTHERS = (Kernels.BUILTIN, Kernels.REFERENCE)
_TIMEOUT_S = 120.0  # for one head


@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """The boundary of each sample, and of each operator alone (`tflsplit.package.alone`) the rows that are kept."""

    boundaries: tuple[tuple[Array, ...], ...]
    alone: tuple[Rows, ...]


def serving(model: bytes, inputs: Sequence[tuple[Array, ...]]) -> Version:
    """What this machine makes of a head when it serves."""
    return _run(model, inputs, Kernels.SERVING)


def others(heads: Sequence[bytes], inputs: Sequence[tuple[Array, ...]]) -> list[dict[Kernels, Version]]:
    """For each head what the kernels of `OTHERS` make of it, without those that cannot run it."""
    import tempfile  # these two are for who makes bundles, not for each start of an edge

    from tflsplit.confinement import child

    found: list[dict[Kernels, Version]] = [{} for _ in heads]
    with tempfile.TemporaryDirectory(prefix="tflsplit-") as made:
        folder = Path(made)
        for place, head in enumerate(heads):
            (folder / f"{place}.tflite").write_bytes(head)
        _save(folder / "inputs.npz", inputs)
        request = {"folder": made, "heads": len(heads)}
        with contextlib.suppress(child.CrashedError):  # what it did before is there
            child.run(attempt, request, folder=folder, timeout_s=_TIMEOUT_S)
        for kernels in OTHERS:
            for place, versions in enumerate(found):
                file = folder / f"{place}.{kernels.name}.npz"
                if file.exists():
                    versions[kernels] = _load(file)
    return found


def attempt(request: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """In the other process."""
    folder = Path(request["folder"])
    inputs = _samples(np.load(folder / "inputs.npz", allow_pickle=False))
    for kernels in OTHERS:
        for place in range(request["heads"]):
            say(f"{kernels.name} {place}")
            with contextlib.suppress(errors.DeviceError):
                version = _run((folder / f"{place}.tflite").read_bytes(), inputs, kernels)
                more = {f"alone{at}": rows for at, rows in enumerate(version.alone) if rows is not None}
                more["operators"] = np.array(len(version.alone))
                made = folder / f"{place}.{kernels.name}.partial"
                _save(made, version.boundaries, **more)
                made.rename(made.with_suffix(".npz"))


def _run(model: bytes, inputs: Sequence[tuple[Array, ...]], kernels: Kernels) -> Version:
    with Interpreter(model, kernels=kernels) as opened:
        boundaries = tuple(opened.run(*sample) for sample in inputs)
    return Version(boundaries, tuple(alone.run(model, alone.plan(model), kernels)))


def _save(file: Path, samples: Sequence[tuple[Array, ...]], **more: Array) -> None:
    named = {f"{at}.{place}": array for at, sample in enumerate(samples) for place, array in enumerate(sample)}
    with file.open("wb") as stream:
        np.savez(stream, **named, **more)  # type: ignore[arg-type]


def _load(file: Path) -> Version:
    with np.load(file, allow_pickle=False) as arrays:
        rows = (arrays.get(f"alone{at}") for at in range(int(arrays["operators"])))
        return Version(tuple(_samples(arrays)), tuple(rows))


def _samples(arrays: Any) -> list[tuple[Array, ...]]:
    return list(_each_sample(arrays))


def _each_sample(arrays: Any) -> Iterator[tuple[Array, ...]]:
    at = 0
    while f"{at}.0" in arrays:
        places = range(sum(name.startswith(f"{at}.") for name in arrays))
        yield tuple(arrays[f"{at}.{place}"] for place in places)
        at += 1
