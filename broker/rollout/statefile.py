"""What has become of each device of a rollout, on disk: one SQLite file, which others read while the rollout runs.

The process that runs a rollout writes entries and the phase; whoever steers it writes the wish. Each writing is a
transaction, so a process that is killed leaves what it had written last. A serial is on disk before its offer is
published: a rollout that is started again says the same offer, which the device knows.
"""

import contextlib
import enum
import fcntl
import itertools
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from broker.messages import topics
from broker.rollout.terms import Terms
from tflsplit import arguments, errors, private_files, strict_json
from tflsplit.values.classes import asdict, dataclass, field, fields

_SCHEMA = 2
_APPLICATION = 0x54465352  # "TFSR", in SQLite's own header
_BUSY_S = 30.0
_TABLES = """
CREATE TABLE rollout (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE devices (name TEXT PRIMARY KEY, place INTEGER NOT NULL, entry TEXT NOT NULL);
"""

_Kind = TypeVar("_Kind")


class State(str, enum.Enum):
    """Of a device. `OFFERED` and `OBSERVED` are on their way; `UNHEALTHY` runs the model, and does worse than before;
    `FAILED` has not got it. Those that run the model of before when a rollout goes back are `SPARED`."""

    WAITING = "waiting"
    OFFERED = "offered"
    OBSERVED = "observed"
    INSTALLED = "installed"
    UNHEALTHY = "unhealthy"
    FAILED = "failed"
    SPARED = "spared"

    @property
    def is_final(self) -> bool:
        return self in _FINAL

    @property
    def is_bad(self) -> bool:
        return self in (State.UNHEALTHY, State.FAILED)


# Written once: this is asked of each device at each look, and an enum's members cost more to name than to compare.
_FINAL = (State.INSTALLED, State.UNHEALTHY, State.FAILED, State.SPARED)


class Wish(str, enum.Enum):
    """What whoever steers the rollout wants of it."""

    RUN = "run"
    GO_ON = "go on"  # although it has halted; it runs then
    PAUSE = "pause"
    ABORT = "abort"
    BACK = "back"


@dataclass(slots=True)
class Entry:
    """One device. It belongs to the `phase` in which it was taken, 0 before. `offer` is the id of the last offer that
    was made to it, and `said` the last word of the device about it. `before` is what was observed before the model
    came, `lacking` what could not be compared with it."""

    name: str
    state: State = State.WAITING
    phase: int = 0
    serial: int = 0
    offer: str | None = None
    cut: str | None = None
    said: str | None = None
    reason: str | None = None
    sent_bytes: int = 0
    began_s: float | None = None
    ended_s: float | None = None
    before: dict[str, Any] = field(default_factory=dict)
    lacking: list[str] = field(default_factory=list)

    @property
    def is_under_way(self) -> bool:
        return self.phase > 0 and not self.state.is_final

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rollout is: it stays the same from its first start to its end. `package` is a digest. `is_listed`: its
    devices were named one by one, not found; those that were are all, or of a `group`."""

    deployment: str
    package: str
    is_listed: bool
    group: str | None
    cut: str | None
    url: str | None
    terms: Terms


@dataclass(slots=True)
class Course:
    """How far it is. `halted` says why it takes no more devices."""

    phase: int = 1
    halted: str | None = None
    is_back: bool = False
    ended: str | None = None


class StateFile:
    """`entries` are in the order in which devices are taken. Opened with `create` or `open_file`, to be closed."""

    def __init__(self, database: sqlite3.Connection, path: Path | None, lock: int | None = None) -> None:
        self._database, self.path, self._lock = database, path, lock
        with self._guarded():
            self.plan: Plan = _plan(self._get("plan"))
            self.course = _checked(Course, self._get("course"))
            rows = database.execute("SELECT entry FROM devices ORDER BY place").fetchall()
            self.entries = {made.name: made for (row,) in rows for made in (_entry(row),)}

    def close(self) -> None:
        self._database.close()
        if self._lock is not None:
            os.close(self._lock)

    def __enter__(self) -> "StateFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def wish(self) -> tuple[Wish, Path | None]:
        """And the package to go back to."""
        with self._guarded():
            told = self._get("wish")
            return Wish(told["wish"]), None if told["to"] is None else Path(told["to"])

    def want(self, wish: Wish, to: Path | None = None) -> None:
        with self._guarded(), self._database:
            self._put("wish", {"wish": wish.value, "to": None if to is None else str(to)})

    def save(self, changed: Iterable[Entry]) -> None:
        """These entries, and the course."""
        with self._guarded(), self._database:
            self._put("course", asdict(self.course))
            self._database.executemany(
                "UPDATE devices SET entry = ? WHERE name = ?",
                [(json.dumps(entry.as_json()), entry.name) for entry in changed],
            )

    def counts(self) -> Counter[State]:
        return Counter(entry.state for entry in self.entries.values())

    @property
    def size(self) -> int:
        """How many devices this phase is to have."""
        count = len(self.entries)
        return count if self.course.is_back else self.plan.terms.size(self.course.phase, count)

    def away(self) -> list[str]:
        """Those that wait although it was their turn: they were off, or tried another model. Others were taken behind
        them, or this phase has room left, and does not pause."""
        entries = self.entries.values()
        taken = [place for place, entry in enumerate(entries) if entry.phase > 0]
        is_filling = self.wish[0] is not Wish.PAUSE and self.course.halted is None
        has_room = is_filling and sum(entry.phase == self.course.phase for entry in entries) < self.size
        last = 0 if not taken else len(entries) if has_room else taken[-1]
        in_turn = itertools.islice(entries, last)
        return [each.name for each in in_turn if each.state is State.WAITING and each.phase == 0]

    def _get(self, key: str) -> Any:
        (value,) = self._database.execute("SELECT value FROM rollout WHERE key = ?", (key,)).fetchone()
        return strict_json.parse(value.encode())

    def _put(self, key: str, value: object) -> None:
        self._database.execute("INSERT OR REPLACE INTO rollout VALUES (?, ?)", (key, json.dumps(value)))

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        with _guarded(self.path):
            yield


def create(path: Path | None, plan: Plan, names: Sequence[str]) -> StateFile:
    """A new rollout to these devices, in memory without a path. SettingsError if there is something at the path."""
    if path is None:
        return _made(sqlite3.connect(":memory:"), None, None, plan, names)
    if os.path.lexists(path):
        raise errors.SettingsError(f"{path} is there already: give the state of a new rollout a new name")
    new = path.with_name(f".{path.name}.new")
    with errors.disk_errors(path):
        new.unlink(missing_ok=True)
        private_files.make_file(new)
    try:
        _made(_connected(new), new, None, plan, names).close()
        with errors.disk_errors(path):
            os.link(new, path)  # whole, or not at all, and never in the place of another
    finally:
        new.unlink(missing_ok=True)
    return open_file(path, runs=True)


def open_file(path: Path, *, runs: bool = False) -> StateFile:
    """SettingsError if it is not the state of a rollout, or, for who `runs` it, if another process does."""
    if not path.is_file():
        raise errors.SettingsError(
            f"{path}: no state of a rollout is there; `tflsplit rollout run` makes one where nothing is yet"
        )
    lock = _locked(path) if runs else None
    try:
        with _guarded(path):
            database = _connected(path)
            (application,) = database.execute("PRAGMA application_id").fetchone()
            (version,) = database.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION:
            raise errors.SettingsError(f"{path} is no state of a rollout")
        if version != _SCHEMA:
            raise errors.SettingsError(f"{path}: state of version {version}, this tflsplit reads version {_SCHEMA}")
        return StateFile(database, path, lock)
    except errors.TflsplitError:
        if lock is not None:
            os.close(lock)
        raise


def is_running(path: Path) -> bool:
    """Whether a process runs the rollout of this file. To be asked before it is opened."""
    try:
        os.close(_locked(path))
    except errors.SettingsError:
        return True
    return False


def _locked(path: Path) -> int:
    with errors.disk_errors(path, "cannot be opened ({})"):
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as cause:
        os.close(lock)
        raise errors.SettingsError(f"{path}: this rollout is being run by another process") from cause
    return lock


def _connected(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_BUSY_S)
    database.execute("PRAGMA trusted_schema = OFF")
    return database


def _made(
    database: sqlite3.Connection, path: Path | None, lock: int | None, plan: Plan, names: Sequence[str]
) -> StateFile:
    first = {"plan": asdict(plan), "course": asdict(Course()), "wish": {"wish": Wish.RUN.value, "to": None}}
    with _guarded(path):
        database.executescript(_TABLES)
        database.execute(f"PRAGMA application_id = {_APPLICATION}")
        database.execute(f"PRAGMA user_version = {_SCHEMA}")
        with database:
            database.executemany("INSERT INTO rollout VALUES (?, ?)", [(k, json.dumps(v)) for k, v in first.items()])
            database.executemany(
                "INSERT INTO devices VALUES (?, ?, ?)",
                [(name, place, json.dumps(Entry(name).as_json())) for place, name in enumerate(names)],
            )
    return StateFile(database, path, lock)


@contextlib.contextmanager
def _guarded(path: Path | None) -> Iterator[None]:
    """What can be wrong with the file, in our words."""
    try:
        yield
    except sqlite3.OperationalError as cause:  # a full disk, a lock that is never left
        raise errors.DeviceError(
            f"{path}: the state of the rollout cannot be used ({errors.one_line(cause)})"
        ) from cause
    except (sqlite3.DatabaseError, ValueError, KeyError, TypeError, AttributeError, errors.SettingsError) as cause:
        raise errors.SettingsError(f"{path} is no state of a rollout ({errors.one_line(cause)})") from cause


def _plan(told: Any) -> Plan:
    return _checked(Plan, told | {"terms": _checked(Terms, told["terms"])})


def _entry(row: str) -> Entry:
    told = strict_json.parse(row.encode())
    topics.check_name("device", told["name"])
    return _checked(Entry, told | {"state": State(told["state"])})


def _checked(kind: type[_Kind], told: dict[str, Any]) -> _Kind:
    """ValueError unless these are the fields of that dataclass, and of their types."""
    if told.keys() != {each.name for each in fields(cast(Any, kind))}:
        raise ValueError(f"fields {sorted(told)}")
    made = kind(**told)
    arguments.check_fields(made)
    return made
