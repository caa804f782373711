"""Bundles: what one machine needs of a package to run some cuts, and nothing else.

An edge's holds heads (compiled ones too), golden samples of them and no weight of a tail; a cloud's holds tails; both
what fewer bits lose at their cuts; one for the middle of a chain the slice between its two cuts. All keep the manifest,
so that cuts have their names and boundaries, and the package's digest, so that each takes the others' frames.
"""

from collections.abc import Iterable, Iterator, Sequence

from tflsplit import arguments, errors
from tflsplit.arguments import PathLike
from tflsplit.chains.planfile import ChainPlan
from tflsplit.coding import precisions
from tflsplit.graph.cuts import Cut, middle_bytes
from tflsplit.package import golden, reading, trial, writing
from tflsplit.package.manifest import Role
from tflsplit.package.reading import Package
from tflsplit.values.classes import replace


def write(
    path: PathLike,
    whole: Package,
    role: Role | str,
    cuts: str | Sequence[Cut | str],
    *,
    moves: bool = False,
    replaces_existing: bool = False,
) -> Package:
    """The bundle of `cuts` for one side, complete at `path` or not at all. With `moves` it is for a cut that moves
    among these and begins at the first of them; where the whole model is in it, what can be sliced of that is left out.

    Raises PackageError if something is in the way or `whole` is a bundle itself, DeviceError if it cannot be written.
    """
    arguments.instance(whole, Package, "whole")
    side = Role(arguments.one_of(role, (Role.EDGE.value, Role.CLOUD.value), "role"))
    found = [whole.cut(each) for each in ((cuts,) if isinstance(cuts, str) else cuts)]
    contents = _heads(whole, found, moves=moves) if side is Role.EDGE else _tails(whole, found, moves=moves)
    return _write(path, whole, side, contents, replaces_existing=replaces_existing)


def write_middle(path: PathLike, whole: Package, start: Cut, stop: Cut, *, replaces_existing: bool = False) -> Package:
    """The bundle for a machine in the middle of a chain: the slice between two cuts."""
    return _write(path, whole, Role.MIDDLE, _middle(whole, start, stop), replaces_existing=replaces_existing)


def write_model(path: PathLike, whole: Package) -> Package:
    """The bundle for machines that share the model: the whole of it, and nothing else."""
    return _write(path, whole, Role.EDGE, [(reading.MODEL, whole.model_bytes())], replaces_existing=False)


def write_share(
    path: PathLike, whole: Package, plan: ChainPlan, stage: str, *, replaces_existing: bool = False
) -> Package:
    """The bundle for one stage of a chain's plan. SettingsError for a stage that is not in it or has nothing to do."""
    share = plan.share(stage)
    start, stop = whole.cut(share.start), whole.cut(share.stop)
    if share is plan.stages[0]:
        return write(path, whole, Role.EDGE, (stop,), replaces_existing=replaces_existing)
    if not share.takes_part:
        raise errors.SettingsError(f"stage {stage} has nothing to do in this plan, so it needs no bundle")
    if stop == whole.cuts[-1]:
        return write(path, whole, Role.CLOUD, (start,), replaces_existing=replaces_existing)
    return write_middle(path, whole, start, stop, replaces_existing=replaces_existing)


def _write(
    path: PathLike, whole: Package, role: Role, made: Iterable[tuple[str, bytes]], *, replaces_existing: bool
) -> Package:
    """Nothing of the bundle is `made` before it is known that it may be written."""
    path = arguments.path(path, "path")
    writing.check_destination(path, replaces_existing=replaces_existing, how="replaces_existing=True")
    if whole.manifest.role is not Role.WHOLE:
        raise errors.PackageError(
            f"{whole.path}: a bundle for the {whole.manifest.role.value} side; give the package that it was made of"
        )
    contents = dict(made)
    absent = {name: file for name, file in whole.manifest.files.items() if name not in contents}
    described = replace(whole.manifest, role=role, absent=absent)
    return writing.write_files(path, described, contents.items(), replaces_existing=replaces_existing)


def _heads(whole: Package, cuts: Sequence[Cut], *, moves: bool) -> Iterator[tuple[str, bytes]]:
    is_sliced = moves and whole.cuts[-1] in cuts
    for cut in cuts:
        if cut.position > 0 and (not is_sliced or cut == whole.cuts[-1]):  # the head of `input` computes nothing
            yield whole.file(cut, "head") or f"cuts/{cut.id}/head.tflite", whole.head_bytes(cut)
        compiled = whole.file(cut, "head_edgetpu")
        if compiled is not None:
            yield compiled, (whole.path / compiled).read_bytes()
    computing = [cut for cut in (cuts[:1] if moves else cuts) if cut.position > 0]
    if computing:
        trial.once(whole)  # the heads are run for it
        yield reading.GOLDEN, golden.of_heads(whole, computing)
    yield from _precisions(whole, cuts)


def _middle(whole: Package, start: Cut, stop: Cut) -> Iterator[tuple[str, bytes]]:
    yield (
        f"cuts/{start.id}/to_{stop.id}.tflite",
        middle_bytes(whole.graph, start, stop, whole.known.middle(start, stop)),
    )


def _tails(whole: Package, cuts: Sequence[Cut], *, moves: bool) -> Iterator[tuple[str, bytes]]:
    is_sliced = moves and whole.cuts[0] in cuts and whole.manifest.float_tails is None
    for cut in whole.cuts[:1] if is_sliced else cuts:
        yield whole.file(cut, "tail") or f"cuts/{cut.id}/tail.tflite", whole.tail_bytes(cut)
    yield from _precisions(whole, cuts)


def _precisions(whole: Package, cuts: Sequence[Cut]) -> Iterator[tuple[str, bytes]]:
    found = [each for each in precisions.of_package(whole) if each.cut in {cut.id for cut in cuts}]
    if found:
        yield reading.PRECISIONS, precisions.render(found)
