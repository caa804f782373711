"""Frames on disk until they are answered, in the order they were accepted, run after run; bounded in bytes and age.

When `put` returns, the frame survives the end of the process, and with `Sync.FRAME` a power cut. Removing does not wait
for the disk: after a power cut a frame that was just answered may be there again, and is sent once more. This file does
not decide when frames are sent.
"""

import enum
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from broker.messages import wire
from edge_runtime.delivery.framing import Packed
from edge_runtime.storage import rescue, rows
from edge_runtime.storage.database import RESERVE_BYTES, Database, DiskFullError
from edge_runtime.storage.rows import SEQUENCE_BITS, SEQUENCE_MASK, Row
from tflsplit import arguments, errors, private_files
from tflsplit.values.classes import dataclass

log = logging.getLogger(__name__)

Key = tuple[int, int]

# What a row takes beside the frame: its other columns and its share of half-filled pages.
_ROW_BYTES = 64

# A full spool reports that it accepts again only when it is this empty, or it would report it at every frame.
_ACCEPTING_SHARE = 0.9
# After a full disk it reports so only after this long without a refusal.
_ACCEPTING_AFTER_S = 10.0


class Sync(str, enum.Enum):
    """Whether a frame is accepted when it is on the disk, or already when the operating system has it."""

    FRAME = "frame"
    NONE = "none"


class Full(str, enum.Enum):
    """What happens to a frame for which there is no room."""

    BLOCK = "block"
    DROP_OLDEST = "drop-oldest"
    DROP_NEWEST = "drop-newest"


class State(str, enum.Enum):
    ACCEPTING = "accepting"
    FULL = "full"
    DISK_FULL = "disk_full"


@dataclass(frozen=True, slots=True)
class Limits:
    """`age_s` None: frames stay however old they are."""

    bytes: int = 1 << 30
    age_s: float | None = None
    full: Full = Full.BLOCK
    sync: Sync = Sync.FRAME

    def __post_init__(self) -> None:
        if self.bytes < 1:
            raise errors.SettingsError(f"spool of {self.bytes} bytes: give at least 1")
        if self.age_s is not None and not self.age_s > 0:
            raise errors.SettingsError(f"spool that forgets after {self.age_s} s: give more than 0, or nothing")


class Spool:
    """Made by `open_spool`. Any thread may call anything. DeviceError where the disk fails or the file is damaged.

    `frames` and `bytes` are what it holds, `damaged` counts frames that were dropped because the disk had changed or
    lost them.
    """

    def __init__(self, opened: rescue.Opened, limits: Limits) -> None:
        file = opened.file
        self.limits = limits
        self.state = State.ACCEPTING
        self.damaged = opened.lost
        self._file = file
        self._tally = opened.tally
        self._newest = opened.tally.last  # accepted, whether or not it is still here
        self._refused_at_s = 0.0
        self._undeleted: set[int] = set()  # removed, but the disk had no room for deleting them
        self._changed = threading.Condition()
        self._boots = file.runs()
        self._numbers = {boot: number for number, boot in self._boots.items()}
        self.frames, held, self._last_id = file.totals()
        self.bytes = held + self.frames * _ROW_BYTES

    @property
    def path(self) -> Path:
        return self._file.path

    @property
    def is_full(self) -> bool:
        return self.state is not State.ACCEPTING

    def knows(self, boot: int) -> bool:
        """Whether frames of that run are here, or were here when the spool was opened."""
        return boot in self._numbers

    def put(self, packed: Packed) -> bool:
        """Accepts a frame; False if there is no room, and `state` says where. Sequences of a run only ever grow.

        SettingsError for a frame that is larger than the whole spool may be.
        """
        charge = _charge(len(packed.encoded))
        if charge > self.limits.bytes:
            raise errors.SettingsError(
                f"spool {self.path}: a frame of {len(packed.encoded)} bytes does not fit {self.limits.bytes} bytes"
            )
        with self._changed:
            if self.bytes + charge > self.limits.bytes:
                self._enter(State.FULL)
                return False
            try:
                row_id = self._run_of(packed.boot) | packed.sequence
                row = rows.sealed(row_id, packed.captured_ns, packed.cut, packed.encoded)
                self._file.insert(row, is_durable=self.limits.sync is Sync.FRAME)
            except DiskFullError:
                self._enter(State.DISK_FULL)
                return False
            self._last_id, self._newest = row.id, packed.key
            self._count(1, charge)
            return True

    def wait_for_room(self, timeout_s: float) -> bool:
        """Whether to try another frame: there is room for one of average size, or the disk may have room again. Waits
        up to `timeout_s`."""
        with self._changed:
            if self.state is State.DISK_FULL:
                self._changed.wait(timeout_s)
                return True
            if not self._has_room():
                self._enter(State.FULL)
            return self._changed.wait_for(self._has_room, timeout_s)

    def wait_until_empty(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.frames == 0, timeout_s)

    def wait_for_more(self, key: Key | None, timeout_s: float) -> bool:
        """Whether a frame was accepted after the one of `key` (None: any frame), waiting up to `timeout_s`."""
        with self._changed:
            after_id = self._id_after(key)
            return self._changed.wait_for(lambda: self.frames > 0 and self._last_id > after_id, timeout_s)

    def after(self, key: Key | None) -> Packed | None:
        """The frame that was accepted next after the one of `key` (None: the first)."""
        with self._changed:
            after_id = self._id_after(key)
            while (row := self._file.row_after(after_id)) is not None:
                packed = None if row.id in self._undeleted else self._unpacked(row)
                if packed is not None:
                    return packed
                after_id = row.id
            self._last_id = after_id  # what came later was dropped
            return None

    def get(self, key: Key) -> Packed | None:
        """A frame; None if it is not here."""
        with self._changed:
            row_id = self._id(key) if self.knows(key[0]) else None
            row = None if row_id is None or row_id in self._undeleted else self._file.row(row_id)
            return None if row is None else self._unpacked(row)

    def take(self, key: Key) -> Packed | None:
        """Removes and returns a frame; None if it is not here."""
        with self._changed:
            packed = self.get(key)
            if packed is not None:
                self.remove(packed)
            return packed

    def remove(self, packed: Packed) -> None:
        """Does nothing if the frame is not here any more."""
        with self._changed:
            row_id = self._id(packed.key)
            if row_id not in self._undeleted and self._file.size(row_id) is not None:
                self._delete([row_id], _charge(len(packed.encoded)))

    def drop_oldest(self, room_for: Packed) -> list[Key]:
        """Removes frames, at least one, until that one fits; returns their keys."""
        with self._changed:
            excess = max(1, self.bytes + _charge(len(room_for.encoded)) - self.limits.bytes)
            return self._drop_while(lambda dropped_bytes, _: dropped_bytes < excess)

    def expire(self, now_ns: int) -> list[Key]:
        """Removes frames that are older than `limits.age_s`; returns their keys."""
        if self.limits.age_s is None:
            return []
        before_ns = now_ns - int(self.limits.age_s * 1e9)
        with self._changed:
            return self._drop_while(lambda _, captured_ns: captured_ns < before_ns)

    def check_there(self) -> None:
        """DeviceError if the file was removed or replaced."""
        self._file.check_there()

    def close(self) -> None:
        self._file.close()
        self._tally.close(self.frames, self._newest)

    def as_json(self) -> dict[str, object]:
        """State and limits, for people and tools."""
        return {
            "state": self.state.value,
            "bytes": self.limits.bytes,
            "age_s": self.limits.age_s,
            "full": self.limits.full.value,
            "sync": self.limits.sync.value,
        }

    def _id(self, key: Key) -> int:
        boot, sequence = key
        return self._numbers[boot] << SEQUENCE_BITS | sequence

    def _id_after(self, key: Key | None) -> int:
        return -1 if key is None else self._id(key)

    def _run_of(self, boot: int) -> int:
        """The first id of that run, which is the newest."""
        if boot not in self._numbers:
            number = max(self._boots, default=0) + 1
            self._file.add_run(number, boot)
            self._boots[number], self._numbers[boot] = boot, number
        return self._numbers[boot] << SEQUENCE_BITS

    def _unpacked(self, row: Row) -> Packed | None:
        """The frame of a row; None, and the row is dropped, if the disk has damaged it."""
        boot, sequence = self._boots[row.id >> SEQUENCE_BITS], row.id & SEQUENCE_MASK
        if not row.is_whole:
            log.error("spooled frame dropped boot=%016x sequence=%d reason='the disk has changed it'", boot, sequence)
            self.damaged += 1
            self._delete([row.id], _charge(len(row.encoded)))
            return None
        frame = wire.describe(row.encoded)
        about = (boot, sequence, frame.package.hex(), row.cut, row.captured_ns, frame.head_us / 1e6)
        return Packed(*about, row.encoded, later_ns=frame.later_ns)

    def _drop_while(self, is_due: Callable[[int, int], bool]) -> list[Key]:
        """Drops the oldest frames while `is_due(bytes dropped so far, captured_ns of the next)`; returns their keys."""
        row_ids, dropped_bytes = [], 0
        with closing(self._file.sizes()) as sizes:
            for row_id, captured_ns, encoded_bytes in sizes:
                if row_id in self._undeleted:
                    continue
                if not is_due(dropped_bytes, captured_ns):
                    break
                row_ids.append(row_id)
                dropped_bytes += _charge(encoded_bytes)
        if row_ids:
            self._delete(row_ids, dropped_bytes)
        return [(self._boots[row_id >> SEQUENCE_BITS], row_id & SEQUENCE_MASK) for row_id in row_ids]

    def _delete(self, row_ids: list[int], charge: int) -> None:
        self._undeleted.update(row_ids)
        self._count(-len(row_ids), -charge)
        try:
            self._file.delete(self._undeleted)
        except DiskFullError:
            self._enter(State.DISK_FULL)
        else:
            self._undeleted.clear()

    def _count(self, frames: int, charge: int) -> None:
        self.frames += frames
        self.bytes += charge
        self._tally.note(self.frames, self._newest)
        is_emptier = self.state is State.FULL and self.bytes <= _ACCEPTING_SHARE * self.limits.bytes
        had_room = self.state is State.DISK_FULL and time.monotonic() - self._refused_at_s >= _ACCEPTING_AFTER_S
        if is_emptier or (had_room and frames > 0):
            self._enter(State.ACCEPTING)
        self._changed.notify_all()

    def _enter(self, state: State) -> None:
        self._refused_at_s = time.monotonic()
        if state is not self.state:
            self.state = state
            level = logging.INFO if state is State.ACCEPTING else logging.WARNING
            log.log(
                level,
                "spool %s path=%s frames=%d bytes=%d limit=%d disk_free=%d disk_reserve=%d",
                state.value,
                self.path,
                self.frames,
                self.bytes,
                self.limits.bytes,
                self._file.free_disk_bytes(),
                RESERVE_BYTES,
            )

    def _has_room(self) -> bool:
        usual = self.bytes // self.frames if self.frames else 0
        return self.bytes + usual <= self.limits.bytes


def limits(*, bytes: int = 1 << 30, age_s: float = 0.0, full: str = "block", sync: str = "frame") -> Limits:
    """Limits from the words of the command line; an `age_s` of 0 is none."""
    return Limits(bytes, age_s or None, Full(full), Sync(sync))


@contextmanager
def open_spool(folder: Path, limits: Limits, *, deployment: str, device: str) -> Iterator[Spool]:
    """The spool of one device in `folder`, which is made if need be.

    SettingsError if another process uses it, it holds frames of another device, or a newer version wrote it.
    DeviceError if it is empty and its disk has no room for a single frame, for which it would wait for ever. A file
    that is damaged is set aside; the spool holds what can be read of it, and `damaged` counts the rest.
    """
    folder = arguments.path(folder, "spool")
    try:
        private_files.make_folder(folder)
    except OSError as problem:
        raise errors.DeviceError(
            f"spool {folder}: {problem.strerror}; give a folder that can be made here"
        ) from problem
    try:
        opened = rescue.open_file(folder)
        file = opened.file
        with closing(Spool(opened, limits)) as spool:
            _claim(file, spool, f"{deployment}/{device}")
            if not spool.frames and not file.has_room(0):
                raise errors.DeviceError(
                    f"spool {folder}: {file.free_disk_bytes() >> 20} MB are free on its disk, of which "
                    f"{RESERVE_BYTES >> 20} MB are always left; make room there, or give a --spool on another disk"
                )
            yield spool
    except DiskFullError as problem:
        raise errors.DeviceError(f"spool {folder}: the disk is full; make room on it") from problem


def _claim(file: Database, spool: Spool, owner: str) -> None:
    said = file.fact("owner")
    if said == owner:
        return
    if said is not None and spool.frames:
        raise errors.SettingsError(
            f"spool {file.path}: holds {spool.frames} frames of {said}, this is {owner}; give each its own --spool"
        )
    file.set_fact("owner", owner)


def _charge(encoded_bytes: int) -> int:
    return encoded_bytes + _ROW_BYTES
