"""The file of a spool: rows in SQLite. The only module that uses SQLite; it does not know what rows mean.

One connection locks the file, so a second process is refused, and the write-ahead log needs no shared memory. Callers
see to it that one thread at a time uses it. Whether the file is whole is asked when it is opened.
"""

import os
import sqlite3
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_runtime.storage.rows import Row
from edge_runtime.storage.salvage import Log
from tflsplit import errors, private_files
from tflsplit.values.classes import astuple

NAME = "frames.sqlite"

_APPLICATION = 0x74665370  # "tfSp"; `file` shows it
_SCHEMA_VERSION = 2  # 1 had no checksums; its rows get none, but their frames have one each
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (number INTEGER PRIMARY KEY, boot BLOB NOT NULL);
CREATE TABLE frames (
    id INTEGER PRIMARY KEY, captured_ns INTEGER NOT NULL, cut TEXT NOT NULL, encoded BLOB NOT NULL, checksum INTEGER
);
"""
_COLUMNS = {
    "facts": {"name", "value"},
    "runs": {"number", "boot"},
    "frames": {"id", "captured_ns", "cut", "encoded", "checksum"},
}
_READ = "SELECT id, captured_ns, cut, encoded, checksum FROM frames"

# The log is written back at 4 MB (SQLite's default); one that a large frame made longer is cut down to this.
_LOG_BYTES = 8 << 20

# This much of the disk is left free: for the log, and for the growth of the file when the log is written back, so that
# rows can be deleted even if there is no room for more; and for what else the machine has to write.
RESERVE_BYTES = 16 << 20

# What a row may take inside the file beside its bytes: a half-filled last page, and pages of the tree.
_SPARE_BYTES = 64 << 10

# SQLite's own codes, which Python before 3.11 does not tell.
_FULL = 13


class DamagedError(Exception):
    """The file is ours and not whole, or it cannot be told whose it is; it says what is wrong."""


class DiskFullError(Exception):
    """There was no room on the disk; the file is as it was."""


class Database:
    """Open until `close`. DamagedError if the file is not whole when it is opened, DeviceError if the disk fails or the
    file is damaged later."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_checked = False
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size and not (path.exists() and path.stat().st_size):
            raise DamagedError("empty beside its log")  # which SQLite would delete
        with self._mapped_errors():
            private_files.make_file(path)  # its log takes its mode
            # Threads are the caller's to keep apart.
            self._connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            with self._mapped_errors():
                self._prepare()
        except DamagedError:
            # SQLite deletes the log when it closes the file, with what it did not understand.
            kept = log.with_name(f"{log.name}.kept")
            if log.exists():
                os.rename(log, kept)
            self._connection.close()
            if kept.exists():
                os.rename(kept, log)
            raise
        except BaseException:
            self._connection.close()
            raise
        self._is_checked = True
        self._identity = self._stat()

    def close(self) -> None:
        with self._mapped_errors():
            self._connection.close()

    def fact(self, name: str) -> str | None:
        with self._mapped_errors():
            found = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def set_fact(self, name: str, value: str) -> None:
        with self._transaction(is_durable=True):
            self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def runs(self) -> dict[int, int]:
        """Number to boot of the runs that still have rows; the others are deleted."""
        with self._transaction(is_durable=False):
            self._connection.execute("DELETE FROM runs WHERE number NOT IN (SELECT DISTINCT id >> 40 FROM frames)")
            found = self._connection.execute("SELECT number, boot FROM runs ORDER BY number").fetchall()
        return {number: int.from_bytes(boot, "big") for number, boot in found}

    def add_run(self, number: int, boot: int) -> None:
        with self._transaction(is_durable=False):
            self._connection.execute("INSERT INTO runs VALUES (?, ?)", (number, boot.to_bytes(8, "big")))

    def totals(self) -> tuple[int, int, int]:
        """The number of rows, their bytes, and the last row's id. Reads the whole table."""
        with self._mapped_errors():
            found = self._connection.execute(
                "SELECT count(*), coalesce(sum(length(encoded)), 0), coalesce(max(id), 0) FROM frames"
            ).fetchone()
        rows, held, last = found
        return int(rows), int(held), int(last)

    def insert(self, row: Row, *, is_durable: bool) -> None:
        """When it returns, the row survives the end of the process, and a power cut if `is_durable`. DiskFullError."""
        if not self.has_room(len(row.encoded)):
            raise DiskFullError
        with self._transaction(is_durable=is_durable):
            self._connection.execute("INSERT INTO frames VALUES (?, ?, ?, ?, ?)", astuple(row))

    def has_room(self, row_bytes: int) -> bool:
        """Whether a row of that size fits, with the reserve left free.

        The file never shrinks: the room of deleted rows is used again, and only the log needs free disk.
        """
        free_bytes = self.free_disk_bytes()
        if free_bytes >= RESERVE_BYTES + row_bytes:
            return True
        return free_bytes >= _LOG_BYTES and self._free_inside_bytes() >= row_bytes + _SPARE_BYTES

    def free_disk_bytes(self) -> int:
        try:
            disk = os.statvfs(self.path)
        except OSError:
            self.check_there()
            raise
        return disk.f_bavail * disk.f_frsize

    def check_there(self) -> None:
        """DeviceError if somebody has removed the file, or put another in its place: SQLite would not notice."""
        if self._stat() != self._identity:
            raise errors.DeviceError(
                f"spool {self.path}: removed or replaced while in use; what waited in it is gone, start the edge again"
            )

    def row(self, row_id: int) -> Row | None:
        return self._first("id = ?", row_id)

    def row_after(self, row_id: int) -> Row | None:
        return self._first("id > ? ORDER BY id", row_id)

    def sizes(self) -> Generator[tuple[int, int, int]]:
        """Id, time of capture and bytes of every row, oldest first. Nothing may be written meanwhile."""
        with self._mapped_errors():
            yield from self._connection.execute("SELECT id, captured_ns, length(encoded) FROM frames ORDER BY id")

    def size(self, row_id: int) -> int | None:
        """Bytes of a row; None if there is none of that id."""
        with self._mapped_errors():
            found = self._connection.execute("SELECT length(encoded) FROM frames WHERE id = ?", (row_id,)).fetchone()
        return None if found is None else int(found[0])

    def sync(self) -> None:
        """Waits until all of it is on the disk."""
        self.set_fact("synced", "")

    def delete(self, row_ids: Iterable[int]) -> None:
        """Survives the end of the process; after a power cut the rows may be there again. DiskFullError."""
        with self._transaction(is_durable=False):
            self._connection.executemany("DELETE FROM frames WHERE id = ?", [(row_id,) for row_id in row_ids])

    def _free_inside_bytes(self) -> int:
        with self._mapped_errors():
            (pages,) = self._connection.execute("PRAGMA freelist_count").fetchone()
            (page_bytes,) = self._connection.execute("PRAGMA page_size").fetchone()
        return int(pages) * int(page_bytes)

    def _prepare(self) -> None:
        execute = self._connection.execute
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("PRAGMA cell_size_check = ON")
        execute("PRAGMA secure_delete = FAST")  # what was removed is not to come back out of a damaged file
        (application,) = execute("PRAGMA application_id").fetchone()
        (version,) = execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in execute("SELECT name FROM sqlite_master")}
        if tables and (application != _APPLICATION or not 1 <= version <= _SCHEMA_VERSION):
            found = f"version {version}" if application == _APPLICATION else "a database of another program"
            raise errors.SettingsError(
                f"spool {self.path}: found {found}, this tflsplit reads version 1 to {_SCHEMA_VERSION}: "
                "run the one that wrote it until it is empty, or give another --spool"
            )
        if Log(self.path.with_name(f"{self.path.name}-wal")).is_broken:
            raise DamagedError("a page of its log does not have its checksum")
        execute("PRAGMA journal_mode = WAL")
        execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        with self._transaction(is_durable=True):  # and with it the lock, until it is closed
            if not tables:
                for statement in _SCHEMA.strip().split(";\n"):
                    execute(statement)
                execute(f"PRAGMA application_id = {_APPLICATION}")
            elif version == 1:
                execute("ALTER TABLE frames ADD COLUMN checksum INTEGER")
            if version != _SCHEMA_VERSION:
                execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        self._check()

    def _check(self) -> None:
        execute = self._connection.execute
        for table, columns in _COLUMNS.items():
            if columns - {name for _, name, *_ in execute(f"PRAGMA table_info({table})")}:
                raise DamagedError(f"its table {table} is not as it was made")
        (found,) = execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise DamagedError(" ".join(str(found).split()))
        (astray,) = execute("SELECT count(*) FROM frames WHERE id >> 40 NOT IN (SELECT number FROM runs)").fetchone()
        if astray:
            raise DamagedError(f"{astray} frames belong to no run")

    def _stat(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _first(self, where: str, value: int) -> Row | None:
        with self._mapped_errors():
            found = self._connection.execute(f"{_READ} WHERE {where} LIMIT 1", (value,)).fetchone()
        return None if found is None else Row(*found)

    @contextmanager
    def _transaction(self, *, is_durable: bool) -> Iterator[None]:
        with self._mapped_errors():
            # FULL waits for the disk at the end of the transaction, NORMAL only when the log is written back.
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if is_durable else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        """Turns SQLite's errors into ours."""
        try:
            yield
        except UnicodeDecodeError as problem:  # of a name that SQLite tells
            if self._is_checked:
                raise
            raise DamagedError(str(problem)) from problem
        except sqlite3.DatabaseError as problem:
            code = getattr(problem, "sqlite_errorcode", None)
            if code == _FULL or "disk is full" in str(problem):
                raise DiskFullError from problem
            if "locked" in str(problem):
                raise errors.SettingsError(
                    f"spool {self.path}: in use by another process; each edge takes a --spool of its own"
                ) from problem
            if isinstance(problem, sqlite3.OperationalError):
                raise errors.DeviceError(f"spool {self.path}: {problem}; is the disk there and writable?") from problem
            if not self._is_checked:
                raise DamagedError(str(problem)) from problem
            raise errors.DeviceError(
                f"spool {self.path}: damaged ({problem}); start the edge again, which keeps what can still be read"
            ) from problem
