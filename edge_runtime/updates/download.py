"""The download of one offer's files: which are missing, how much has arrived, and whether it is what was signed.

`mqtt_download` and `http_download` bring the data; here it is appended in order and checked. What has arrived of a file
is kept when the connection breaks or the edge restarts, and the download continues from there.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from broker.messages.updates import Offer
from tflsplit import errors
from tflsplit.package import manifest, reading
from tflsplit.package.manifest import Manifest, Role
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass

# What must stay free beside the bundle: the record, the links, and the logs of everybody else.
_SPARE_BYTES = 16 << 20
# A damaged file is downloaded once more: it may have been damaged on our own disk.
_TRIES = 2
_READ_BYTES = 1 << 20

# All paths that a bundle for an edge may hold; any other path in a message is refused.
_FILES = re.compile(
    rf"{'|'.join(map(re.escape, (reading.MODEL, reading.GOLDEN, reading.PRECISIONS)))}"
    r"|cuts/(op\d{1,6}|output)/(head|head_edgetpu)\.tflite",
    re.ASCII,
)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Lack:
    """An incomplete file: `path` in the bundle; `have` of its `bytes` are here."""

    path: str
    sha256: str
    bytes: int
    have: int


class Download:
    """Starts or continues the download below `folder`. `held` are files that the device has already, by their SHA-256.

    Raises PackageError if data is not what was signed, DeviceError if the disk is full.
    """

    def __init__(self, folder: Path, offer: Offer, held: Mapping[str, Path]) -> None:
        self._offer = offer
        self._held = held
        self._folder = folder / offer.manifest_sha256
        self._parts = self._folder / "parts"
        self._whole: set[str] = set()
        self._failures: dict[str, int] = {}
        self._files: dict[str, manifest.File] = {reading.MANIFEST: self._manifest_file()}
        with errors.disk_errors(folder):
            folder.mkdir(exist_ok=True)
            for other in folder.iterdir():
                if other != self._folder:
                    shutil.rmtree(other, ignore_errors=True)
            self._parts.mkdir(parents=True, exist_ok=True)
        self._check_room()
        self.lack = self._next()

    @property
    def percent(self) -> int:
        # Floored, so that 100 means whole.
        return self._have_bytes() * 100 // self._offer.total_bytes

    def append(self, data: bytes) -> None:
        """Adds the next bytes of the file in `lack`; bytes beyond its end are ignored."""
        lack = self.lack
        if lack is None:
            return
        part = self._parts / lack.sha256
        taken = data[: lack.bytes - lack.have]
        with errors.disk_errors(part), part.open("ab") as stream:
            stream.write(taken)
            if lack.have + len(taken) == lack.bytes:
                stream.flush()
                os.fsync(stream.fileno())
        self.lack = self._next()

    def finish(self) -> Path:
        """The folder of the complete bundle, which is opened and checked like any package."""
        made = self._folder / "package"
        left = [file.sha256 for file in self._files.values()]
        with errors.disk_errors(self._folder):
            shutil.rmtree(made, ignore_errors=True)
            for name, file in self._files.items():
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                left.remove(file.sha256)
                if file.sha256 in left:
                    _copy(self._parts / file.sha256, made / name)
                else:
                    (self._parts / file.sha256).replace(made / name)
        self._check(reading.open_package(made))
        return made

    def abandon(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _next(self) -> Lack | None:
        """The first incomplete file. The manifest is the first file; it lists the others."""
        while True:
            for name, file in self._files.items():
                have = self._have(name, file)
                if have < file.bytes:
                    return Lack(name, file.sha256, file.bytes, have)
                if name == reading.MANIFEST and len(self._files) == 1:
                    self._files |= self._listed()
                    self._check_room()
                    break
            else:
                return None

    def _have(self, name: str, file: manifest.File) -> int:
        if file.sha256 in self._whole:
            return file.bytes
        part = self._parts / file.sha256
        if not part.exists() and file.sha256 in self._held:
            with errors.disk_errors(part):
                _copy(self._held[file.sha256], part)
        have = part.stat().st_size if part.exists() else 0
        if have < file.bytes:
            return have
        if have == file.bytes and _sha256(part) == file.sha256:
            self._whole.add(file.sha256)
            return have
        part.unlink()
        self._failures[file.sha256] = self._failures.get(file.sha256, 0) + 1
        if self._failures[file.sha256] >= _TRIES:
            raise errors.PackageError(f"{name} came {_TRIES} times, and each time its SHA-256 was not what was signed")
        return 0

    def _have_bytes(self) -> int:
        parts = {file.sha256: file.bytes for file in self._files.values()}
        return sum(
            min((self._parts / sha256).stat().st_size, size)
            for sha256, size in parts.items()
            if (self._parts / sha256).exists()
        )

    def _manifest_file(self) -> manifest.File:
        return manifest.File(self._offer.manifest_sha256, self._offer.manifest_bytes)

    def _listed(self) -> Mapping[str, manifest.File]:
        data = (self._parts / self._offer.manifest_sha256).read_bytes()
        try:
            described = manifest.parse(data.decode("utf-8"), name="offered bundle")
        except (UnicodeDecodeError, RecursionError) as cause:
            raise errors.PackageError(f"offered bundle: manifest cannot be read ({cause})") from cause
        check_manifest(described, self._offer)
        return described.files

    def _check(self, opened: Package) -> None:
        cut = opened.cut(self._offer.cut)
        if cut.position > 0 and not opened.has(cut, "head"):
            raise errors.PackageError(f"offered bundle: without the head of {cut.id}, which it was offered for")

    def _check_room(self) -> None:
        """DeviceError, before anything is downloaded, if the rest would fill the disk."""
        needed = self._offer.total_bytes - self._have_bytes() + _SPARE_BYTES
        with errors.disk_errors(self._folder):
            free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise errors.DeviceError(f"no room for the model: {needed} bytes are needed beside it, {free} are free")


def check_manifest(described: Manifest, offer: Offer) -> None:
    """PackageError unless it describes the edge's bundle that was offered, and lists only allowed files."""
    if described.role is not Role.EDGE or described.digest != offer.package:
        raise errors.PackageError(
            f"offered bundle: is for the {described.role.value} side of package {described.digest[:16]}, offered was "
            f"the edge side of {offer.package[:16]}"
        )
    for name, file in described.files.items():
        if _FILES.fullmatch(name) is None:
            raise errors.PackageError(f"offered bundle: lists {name[:100]!r}, which is no file of an edge's bundle")
        if not isinstance(file.sha256, str) or _SHA256.fullmatch(file.sha256) is None or type(file.bytes) is not int:
            raise errors.PackageError(f"offered bundle: {name} has no SHA-256 or no size")
        if file.bytes < 1:
            raise errors.PackageError(f"offered bundle: {name} of {file.bytes} bytes")
    total = offer.manifest_bytes + sum(file.bytes for file in described.files.values())
    if total != offer.total_bytes:
        raise errors.PackageError(f"offered bundle: its files make {total} bytes, offered were {offer.total_bytes}")


def _copy(source: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.partial")
    shutil.copyfile(source, partial, follow_symlinks=False)
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.replace(target)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while data := stream.read(_READ_BYTES):
            digest.update(data)
    return digest.hexdigest()
