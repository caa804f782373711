"""How many answers of a package are right, computed in each way that it may be, and what would be more right."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from broker.cloud.tail import Tails
from tflsplit import arguments, errors
from tflsplit.api import conversion, packages
from tflsplit.api.seeing import datasets
from tflsplit.api.seeing.datasets import Dataset
from tflsplit.api.seeing.predicting import Pair
from tflsplit.arguments import PathLike
from tflsplit.coding import input_codec, jpeg
from tflsplit.evaluation import scores, suspects
from tflsplit.evaluation.scores import Classified, Regressed
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, TensorSpec, dequantise
from tflsplit.inputs import pictures
from tflsplit.inputs.preprocessing import PixelTable, Preprocessing
from tflsplit.package import outputs, reading, trial
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass, replace

QUALITIES = (90, 70, 50)
_MOST_SUSPECTS = 200  # samples that other ways are tried on

Run = Callable[[int], tuple[Array, ...]]  # the outputs for a sample


@dataclass(frozen=True, slots=True)
class Way:
    """A way of computing: `name` as "int8" or "jpeg:70", and how right it is."""

    name: str
    found: Classified | Regressed


@dataclass(frozen=True, slots=True)
class Report:
    """`causes` are other preprocessings or namings that are clearly more right on the same samples, best first, each
    with its accuracy (or mean absolute error). `remarks` say what could not be computed."""

    samples: int
    ways: tuple[Way, ...]
    causes: tuple[tuple[str, float], ...]
    remarks: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        return {
            "samples": self.samples,
            "ways": [{"computed_as": way.name, **way.found.as_json()} for way in self.ways],
            "likely_causes": [{"change": change, "reaches": reached} for change, reached in self.causes],
            "remarks": list(self.remarks),
        }


@dataclass(frozen=True, slots=True)
class _Outputs:
    """Outputs as labels or numbers."""

    package: Package
    specs: tuple[TensorSpec, ...]

    def label(self, found: tuple[Array, ...]) -> str | None:
        manifest = self.package.manifest
        return outputs.read(self.specs, found, manifest.labels, manifest.meanings, count=1).label

    def numbers(self, found: tuple[Array, ...]) -> Array:
        real = [dequantise(array, spec).reshape(-1) for array, spec in zip(found, self.specs, strict=True)]
        return np.concatenate(real).astype(np.float64)


def evaluate(
    pkg: PathLike | Package,
    data: PathLike,
    *,
    model: PathLike | None = None,
    jpeg_qualities: Sequence[int] = QUALITIES,
    on_step: Callable[[], object] = lambda: None,
) -> Report:
    """How right a package is on samples with known truth, in int8, with float tails, in float and with JPEG inputs.

    `data` is a folder with a folder of pictures for each class, an .npz with an array `labels` beside the inputs, or a
    .csv with a picture's name or the input's numbers in each row, and behind them the class or what is regressed.
    `model` is the file that the package was made of, for float where the package does not hold it. DataError where the
    truth is not known.
    """
    opened, path = packages.open(pkg), arguments.path(data, "data")
    found = datasets.read(opened, path)
    trial.once(opened)
    remarks: list[str] = []
    with contextlib.ExitStack() as stack:
        float_model = stack.enter_context(_float_model(opened, model, remarks))
        computed = []
        for name, specs, run in _ways(opened, found, float_model, jpeg_qualities, stack):
            read = _Outputs(opened, specs)
            computed.append((name, read, _answers(found, read, run, range(len(found.rows)), on_step)))
        ways = tuple(Way(name, _scored(found, answers)) for name, _, answers in computed)
        # Causes are looked for in what loses least, which is first.
        causes = _causes(opened, found, *computed[0][1:], float_model=float_model)
    return Report(len(found.rows), ways, causes, tuple(remarks))


def _ways(
    package: Package,
    data: Dataset,
    float_model: Interpreter | None,
    qualities: Sequence[int],
    stack: contextlib.ExitStack,
) -> Iterator[tuple[str, tuple[TensorSpec, ...], Run]]:
    manifest, rows = package.manifest, data.rows
    convert = rows.fit(manifest.inputs, manifest.preprocessing)
    if float_model is not None:
        real = rows.fit(_real(manifest.inputs), manifest.preprocessing)
        floats = float_model
        yield "float", floats.outputs, lambda index: floats.run(*real(rows.row(index)))
    whole = stack.enter_context(Interpreter(package.model_bytes(), name=f"{package.path}: model"))
    yield "int8", manifest.outputs, lambda index: whole.run(*convert(rows.row(index)))
    if manifest.float_tails is not None:
        cut = package.default_cut()
        pair = stack.enter_context(Pair(package, cut))
        yield f"float tail at {cut.id}", manifest.results, lambda index: pair.run(convert(rows.row(index)))
    column = rows.columns[0]
    if not data.are_files and getattr(column, "dtype", None) != np.uint8:
        return
    with contextlib.suppress(errors.DataError):  # raised for a package that takes no pictures
        spec, preprocessing = input_codec.picture_input(manifest)
        shape = pictures.picture_shape(spec.shape, name=str(package.path))
        pixels, table = (
            rows.fit((input_codec.pixels_of(spec),), None, preprocessing.resize),
            PixelTable(preprocessing, spec),
        )
        tails = Tails(package)
        stack.callback(tails.close)
        for quality in qualities:
            coder = jpeg.Jpeg(shape, quality)

            def coded(index: int, coder: jpeg.Jpeg = coder) -> tuple[Array, ...]:
                decoded = jpeg.decode(coder.encode(pixels(rows.row(index))[0].tobytes()), shape)
                stored = table.apply(np.frombuffer(decoded, np.uint8).reshape(shape)).reshape(spec.shape)
                return tails.run(package.cuts[0], (stored,))

            yield f"jpeg:{quality}", manifest.results, coded


def _real(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(
        replace(spec, dtype="float32", scale=0.0, zero_point=0) if spec.is_quantised else spec for spec in specs
    )


def _answers(
    data: Dataset, read: _Outputs, run: Run, chosen: Sequence[int], on_step: Callable[[], object] = lambda: None
) -> "list[str | None] | Array":
    found = []
    for index in chosen:
        found.append(read.label(run(index)) if data.numbers is None else read.numbers(run(index)))
        on_step()
    return found if data.numbers is None else np.stack(found)  # type: ignore[arg-type, return-value]


def _scored(data: Dataset, answers: "list[str | None] | Array") -> Classified | Regressed:
    if data.labels is not None:
        return scores.of_labels(data.labels, list(answers))
    return scores.of_numbers(np.asarray(data.numbers), np.asarray(answers))


def _causes(
    package: Package,
    data: Dataset,
    read: _Outputs,
    answers: "list[str | None] | Array",
    *,
    float_model: Interpreter | None,
) -> tuple[tuple[str, float], ...]:
    """Ways that are clearly more right, best first."""
    manifest = package.manifest
    found: list[tuple[str, float]] = []
    if isinstance(answers, list):
        found += _namings(package, data, answers)
    preprocessing, spec = manifest.preprocessing, manifest.inputs[0]
    takes_pixels = data.are_files or getattr(data.rows.columns[0], "dtype", None) == np.uint8
    if preprocessing is not None and len(manifest.inputs) == 1 and pictures.is_picture(spec.shape) and takes_pixels:
        specs = _real(manifest.inputs) if float_model else manifest.inputs
        most = min(len(data.rows), _MOST_SUSPECTS)
        chosen = np.unique(np.linspace(0, len(data.rows) - 1, most).round()).astype(int).tolist()
        with contextlib.ExitStack() as stack:
            runner = float_model or stack.enter_context(Interpreter(package.model_bytes(), name=str(package.path)))
            for words, other in suspects.preprocessings(preprocessing, spec.shape[-1], are_files=data.are_files):
                run = _run(data, runner, specs, other)
                reached = _reached(data, chosen, answers, _answers(data, read, run, chosen))
                found += [(words, reached)] if reached is not None else []
    return tuple(sorted(found, key=lambda cause: cause[1], reverse=data.numbers is None))


def _run(data: Dataset, runner: Interpreter, specs: Sequence[TensorSpec], other: Preprocessing) -> Run:
    convert = data.rows.fit(specs, other)
    return lambda index: runner.run(*convert(data.rows.row(index)))


def _namings(package: Package, data: Dataset, answers: Sequence[str | None]) -> Iterator[tuple[str, float]]:
    classes = datasets.classes_in(package.manifest) or 0
    names = [*package.manifest.labels[:classes], *map(str, range(len(package.manifest.labels), classes))]
    places = {name: place for place, name in enumerate(names)}
    chosen = range(len(answers))
    for words, renamed in suspects.namings(package.manifest.labels, classes):
        moved = [None if answer is None else renamed(places[answer]) for answer in answers]
        others = [names[place] if place is not None and 0 <= place < classes else None for place in moved]
        reached = _reached(data, chosen, list(answers), others)
        if reached is not None:
            yield words, reached


def _reached(
    data: Dataset,
    chosen: Sequence[int],
    own: "list[str | None] | Array",
    other: "list[str | None] | Array",
) -> float | None:
    """Accuracy or mean error of another way, where it is clearly more right."""
    if data.labels is not None:
        truths = [data.labels[index] for index in chosen]
        before = [own[index] == truth for index, truth in zip(chosen, truths, strict=True)]
        after = [answer == truth for answer, truth in zip(other, truths, strict=True)]
        return sum(after) / len(after) if scores.is_clearly_more_right(before, after) else None
    truth = np.asarray(data.numbers)[list(chosen)]
    before_, after_ = (np.abs(np.asarray(each) - truth).mean(1) for each in (np.asarray(own)[list(chosen)], other))
    return float(after_.mean()) if scores.is_clearly_nearer(before_, after_) else None


@contextlib.contextmanager
def _float_model(package: Package, model: PathLike | None, remarks: list[str]) -> Iterator[Interpreter | None]:
    """That of the package, or of the file that it was made of, which is converted once more for it."""
    if reading.FLOAT_MODEL in package.manifest.files:
        with Interpreter(package.float_model_bytes(), name=f"{package.path}: float model") as opened:
            yield opened
        return
    if model is None:
        remarks.append(
            "float: not at hand; give the file that the package was made of (--model), without which other scalings "
            "can hardly be tried"
        )
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="tflsplit-") as folder:
        made = conversion.convert(model, Path(folder) / "float.tflsplit", tail="float32", pairs="none", quick=True)
        if made.manifest.source.sha256 != package.manifest.source.sha256:
            raise errors.DataError(f"{model}: is not the file that {package.path} was made of; give that one")
        with Interpreter(made.float_model_bytes(), name=f"{model}: float model") as opened:
            yield opened
