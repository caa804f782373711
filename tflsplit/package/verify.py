"""The proof that a cut changes nothing: `tail(head(x))` against the whole model, bit for bit, on one runtime."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tflsplit import arguments, errors, text
from tflsplit.graph import excerpt
from tflsplit.graph.cuts import Cut
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, TensorSpec
from tflsplit.kernels import keeping
from tflsplit.kernels.classes import KernelClass
from tflsplit.package.reading import Package

if TYPE_CHECKING:
    from tflsplit.package.float_proof import FloatTail

_INDICES = frozenset({"int32", "int64", "uint32", "uint64"})  # types whose whole range no model takes


class Mismatch(NamedTuple):
    """A cut whose result differs: in how many samples, and by how many integer steps at most."""

    cut: str
    samples: int
    max_lsb: int


class Report(NamedTuple):
    """`mismatches` are of head and int8 tail against the int8 model; `float_tails` has one entry for each there is.
    `kernel_class` is that of the machine that ran both: what holds here holds between machines of one class. In a
    stateful package the samples are the steps of one stream (`is_stream`)."""

    samples: int
    cuts_checked: tuple[str, ...]
    mismatches: tuple[Mismatch, ...]
    float_tails: "tuple[FloatTail, ...]" = ()
    kernel_class: KernelClass | None = None
    is_stream: bool = False

    def __repr__(self) -> str:
        differ = [found.cut for found in self.mismatches] + [tail.cut for tail in self.float_tails if not tail.is_exact]
        exact = "bit-exact" + (f", {len(self.float_tails)} float tails exact" if self.float_tails else "")
        verdict = f"differs at {', '.join(dict.fromkeys(differ))}" if differ else exact
        cuts, samples = text.counted(len(self.cuts_checked), "cut"), text.counted(self.samples, self.unit)
        return f"<proof of {cuts} x {samples}: {verdict}>"

    @property
    def unit(self) -> str:
        return "step" if self.is_stream else "sample"

    @property
    def is_bit_exact(self) -> bool:
        return not self.mismatches

    @property
    def holds(self) -> bool:
        """Whether all cuts are bit-exact and all float tails are proven."""
        return self.is_bit_exact and all(tail.is_exact for tail in self.float_tails)

    def as_json(self) -> dict[str, object]:
        told: dict[str, object] = {
            "samples": self.samples,
            "stream": self.is_stream,
            "cuts_checked": len(self.cuts_checked),
            "bit_exact": self.is_bit_exact,
            "mismatches": [
                {"cut": found.cut, "samples": found.samples, "max_lsb": found.max_lsb} for found in self.mismatches
            ],
            "kernel_class": None if self.kernel_class is None else self.kernel_class.as_json(),
        }
        return told | ({"float_tails": [tail.as_json() for tail in self.float_tails]} if self.float_tails else {})


def verify(
    package: Package,
    cuts: Sequence[str | Cut],
    samples: Sequence[tuple[Array, ...]],
    *,
    on_cut: Callable[[Cut], None] = lambda cut: None,
) -> Report:
    """Run every cut's pair on every sample (stored-type inputs of the model) beside the whole model.

    The heads and tails run are those in the package where they were written, slices of its model else; where its tails
    are float, int8 tails are sliced for this and the float ones are proven by `float_proof`. Cuts that are not listed,
    between time steps, run as parts of the model's own file. In a stateful package the samples are one stream: the
    whole model goes on by itself, head and tail each from the state that their last run left, as at the edge and in the
    cloud. `on_cut` is called after each cut, for progress. Raises PackageError for a pair whose two sides do not fit
    together.
    """
    chosen = [arguments.instance(package, Package, "package").cut(cut) for cut in cuts]
    model, is_stream = package.model_bytes(), package.manifest.is_stateful
    with Interpreter(model, name=f"{package.path}/model.tflite") as whole:
        expected = [whole.run(*sample, goes_on=is_stream and step > 0) for step, sample in enumerate(samples)]
    mismatches, float_tails, listed = [], [], frozenset(package.select("listed"))
    for cut in chosen:
        pair = open_pair(package, cut) if cut in listed else _parts(package, model, cut)
        found = _check(pair, cut, samples, expected, is_stateful=is_stream)
        if found is not None:
            mismatches.append(found)
        if package.manifest.float_tails is not None and cut in package.served_cuts:
            from tflsplit.package import float_proof

            float_tails.append(float_proof.check(package, cut, samples))
        on_cut(cut)
    checked = tuple(cut.id for cut in chosen)
    return Report(len(samples), checked, tuple(mismatches), tuple(float_tails), keeping.here(), is_stream)


def random_samples(
    inputs: Sequence[TensorSpec], count: int, *, seed: int = 0, table_sizes: Sequence[int | None] = ()
) -> tuple[tuple[Array, ...], ...]:
    """Inputs of uniformly random stored values: over the whole range of their type, or, where they are indices, within
    the table (`tflsplit.graph.indices`), of which 0 and 1 are taken where its size is not known."""
    source = np.random.default_rng(seed)
    sizes = table_sizes or (None,) * len(inputs)
    return tuple(tuple(_random(source, *pair) for pair in zip(inputs, sizes, strict=True)) for _ in range(count))


def open_pair(package: Package, cut: Cut) -> tuple[Interpreter, Interpreter]:
    """A cut's head and int8 tail, loaded, after checking that one's outputs and the other's inputs are the boundary."""
    head = Interpreter(package.head_bytes(cut), name=f"{package.path}: head of {cut.id}")
    tail = Interpreter(package.integer_tail_bytes(cut), name=f"{package.path}: tail of {cut.id}")
    check_boundary(package, cut, "head's outputs", head.outputs)
    check_boundary(package, cut, "tail's inputs", tail.inputs)
    return head, tail


def _parts(package: Package, model: bytes, cut: Cut) -> tuple[Interpreter, Interpreter]:
    """The operators before and behind a cut, each as the model's file with the rest left out: unrolled layers have
    thousands of cuts, and slicing files for all of them takes a quarter of an hour."""
    ends, count = package.graph, package.manifest.operators
    head = excerpt.operators(model, 0, cut.position, ends.inputs, cut.tensors)
    tail = excerpt.operators(model, cut.position, count, cut.tensors, ends.outputs)
    opened = [Interpreter(data, name=f"{package.path}: a side of {cut.id}") for data in (head, tail)]
    check_boundary(package, cut, "head's outputs", opened[0].outputs)
    check_boundary(package, cut, "tail's inputs", opened[1].inputs)
    return opened[0], opened[1]


def check_boundary(package: Package, cut: Cut, what: str, found: tuple[TensorSpec, ...]) -> None:
    """PackageError unless a side's tensors are exactly the cut's boundary."""
    for expected, actual in zip(cut.boundary, found, strict=False):
        if expected != actual:
            raise errors.PackageError(
                f"{package.path}: cut {cut.id}: the {what} have {actual}, the manifest says {expected}; "
                "copy the package again"
            )
    if len(found) != len(cut.boundary):
        raise errors.PackageError(
            f"{package.path}: cut {cut.id}: the {what} are {len(found)} tensors, the manifest says {len(cut.boundary)}"
        )


def are_equal(alone: Sequence[tuple[Array, ...]], together: Sequence[tuple[Array, ...]]) -> bool:
    """Whether the outputs of as many runs are the same, bit for bit."""
    return all(
        left.shape == right.shape and left.tobytes() == right.tobytes()
        for one, other in zip(alone, together, strict=True)
        for left, right in zip(one, other, strict=True)
    )


def _check(
    pair: tuple[Interpreter, Interpreter],
    cut: Cut,
    samples: Sequence[tuple[Array, ...]],
    expected: Sequence[tuple[Array, ...]],
    *,
    is_stateful: bool,
) -> Mismatch | None:
    with pair[0] as head, pair[1] as tail:
        run_head, run_tail = (side.stream(is_stateful=is_stateful) for side in (head, tail))
        differences = [
            _steps_apart(run_tail(*run_head(*sample)), whole) for sample, whole in zip(samples, expected, strict=True)
        ]
    differing = [steps for steps in differences if steps]
    return Mismatch(cut.id, len(differing), max(differing)) if differing else None


def _steps_apart(outputs: Sequence[Array], expected: Sequence[Array]) -> int:
    """Largest difference over all outputs in integer steps; 1 at least where floats differ in any bit."""
    most = 0
    for found, wanted in zip(outputs, expected, strict=True):
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            raise errors.PackageError(
                f"the tail gives {found.dtype} {found.shape}, the model {wanted.dtype} {wanted.shape}"
            )
        if found.tobytes() != wanted.tobytes():
            apart = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
            most = max(most, 1, int(np.ceil(np.nanmax(apart, initial=0.0))))
    return most


def _random(source: "np.random.Generator", spec: TensorSpec, size: int | None) -> Array:  # quoted: it imports a lot
    if spec.dtype in _INDICES and not spec.is_quantised:
        return source.integers(0, size or 2, spec.shape, dtype=spec.dtype)
    if np.issubdtype(np.dtype(spec.dtype), np.integer):
        limits = np.iinfo(spec.dtype)
        return source.integers(limits.min, limits.max, spec.shape, dtype=spec.dtype, endpoint=True)
    return source.standard_normal(spec.shape).astype(spec.dtype)
