"""A package on disk: a directory that anyone can read, opened with every digest checked. `writing` writes it.

manifest.json           tflsplit.package.manifest owns its format
model.tflite            the whole model
model_float32.tflite    the same unquantised, where the tails are float
golden.npz              a few inputs and what the model makes of them (`tflsplit.package.golden`)
cuts/<id>/head.tflite   and tail.tflite, for the pairs that were asked for; any other is one slice away
cuts/<id>/head_edgetpu.tflite   and its compiler's .log, added by `update`
"""

import contextlib
import ctypes
import hashlib
import stat
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tflsplit import arguments, errors, text
from tflsplit.arguments import PathLike
from tflsplit.graph import cuts as graph_cuts
from tflsplit.graph import flatgraph, float_tail, indices, kinds, places
from tflsplit.graph.cuts import Cut
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import manifest as package_manifest
from tflsplit.package import outputs
from tflsplit.package.manifest import File, Manifest
from tflsplit.values.classes import dataclass

if TYPE_CHECKING:  # only who writes a model describes it
    from tflsplit.cards.known import Known

MANIFEST = "manifest.json"
MODEL = "model.tflite"
FLOAT_MODEL = "model_float32.tflite"
GOLDEN = "golden.npz"
PRECISIONS = "precisions.json"
SUFFIX = ".tflsplit"
# What `writing.update` adds to a cut.
COMPILED = ("head_edgetpu.tflite", "head_edgetpu.log")


@dataclass(frozen=True, repr=False)
class Package:
    """An opened package: everything in it has the digest that its manifest states."""

    path: Path
    manifest: Manifest

    @cached_property  # each frame carries it
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def cuts(self) -> tuple[Cut, ...]:
        return self.manifest.cuts

    def __repr__(self) -> str:
        written = sum(path.endswith("/head.tflite") for path in self.manifest.files)
        tail = "float32" if self.manifest.float_tails else "int8"
        whose = "package" if self.manifest.role is package_manifest.Role.WHOLE else f"{self.manifest.role.value} bundle"
        return (
            f"<{whose} {self.manifest.name}: {text.counted(len(self.cuts), 'cut')}, "
            f"{text.counted(written, 'head')} written, {tail} tails, "
            f"digest {self.digest[:16]}>"
        )

    def cut(self, wanted: str | Cut) -> Cut:
        """The cut named by its id, its layer or its boundary tensor; CutError names the nearest ones if none is.

        A cut of this package is returned as it is.
        """
        if isinstance(wanted, Cut) and wanted in self.cuts:
            return wanted
        return self._named(wanted.id if isinstance(wanted, Cut) else arguments.text(wanted, "cut"))

    def _named(self, name: str, besides: Sequence[str] = ()) -> Cut:
        named = self.manifest.aliases.get(name, name)
        return graph_cuts.find(self.cuts, named, dict(self.manifest.fused), besides=(*besides, *self.manifest.aliases))

    def select(self, wanted: str | Iterable[str | Cut]) -> tuple[Cut, ...]:
        """ "all" cuts, the "listed" or "useful" ones, or those named, by commas in one text or in several; each once.

        Listed are all but those between the time steps of unrolled layers, and of these those with a written pair.
        """
        if wanted == "all":
            return self.cuts
        if wanted == "listed":
            return tuple(cut for cut in self.cuts if cut.is_listed or self.file(cut, "head") or self.file(cut, "tail"))
        if wanted == "useful":
            return tuple(cut for cut in self.cuts if cut.is_useful)
        if isinstance(wanted, Cut) or not isinstance(wanted, Iterable):
            wanted = (wanted,)
        names = [name.strip() for name in wanted.split(",")] if isinstance(wanted, str) else wanted
        sets = ("all", "listed", "useful")
        found = (self._named(name, sets) if isinstance(name, str) else self.cut(name) for name in names)
        return tuple(dict.fromkeys(found))

    def default_cut(self) -> Cut:
        """Where an edge cuts without option or plan: at the first written pair whose payload is a tenth of the input.

        A tenth is about what JPEG makes of a picture, so a larger payload would lose against sending the picture. Where
        no pair is that small, the smallest. Without pairs, an edge bundle that holds the whole model runs it, so that
        no input leaves a device that was meant to keep it; a package for the Edge TPU is cut where its part ends; any
        other sends its `input`.
        """
        written = [cut for cut in self.cuts if f"cuts/{cut.id}/head.tflite" in self.manifest.files]
        small = [cut for cut in written if cut.payload_bytes * 10 <= self.cuts[0].payload_bytes]
        if written:
            return small[0] if small else min(written, key=lambda cut: cut.payload_bytes)
        if self.manifest.role is package_manifest.Role.EDGE and self.has(self.cuts[-1], "head"):
            return self.cuts[-1]
        return self.cut("edgetpu") if "edgetpu" in self.manifest.aliases else self.cuts[0]

    def file(self, cut: Cut, side: str) -> str | None:
        """Path in the package of a cut's "head", "tail" or "head_edgetpu", None where it was not written.

        The last is the head compiled for the Edge TPU; it runs on nothing else. The head of `output` and the int8 tail
        of `input` are the whole model.
        """
        is_whole = (cut.id, side) in (("input", "tail"), ("output", "head"))
        if side == "tail" and self.manifest.float_tails is not None:
            is_whole = False
        path = MODEL if is_whole else f"cuts/{cut.id}/{side}.tflite"
        return path if path in self.manifest.files else None

    def has(self, cut: Cut, side: str) -> bool:
        """If the "head" or "tail" of a cut is in this package, or can be sliced from what is; a bundle has a few."""
        is_float = side == "tail" and self.manifest.float_tails is not None
        return (FLOAT_MODEL if is_float else MODEL) in self.manifest.files or self.file(cut, side) is not None

    def model_bytes(self) -> bytes:
        """The whole model; PackageError in a bundle, which leaves it out."""
        if MODEL not in self.manifest.files:
            raise errors.PackageError(
                f"{self.path}: a bundle for the {self.manifest.role.value} side, without the whole model; "
                f"use the package it was made from ({self.manifest.name}, digest {self.digest[:16]})"
            )
        return (self.path / MODEL).read_bytes()

    def float_model_bytes(self) -> bytes:
        """The whole float model; PackageError where there is none."""
        if FLOAT_MODEL not in self.manifest.files:
            raise errors.PackageError(
                f"{self.path}: without the float model that float tails are cut from; "
                "use the whole package, or convert the model with --tail float32"
            )
        return (self.path / FLOAT_MODEL).read_bytes()

    @cached_property
    def float_graph(self) -> flatgraph.Graph:
        """The whole float model, parsed once; float tails come out of it."""
        found = flatgraph.read(self.float_model_bytes(), name=str(self.path / FLOAT_MODEL))
        tails = self.manifest.float_tails
        for cut, tensors in tails.counterparts.items() if tails else ():
            if any(not 0 <= index < len(found.tensors) for index in tensors):
                raise errors.PackageError(f"{self.path}: {FLOAT_MODEL} lacks tensors that the cut {cut} stands for")
        return found

    @property
    def table_sizes(self) -> tuple[int | None, ...]:
        """By input, the size of the table that it is an index into; without the whole model none is known."""
        return indices.table_sizes(self.graph) if MODEL in self.manifest.files else ()

    @cached_property
    def graph(self) -> flatgraph.Graph:
        """The whole model, parsed once; slices come out of it."""
        found = flatgraph.read(self.model_bytes(), name=str(self.path / MODEL))
        if len(found.operators) != self.manifest.operators:
            raise errors.PackageError(
                f"{self.path}: {MODEL} has not the {self.manifest.operators} operators that {MANIFEST} says"
            )
        for index, spec in places.tensors(self.cuts).items():
            if not 0 <= index < len(found.tensors) or found.tensors[index].spec != spec:
                where = next(cut.id for cut in self.cuts if index in cut.tensors)
                raise errors.PackageError(f"{self.path}: {MODEL} has another boundary at {where} than {MANIFEST} says")
        return found

    def forget_graph(self) -> None:
        """Frees what `graph` holds, some three times the file; it is parsed again when it is asked for."""
        self.__dict__.pop("graph", None)
        with contextlib.suppress(AttributeError, OSError):  # glibc has it, and keeps what lies between other things
            ctypes.CDLL(None).malloc_trim(0)

    @cached_property
    def known(self) -> "Known":
        """What its model files say of themselves."""
        return known_of(self.manifest, self.graph)

    def head_bytes(self, cut: Cut) -> bytes:
        """The head as `.tflite`: as written in the package, else sliced now."""
        written = self._written(cut, "head")
        return graph_cuts.head_bytes(self.graph, cut, self.known.head(cut)) if written is None else written

    def head_kinds(self, cut: Cut) -> tuple[str, ...]:
        """The operator kinds of a head (`tflsplit.graph.kinds`), each once; PackageError in a bundle without it."""
        if self.manifest.kinds or MODEL in self.manifest.files:
            return tuple(sorted(set((self.manifest.kinds or self._kinds)[: cut.position])))
        head, name = self.head_bytes(cut), f"{self.path}: head of {cut.id}"
        try:
            return kinds.of_graph(flatgraph.read(head, name=name))
        except errors.DeviceError:  # tflite-runtime brings no schema of the file; its interpreter tells the kinds
            with Interpreter(head, name=name) as opened:
                return tuple(sorted({kind for each in opened.kinds() for kind in each}))

    @cached_property
    def _kinds(self) -> tuple[str, ...]:
        return kinds.each(self.graph)

    def tail_bytes(self, cut: Cut) -> bytes:
        """The tail that serves frames, as `.tflite`: as written, else sliced now. CutError where there is none."""
        self.check_has_tail(cut)
        written = self._written(cut, "tail")
        if written is not None:
            return written
        if self.manifest.float_tails is None:
            return graph_cuts.tail_bytes(self.graph, cut, self.known.tail(cut))
        counterparts = self.manifest.float_tails.counterparts[cut.id]
        return float_tail.tail_bytes(self.float_graph, cut.boundary, counterparts, self.known.tail(cut))

    def integer_tail_bytes(self, cut: Cut) -> bytes:
        """The tail in the model's own integers, whatever the tails of this package are: what the proof runs."""
        return graph_cuts.tail_bytes(self.graph, cut) if self.manifest.float_tails else self.tail_bytes(cut)

    @property
    def served_cuts(self) -> tuple[Cut, ...]:
        """The cuts that have a tail: all, but for float tails whose boundary the float model has no counterpart of."""
        return tuple(cut for cut in self.cuts if cut.id not in self._without_tail)

    def check_has_tail(self, cut: Cut) -> None:
        """CutError with the reason for a cut that is none of `served_cuts`."""
        if cut.id in self._without_tail:
            raise errors.CutError(
                f"{self.path}: cut {cut.id} has no float tail: {self._without_tail[cut.id]}; "
                "take another cut, or convert with --tail int8"
            )

    @property
    def _without_tail(self) -> Mapping[str, str]:
        return self.manifest.float_tails.problems if self.manifest.float_tails else {}

    def _written(self, cut: Cut, side: str) -> bytes | None:
        path = self.file(cut, side)
        if path is None and not self.has(cut, side):
            there = ", ".join(other.id for other in self.cuts if self.file(other, side)) or "none"
            raise errors.PackageError(
                f"{self.path}: a bundle for the {self.manifest.role.value} side, without the {side} of {cut.id} "
                f"({side}s in it: {there}); bundle a plan for this cut, or use the whole package"
            )
        return None if path is None else (self.path / path).read_bytes()


def known_of(described: Manifest, graph: flatgraph.Graph) -> "Known":
    """What is known of the model of a manifest; `graph` is the model."""
    from tflsplit.cards import names as card_names
    from tflsplit.cards.known import Known

    return Known(
        name=described.name,
        names=card_names.of_graph(graph),
        inputs=described.inputs,
        outputs=described.results,
        meanings=outputs.told(described),
        labels=described.labels,
        preprocessing=described.preprocessing,
    )


def open_package(path: PathLike) -> Package:
    """Open a package and check every file in it against its digest.

    Raises PackageError naming the file that is missing, changed or not listed, or a schema that is newer than us.
    """
    path = arguments.path(path, "package")
    if not (path / MANIFEST).is_file():
        raise errors.PackageError(f"{path}: not a package (no {MANIFEST} in it); make one with `tflsplit convert`")
    try:
        if (path / MANIFEST).stat().st_size > package_manifest.MOST_BYTES:
            raise errors.PackageError(
                f"{path}: {MANIFEST} is larger than {package_manifest.MOST_BYTES:,} bytes; no package has such"
            )
        text = (path / MANIFEST).read_bytes().decode("utf-8")
    except UnicodeDecodeError as cause:
        raise errors.PackageError(f"{path}: {MANIFEST} is damaged ({cause.reason}); convert the model again") from cause
    except OSError as cause:
        raise errors.PackageError(f"{path}: {MANIFEST} cannot be read ({cause.strerror})") from cause
    opened = Package(path, package_manifest.parse(text, name=str(path)))
    for name, file in opened.manifest.files.items():
        _check_file(path, name, file)
    there = (found for found in path.rglob("*") if found.is_symlink() or not found.is_dir())
    unknown = {str(PurePosixPath(*found.relative_to(path).parts)) for found in there}
    unknown -= {MANIFEST, *opened.manifest.files}
    unknown = {name for name in unknown if not _is_leftover(PurePosixPath(name))}
    if unknown:
        raise errors.PackageError(f"{path}: {min(unknown)} is not listed in {MANIFEST}; remove it")
    return opened


def _check_file(path: Path, name: str, file: File) -> None:
    """Nothing is read before its kind and size are known, and then one piece at a time."""
    if not _lies_plainly_inside(path, PurePosixPath(name)):
        raise errors.PackageError(f"{path}: {MANIFEST} lists {name!r}, which does not lie plainly inside the package")
    try:
        found = (path / name).stat()
        if not stat.S_ISREG(found.st_mode):
            raise errors.PackageError(f"{path}: {name} is no plain file; copy the package again")
        is_whole = found.st_size == file.bytes and _sha256(path / name) == file.sha256
    except OSError as cause:
        raise errors.PackageError(
            f"{path}: {name} cannot be read ({cause.strerror}); copy the package again"
        ) from cause
    if not is_whole:
        raise errors.PackageError(
            f"{path}: {name} was changed after it was written (size or SHA-256 differs from {MANIFEST}); "
            "copy the package again"
        )


def _lies_plainly_inside(path: Path, name: PurePosixPath) -> bool:
    """Whether no part of the path is a link, not even a folder."""
    places = (name, *name.parents[:-1])
    return (
        bool(name.parts)
        and not name.is_absolute()
        and ".." not in name.parts
        and "\0" not in str(name)
        and not any((path / place).is_symlink() for place in places)
    )


def _sha256(place: Path) -> str:
    summed = hashlib.sha256()
    with place.open("rb") as stream:
        while piece := stream.read(1 << 20):
            summed.update(piece)
    return summed.hexdigest()


def _is_leftover(name: PurePosixPath) -> bool:
    """What a `writing.update` that was interrupted may leave; nothing reads it, and the next one overwrites it."""
    finished = name.name.removeprefix(".").removesuffix(".partial")
    return finished in COMPILED or name.name == f".{MANIFEST}.partial"
