"""Bundles: what one machine needs of a package to run some cuts, and nothing else.

An edge's holds heads (compiled ones too), golden samples of them and no weight of a tail; a cloud's holds tails. Both
keep the manifest, so that cuts have their names and boundaries, and the package's digest, so that their frames are each
other's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tflsplit import errors, golden, package
from tflsplit.cuts import Cut
from tflsplit.manifest import Role
from tflsplit.package import Package


def write(path: Path, whole: Package, role: Role, cuts: Sequence[Cut], *, replaces_existing: bool = False) -> Package:
    """The bundle of `cuts` for one side, complete at `path` or not at all.

    Raises PackageError if something is in the way or `whole` is a bundle itself, DeviceError if it cannot be written.
    """
    if whole.manifest.role is not Role.WHOLE:
        raise errors.PackageError(
            f"{whole.path}: a bundle for the {whole.manifest.role.value} side; bundle from the whole package"
        )
    if role is Role.WHOLE:
        raise ValueError("a bundle is for the edge or the cloud")
    contents = dict(_heads(whole, cuts) if role is Role.EDGE else _tails(whole, cuts))
    absent = {name: file for name, file in whole.manifest.files.items() if name not in contents}
    described = replace(whole.manifest, role=role, absent=absent)
    return package.write_files(path, described, contents.items(), replaces_existing=replaces_existing)


def _heads(whole: Package, cuts: Sequence[Cut]) -> Iterator[tuple[str, bytes]]:
    for cut in cuts:
        if cut.position > 0:  # the head of `input` computes nothing
            yield whole.file(cut, "head") or f"cuts/{cut.id}/head.tflite", whole.head_bytes(cut)
            compiled = whole.file(cut, "head_edgetpu")
            if compiled is not None:
                yield compiled, (whole.path / compiled).read_bytes()
    computing = [cut for cut in cuts if cut.position > 0]
    if computing:
        yield package.GOLDEN, golden.of_heads(whole, computing)


def _tails(whole: Package, cuts: Sequence[Cut]) -> Iterator[tuple[str, bytes]]:
    for cut in cuts:
        yield whole.file(cut, "tail") or f"cuts/{cut.id}/tail.tflite", whole.tail_bytes(cut)
