"""A watched folder: every picture that comes into it, once, also across restarts.

It is looked through four times a second, which network folders need (nothing tells of their changes) and a local one
hardly feels. A file is taken once it rests and can be read as a picture; one that cannot is given ten seconds.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edge_runtime.sources.captured import Capture
from tflsplit import errors
from tflsplit.inputs import pictures
from tflsplit.values.classes import dataclass

_log = logging.getLogger(__name__)

LOOK_S = 0.25
_RESTS_S = 1.0  # an older one was moved here whole; a newer one is looked at twice
_PATIENCE_S = 10.0  # for a file that is being written with a pause

_State = tuple[int, int]  # size and time of the last change in ns: a file written anew is a new one


def open_folder(path: Path) -> Path:
    """DataError unless it is a folder that can be looked through."""
    try:
        with os.scandir(path):
            return path
    except OSError as cause:
        raise errors.DataError(f"watch:{path}: {cause.strerror}; give a folder that this user may read") from cause


class Memory:
    """Which files were taken, by their names; on disk in `file`, or for this run only."""

    def __init__(self, folder: Path, file: Path | None) -> None:
        self._known: dict[str, _State] = {}
        self._lines: Any = None
        self._lock: Any = None
        if file is None:
            return
        lock = file.with_suffix(".lock")  # of its own: `file` is replaced at every start, and a lock would stay behind
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = lock.open("a")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._load(folder, file)
        except BlockingIOError as cause:
            self.close()
            raise errors.SettingsError(
                f"watch:{folder}: another edge of this name watches it already ({lock} is locked)"
            ) from cause
        except OSError as cause:
            self.close()
            raise errors.DeviceError(
                f"{file}: what was taken from {folder} cannot be kept there: {cause.strerror}"
            ) from cause

    def knows(self, name: str, state: _State) -> bool:
        return self._known.get(name) == state

    def add(self, name: str, state: _State) -> None:
        self._known[name] = state
        if self._lines is None or self._lines.closed:
            return
        try:
            self._lines.write(json.dumps((name, *state)) + "\n")
            self._lines.flush()
        except OSError as full:  # the frame goes on all the same
            _log.warning(
                "what was taken is forgotten at the next start file=%s reason=%r", self._lines.name, full.strerror
            )
            with contextlib.suppress(OSError):  # what could not be written is tried again
                self._lines.close()
            self._lines = None

    def close(self) -> None:
        for file in (self._lines, self._lock):
            if file is not None:
                file.close()

    def _load(self, folder: Path, file: Path) -> None:
        """Names that are gone are forgotten, and a line that was cut off by a crash too. The file is replaced in one
        step: killed at any instant, the edge remembers what it did before."""
        for line in file.read_bytes().splitlines() if file.exists() else ():
            try:
                name, size, changed_ns = json.loads(line)
                self._known[str(name)] = (int(size), int(changed_ns))
            except (ValueError, TypeError):
                continue
        self._known = {name: state for name, state in self._known.items() if (folder / name).exists()}
        partial = file.with_suffix(".partial")
        self._lines = partial.open("w", encoding="ascii")  # goes on being written to under its new name
        self._lines.writelines(json.dumps((name, *state)) + "\n" for name, state in self._known.items())
        self._lines.flush()
        os.fsync(self._lines.fileno())
        partial.replace(file)


def memory_file(folder: Path, reader: str) -> Path:
    """Where an edge remembers: in the service's own folder, else in that of the user."""
    key = hashlib.sha256(os.fsencode(f"{folder.absolute()}\0{reader}")).hexdigest()[:16]
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    user = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    return (Path(given) if given else Path(user) / "tflsplit") / "watched" / f"{key}.jsonl"


@dataclass(frozen=True, slots=True)
class _Seen:
    state: _State
    since_s: float


def captures(
    folder: Path, memory: Memory, drop: Callable[[str], None], wait: Callable[[float], object] = time.sleep
) -> Iterator[Capture | None]:
    """Pictures, oldest first, and None where nothing new is there. What is no picture counts as `no_picture`. A file is
    remembered when the next is asked for, so that a crash repeats one rather than losing it."""
    resting: dict[str, _Seen] = {}
    while True:
        for path, state in _look(folder, memory, resting):
            name = os.fspath(path.relative_to(folder))
            found_ns, found_at_s = time.time_ns(), time.monotonic()
            try:
                picture = pictures.opened(path)
            except errors.DataError:
                if found_at_s - resting[name].since_s >= _PATIENCE_S:
                    memory.add(name, state)
                    drop("no_picture")
                continue
            try:
                yield Capture(picture, found_ns, found_at_s)
            finally:  # at the end too: what was taken is in the outbox or the spool by then
                memory.add(name, state)
        wait(LOOK_S)
        yield None


def _look(folder: Path, memory: Memory, resting: dict[str, _Seen]) -> list[tuple[Path, _State]]:
    """The files to try now, the oldest first. `resting` holds what was seen before and is not taken."""
    now_s, there, due = time.monotonic(), set(), []
    for name, status in _files(os.fspath(folder)):
        state = (status.st_size, status.st_mtime_ns)
        if memory.knows(name, state):
            continue
        there.add(name)
        before = resting.get(name)
        if before is None or before.state != state:
            resting[name] = _Seen(state, now_s)
            if time.time() - status.st_mtime < _RESTS_S:
                continue
        due.append((folder / name, state))
    for name in set(resting) - there:
        del resting[name]
    return sorted(due, key=lambda each: (each[1][1], os.fsencode(each[0])))


def _files(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """Visible files in the folder and below it, by what stands behind its name; links to folders are not followed. One
    that is gone, as a disk pulled out, has none until it is back. Thousands are looked through: no paths are made."""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(f"{folder}/{below}") as entries:
                found = [entry for entry in entries if not pictures.is_hidden_name(entry.name)]
        except OSError:
            continue
        for entry in found:
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{below}{entry.name}/")
                elif stat.S_ISREG((status := entry.stat()).st_mode):  # a named pipe would be waited for
                    yield below + entry.name, status
            except OSError:  # gone meanwhile
                continue
