"""The models that a device holds, and the record of the last offer and its outcome.

MODELS/current       a link to the model that runs; without it the edge runs the package that it was started with
MODELS/<name>/       one model: package/, and offer.json as it was signed
MODELS/incoming/     the part of another model that was downloaded so far
MODELS/record.json   the serial of the last offer, its outcome, and which model is on probation

Each step is one rename, ordered so that the previous or the new model runs whenever the power fails: the record names a
model on probation before the model becomes current, and the probation's end before other models are removed.
"""

import contextlib
import fcntl
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from broker.messages.updates import Offer, Signed, State
from tflsplit import errors, private_files, strict_json
from tflsplit.package import reading
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass, replace

log = logging.getLogger(__name__)

_SCHEMA = 1
_NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Record:
    """`offer` is the id of the last offer, `package` the digest it offered, `state` and `reason` its outcome.
    `on_probation` names the model on probation, if any. `is_serving` is set while it runs, so a start that finds it set
    follows a crash. `before` is the model to go back to, None for the package that the edge was started with."""

    serial: int = 0
    offer: str | None = None
    package: str | None = None
    state: State = State.IDLE
    reason: str | None = None
    on_probation: str | None = None
    is_serving: bool = False
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Installed:
    """A model in the store, with the offer that it came with: the offer names the cut."""

    name: str
    package: Package
    offer: Offer


class Store:
    """For one process at a time: SettingsError if another has it open, DeviceError if the folder cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with errors.disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            private_files.make_folder(path)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            os.close(self._lock)
            raise errors.SettingsError(
                f"models {path}: another edge runs with it; give each its own --models"
            ) from cause
        try:
            self.record = self._read()
        except errors.DeviceError:
            os.close(self._lock)
            raise

    def close(self, *, is_good_end: bool) -> None:
        """After a good end the next start continues the probation of a model; otherwise it rolls the model back."""
        try:
            if is_good_end and self.record.is_serving:
                self.note(is_serving=False)
        finally:
            os.close(self._lock)

    def begin(self) -> Installed | None:
        """The model to start with; None for the package that the edge was given.

        A model that crashed on probation, or that cannot be opened, is rolled back first.
        """
        if self.record.on_probation is not None and self.record.is_serving:
            self.roll_back("the edge ended without a goodbye while the model was on probation")
        found = self.opened()
        if self.record.on_probation is not None:
            self.note(is_serving=True)
        self._remove_all_but({self.current(), self.record.before})
        return found

    def current(self) -> str | None:
        try:
            name = os.readlink(self.path / "current")
        except OSError:
            return None
        return name if _NAME.fullmatch(name) else None

    def note(self, **changes: Any) -> None:
        """Replaces the record in one step."""
        record = replace(self.record, **changes)
        fields = {"schema": _SCHEMA} | {name: getattr(record, name) for name in record.__slots__}
        with errors.disk_errors(self.path):
            write(self.path / "record.json", (json.dumps(fields) + "\n").encode())
        self.record = record

    def has(self, offer: Offer) -> bool:
        """Whether the bundle of an offer is here already, complete."""
        name = name_of(offer)
        with contextlib.suppress(errors.PackageError):
            self.open(name)
            return True
        if name != self.current():
            shutil.rmtree(self.path / name, ignore_errors=True)
        return False

    def add(self, signed: Signed, folder: Path) -> None:
        """Adds a complete bundle; `folder`, which lies in the store, is moved."""
        offer = signed.offer()
        place, made = self.path / name_of(offer), self.path / "incoming" / "model"
        with errors.disk_errors(self.path):
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            folder.rename(made / "package")
            write(made / "offer.json", signed.as_json())
            _sync_folders(made)
            made.rename(place)
            sync(self.path)
        shutil.rmtree(self.path / "incoming", ignore_errors=True)

    def held(self) -> Mapping[str, Path]:
        """Files of the models that are here, by their SHA-256."""
        found: dict[str, Path] = {}
        for name in filter(None, (self.current(), self.record.before)):
            with contextlib.suppress(errors.PackageError):
                opened = self.open(name).package
                found |= {file.sha256: opened.path / path for path, file in opened.manifest.files.items()}
        return found

    def open(self, name: str) -> Installed:
        """PackageError if anything of it is damaged or missing."""
        try:
            fields = strict_json.parse((self.path / name / "offer.json").read_bytes())
            offer = Signed(str(fields["offer"]).encode(), b"").offer()
        except (OSError, ValueError, KeyError, TypeError, errors.FrameError) as cause:
            why = errors.one_line(cause)
            raise errors.PackageError(f"{self.path / name}: offer.json cannot be read ({why})") from cause
        return Installed(name, reading.open_package(self.path / name / "package"), offer)

    def put_on_probation(self, found: Installed) -> None:
        """The model becomes current; `roll_back` or `keep` ends that."""
        self.note(state=State.PROBATION, on_probation=found.name, is_serving=True, before=self.current())
        self._switch(found.name)

    def keep(self) -> None:
        """Ends the probation of a good model. Of earlier models only the last is kept."""
        self.note(state=State.INSTALLED, reason=None, on_probation=None, is_serving=False)
        self._remove_all_but({self.current(), self.record.before})

    def roll_back(self, reason: str) -> None:
        """Makes the previous model current again if one is on probation, and records the reason."""
        log.error("update rolled back offer=%s reason=%s", self.record.offer, reason)
        if self.record.on_probation is not None:
            self._switch(self.record.before)
        self.note(state=State.ROLLED_BACK, reason=reason, on_probation=None, is_serving=False)

    def opened(self) -> Installed | None:
        """The current model; the previous one if the current one is damaged."""
        for _ in range(2):
            name = self.current()
            if name is None:
                return None
            try:
                return self.open(name)
            except errors.PackageError as damaged:
                before = self.record.before if self.record.before != name else None
                self.note(on_probation=name, before=before)
                self.roll_back(f"the model cannot be opened: {damaged}")
        return None

    def _switch(self, name: str | None) -> None:
        with errors.disk_errors(self.path):
            if name is None:
                (self.path / "current").unlink(missing_ok=True)
            else:
                link = self.path / ".current"
                link.unlink(missing_ok=True)
                link.symlink_to(name)
                link.replace(self.path / "current")
            sync(self.path)

    def _remove_all_but(self, kept: set[str | None]) -> None:
        for place in self.path.iterdir():
            if _NAME.fullmatch(place.name) and place.name not in kept:
                shutil.rmtree(place, ignore_errors=True)

    def _read(self) -> Record:
        """A damaged record is refused: without its serial, old offers would be accepted again."""
        try:
            fields = strict_json.parse((self.path / "record.json").read_bytes())
            if fields.pop("schema") != _SCHEMA:
                raise ValueError("schema of another tflsplit")
            names = [fields.get(key) for key in ("on_probation", "before")]
            if not all(name is None or _NAME.fullmatch(name) for name in names):
                raise ValueError(f"models {names}")
            return Record(**fields | {"state": State(fields["state"])})
        except FileNotFoundError:
            return Record()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
            raise errors.DeviceError(
                f"{self.path / 'record.json'}: damaged ({cause}); empty {self.path} to begin anew, and push again"
            ) from cause


def name_of(offer: Offer) -> str:
    """The name in the store: bundles of one package differ in their cuts, so both digests count."""
    return f"{offer.package[:16]}-{offer.manifest_sha256[:16]}"


def write(path: Path, data: bytes) -> None:
    """Replaces the file in one step; the data is on the disk when this returns."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
    sync(path.parent)


def sync(folder: Path) -> None:
    """Names in a folder are on the disk only after this."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folders(top: Path) -> None:
    for folder, _, _ in os.walk(top):
        sync(Path(folder))
