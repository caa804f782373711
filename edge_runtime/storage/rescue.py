"""Opens a spool's file. A damaged one is set aside, and what can still be read of it goes into a new one."""

import itertools
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from broker.messages import wire
from edge_runtime.storage import rows, salvage
from edge_runtime.storage.database import NAME, DamagedError, Database
from edge_runtime.storage.tally import Tally
from tflsplit.values.classes import dataclass

log = logging.getLogger(__name__)

_TALLY = "frames.tally"
_GAPS = 5  # named in the log


@dataclass(frozen=True, slots=True)
class Opened:
    """`lost` frames should have been there and are not: as many as the tally says, which does not count after a power
    cut."""

    file: Database
    tally: Tally
    lost: int


def open_file(folder: Path) -> Opened:
    """SettingsError for a file that is in use, of another program, or of a newer version; DiskFullError, and nothing is
    changed, if there is no room for what is to be kept of a damaged one."""
    path = folder / NAME
    _finish(path)
    damage = set_aside = None
    try:
        file = Database(path)
    except DamagedError as problem:
        damage = str(problem)
        set_aside = _rescue(path)
        file = Database(path)
    try:
        tally = Tally(folder / _TALLY)
        held = file.totals()[0]
        lost = max(0, (tally.held or 0) - held)
        if damage is not None or lost:
            log.error(
                "spool damaged path=%s reason=%r kept=%d lost=%s missing=%s set_aside=%s",
                path,
                damage or "frames are missing",
                held,
                "unknown" if tally.held is None else lost,
                ",".join(itertools.islice(_gaps(file, tally.last), _GAPS)) or None,
                set_aside,
            )
        tally.begin(held, tally.last)
    except BaseException:
        file.close()
        raise
    return Opened(file, tally, lost)


def _finish(path: Path) -> None:
    """A rescue that was interrupted: finished if it only had to be put in place, else forgotten."""
    rescued = _rescued(path)
    if rescued.exists() and not path.exists():
        os.rename(rescued, path)
    for leftover in _with_log(rescued):
        leftover.unlink(missing_ok=True)
    kept = path.with_name(f"{path.name}-wal.kept")  # while SQLite closes a damaged file
    if kept.exists():
        os.rename(kept, path.with_name(f"{path.name}-wal"))


def _rescue(path: Path) -> Path:
    """Puts a new file in the place of a damaged one; where the latter is now."""
    rescued = _rescued(path)
    try:
        _copy(salvage.rows(path), rescued)
    except BaseException:
        for leftover in _with_log(rescued):
            leftover.unlink(missing_ok=True)
        raise
    number = 1 + sum(1 for _ in path.parent.glob("damaged-*"))
    aside = path.parent / f"damaged-{number}"
    aside.mkdir(mode=0o700)
    for file in reversed(_with_log(path)):  # the log first: SQLite would use it for the new file
        if file.exists():
            os.rename(file, aside / file.name)
    os.rename(rescued, path)
    return aside


def _copy(found: Iterable[rows.Row], path: Path) -> None:
    file = Database(path)
    try:
        boots: dict[int, int] = {}
        for row in found:
            boot, number = wire.key(row.encoded)[0], row.id >> rows.SEQUENCE_BITS
            if number not in boots:
                boots[number] = boot
                file.add_run(number, boot)
            if boots[number] == boot:
                file.insert(rows.sealed(row.id, row.captured_ns, row.cut, row.encoded), is_durable=False)
        file.sync()
    finally:
        file.close()


def _gaps(file: Database, newest: tuple[int, int]) -> Iterator[str]:
    """The first sequences that are missing, run by run; some of them may have been answered long ago."""
    held = {boot: {-1} for boot in file.runs().values()}
    held.setdefault(newest[0], {-1}).add(newest[1] + 1)
    boots = file.runs()
    for row_id, _, _ in file.sizes():
        held[boots[row_id >> rows.SEQUENCE_BITS]].add(row_id & rows.SEQUENCE_MASK)
    for boot, sequences in held.items():
        known = sorted(sequences)
        for before, after in itertools.pairwise(known):
            if after - before > 1:
                yield f"{boot:016x}/{before + 1}-{after - 1}"


def _rescued(path: Path) -> Path:
    return path.with_name(f"{path.name}.rescued")


def _with_log(path: Path) -> list[Path]:
    return [path, path.with_name(f"{path.name}-wal")]
