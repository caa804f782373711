"""What each SCORE of a gate would send and get right, seen on samples."""

import contextlib
from collections.abc import Callable, Iterator

from tflsplit import arguments, errors, quantities
from tflsplit.api import gating
from tflsplit.api.seeing import datasets
from tflsplit.arguments import PathLike
from tflsplit.graph.cuts import Cut
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array
from tflsplit.inputs import samples
from tflsplit.package import outputs, trial
from tflsplit.package.reading import Package
from tflsplit.planning import tradeoff
from tflsplit.planning.pipeline import Outcome
from tflsplit.planning.tradeoff import Answered, Tradeoff


def of_plan(outcome: Outcome, given: PathLike) -> Tradeoff | None:
    """What a gate at the pick sends, costs and gets right for each SCORE, from samples that the real head, tail and
    whole model answer here. SettingsError for a model without scores, or with nothing to send at; None where the
    plan picks nothing, which its reason says."""
    package = outcome.package
    check_samples(package, given)
    if outcome.cut is None:
        return None
    found = tradeoff.ways(outcome.decision, outcome.scenario, [cut.id for cut in package.served_cuts])
    path = arguments.path(given, "gate_samples")
    rows = samples.read(path, package.manifest.inputs)
    told, remark = datasets.classes_of(package, path, rows)
    trial.once(package)
    answers = []
    convert = rows.fit(package.manifest.inputs, package.manifest.preprocessing)
    with _both(package, found.goes.candidate.cut) as both:
        for index in range(len(rows)):
            here, there = both(convert(rows.row(index)))
            sureness = outputs.sureness(package.manifest, here)
            truth = None if told is None else told[index]
            answers.append(Answered(sureness, _label(package, here), _label(package, there, is_cloud=True), truth))
    share, has_other_tail = quantities.parse_share(gating.AUDIT, "audit"), package.manifest.float_tails is not None
    remarks = [remark] if remark else []
    return tradeoff.judge(answers, found, share, has_other_tail=has_other_tail, remarks=remarks)


def check_samples(package: Package, given: PathLike | None) -> None:
    """SettingsError for models whose answers cannot be called sure, or whose frames follow each other, DataError for
    samples of no known kind; None is no gate."""
    if given is None:
        return
    problem = outputs.without_score(package.manifest)
    if problem is not None:
        raise errors.SettingsError(f"{package.path}: no answer can be called sure: {problem}")
    if package.manifest.is_stateful:
        raise errors.SettingsError(f"{package.path}: it is stateful, which no gate takes: leave the gate out")
    samples.check_kind(arguments.path(given, "gate_samples"))


@contextlib.contextmanager
def _both(package: Package, cut: Cut) -> "Iterator[Callable[[tuple[Array, ...]], tuple[tuple[Array, ...], ...]]]":
    """What answers inputs on the device and in the cloud; an int8 tail gives what the whole model does, bit for bit."""
    with contextlib.ExitStack() as opened:

        def model(data: bytes, name: str) -> Interpreter:
            return opened.enter_context(Interpreter(data, name=name))

        whole = model(package.model_bytes(), f"{package.path}: model")
        head = model(package.head_bytes(cut), f"{package.path}: head of {cut.id}") if cut.head.operators else None
        tail = model(package.tail_bytes(cut), f"{package.path}: tail of {cut.id}")
        yield lambda arrays: (whole.run(*arrays), tail.run(*(arrays if head is None else head.run(*arrays))))


def _label(package: Package, found: tuple[Array, ...], *, is_cloud: bool = False) -> str | None:
    manifest = package.manifest
    specs = manifest.results if is_cloud else manifest.outputs
    return outputs.read(specs, found, manifest.labels, manifest.meanings, count=1).label
