"""A package as a page: what it consists of, before there is a plan."""

from collections.abc import Sequence

from tflsplit import arguments, errors
from tflsplit.api import files, packages, planning, wording
from tflsplit.arguments import PathLike
from tflsplit.package.manifest import Role
from tflsplit.package.reading import Package
from tflsplit.timings import profiles as timings_profiles
from tflsplit.timings.profiles import Profile


@wording.in_python
def write_report(
    pkg: PathLike | Package, out: PathLike, *, profiles: Sequence[PathLike | Profile] = (), force: bool = False
) -> None:
    """The network, its cuts and what an Edge TPU can run, and with profiles where the time goes, in one HTML file; one
    that is there already is replaced with `force` only."""
    from converters.edgetpu import rules
    from tflsplit.report.model import page
    from tflsplit.report.model.mapping import Judged, Mapping

    path, package = files.free(out, force), packages.open(pkg)
    if package.manifest.role is not Role.WHOLE:
        raise errors.PackageError(f"{package.path}: a bundle does not hold the whole model; give the package")
    read = [_profile(given, package) for given in profiles]
    verdicts = rules.judge(package.graph, layers(package))
    last = rules.tpu_cut(verdicts, package.cuts)
    judged = [Judged(each.layer, each.maps, each.is_on_tpu, each.reason) for each in verdicts]
    files.write_whole(path, page.render(package, Mapping(judged, None if last is None else last.id), read))


def layers(package: Package) -> dict[int, str | None]:
    """Each operator's layer: the one that ends at it, else one that was fused into it."""
    fused: dict[int, str | None] = {operator: layer for layer, operator in package.manifest.fused.items()}
    return fused | {cut.after_operator: cut.layer for cut in package.cuts if cut.layer is not None}


def _profile(given: PathLike | Profile, package: Package) -> Profile:
    """Of either side, and of as many inputs a frame as it was made with."""
    found = given if isinstance(given, Profile) else timings_profiles.read(arguments.path(given, "profile"))
    return planning.profile_of(given, package, found.side, found.batch)
