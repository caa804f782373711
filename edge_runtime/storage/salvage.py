"""Reads the rows of a damaged spool page by page, without SQLite, which stops at the first fault. Changes nothing.

A page of SQLite's write-ahead log that fails its checksum makes SQLite forget it and all that was written later. Here
every page counts by itself: the newest one of each number that is sound, and of one that is not, what it and the one
before it hold. Rows prove themselves, by their checksums. The formats: sqlite.org/fileformat2.html.
"""

import contextlib
import functools
import mmap
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from broker.messages import wire
from edge_runtime.storage.rows import Row

_LOG_HEADER_BYTES = 32
_FRAME_HEADER = struct.Struct(">IIIIII")  # page number, pages of the file after a commit, two salts, two checksums
_LOG_MAGIC = (0x377F0682, 0x377F0683)  # checksums of little-endian words, or of big-endian ones
_TABLE_LEAF = 0x0D
_PAGE_SIZES = tuple(1 << power for power in range(9, 16))
_PAGE_BYTES = 4096  # SQLite's default, where neither file says it
# A chain of pages that goes round would be followed for ever.
_MOST_ROW_BYTES = wire.DEFAULT_MAX_PAYLOAD_BYTES + (1 << 20)
_COLUMNS = (4, 5)  # of version 1 and 2


class Log:
    """The write-ahead log beside a database; empty if there is none.

    `pages` are page number, content and whether its checksum holds, in the order of writing. `is_broken` says that a
    transaction that was finished lies behind a page that fails: SQLite would forget it. What a killed process left
    unfinished is at the end, and means nothing.
    """

    def __init__(self, path: Path) -> None:
        self.pages: list[tuple[int, bytes, bool]] = []
        self.page_bytes: int | None = None
        self.is_broken = False
        data = path.read_bytes() if path.exists() else b""
        if len(data) <= _LOG_HEADER_BYTES:
            return
        magic, _, page_bytes, _, *said = struct.unpack_from(">8I", data)
        order = ">u4" if magic == _LOG_MAGIC[1] else "<u4"
        is_sound = magic in _LOG_MAGIC and _checksum(data[:24], order, (0, 0)) == tuple(said[2:])
        self.page_bytes = page_bytes if is_sound else _PAGE_BYTES
        step = _FRAME_HEADER.size + self.page_bytes
        starts = range(_LOG_HEADER_BYTES, len(data) - step + 1, step)
        headers = [_FRAME_HEADER.unpack_from(data, start) for start in starts]
        # A log that was begun anew keeps frames of the time before behind its own, under other salts.
        salts = tuple(said[:2]) if is_sound or not headers else headers[0][2:4]
        count = max((place + 1 for place, header in enumerate(headers) if header[2:4] == salts), default=0)
        seed = (said[2], said[3])
        for start, header in zip(starts[:count], headers[:count], strict=True):
            content = data[start + _FRAME_HEADER.size : start + step]
            stored = header[4:]
            holds = header[2:4] == salts and _checksum(data[start : start + 8] + content, order, seed) == stored
            seed = stored
            is_sound = is_sound and holds
            self.is_broken |= header[1] > 0 and not is_sound
            self.pages.append((header[0], content, holds))


class _Pages:
    """The pages of a file and of its log. `newest` and `older` look one up by its number; KeyError if there is none."""

    def __init__(self, main: bytes | mmap.mmap, log: Log) -> None:
        said = log.page_bytes or int.from_bytes(main[16:18], "big")
        self.size = said if said in _PAGE_SIZES else _PAGE_BYTES
        self._main = main
        self._log: dict[int, list[bytes]] = {}
        for number, content, holds in log.pages:
            # Of a page that fails, the one before is kept as well.
            before = [] if holds else self._log.get(number, [self._in_main(number)])[-1:]
            self._log[number] = [*(page for page in before if page), content]

    def numbers(self) -> Iterable[int]:
        return sorted({*range(1, len(self._main) // self.size + 1), *self._log})

    def newest(self, number: int) -> bytes:
        return self.versions(number)[-1]

    def older(self, number: int) -> bytes:
        return self.versions(number)[0]

    def versions(self, number: int) -> list[bytes]:
        found = self._log.get(number) or [self._in_main(number)]
        if not found[-1]:
            raise KeyError(number)
        return found

    def _in_main(self, number: int) -> bytes:
        """Empty if it is not there."""
        page = self._main[(number - 1) * self.size : number * self.size] if number > 0 else b""
        return page if len(page) == self.size else b""


def rows(path: Path) -> Iterator[Row]:
    """Every row that proves itself, in no order, each once. None of pages that SQLite had given up."""
    log = Log(path.with_name(f"{path.name}-wal"))
    with contextlib.ExitStack() as stack:
        main: bytes | mmap.mmap = b""
        if path.exists() and path.stat().st_size:
            file = stack.enter_context(path.open("rb"))
            main = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        pages = _Pages(main, log)
        given_up = set(_given_up(pages))
        found = set()
        for number in pages.numbers():
            for page in reversed(pages.versions(number)) if number not in given_up else ():
                for row in _rows_of(page, pages):
                    if row.id not in found:
                        found.add(row.id)
                        yield row


def _given_up(pages: _Pages) -> Iterator[int]:
    """The pages in SQLite's list of free ones: what they hold was deleted."""
    seen = set[int]()
    with contextlib.suppress(KeyError, struct.error):
        trunk = int.from_bytes(pages.newest(1)[32:36], "big")
        while trunk and trunk not in seen:
            seen.add(trunk)
            yield trunk
            following, count = struct.unpack_from(">II", pages.newest(trunk))
            yield from struct.unpack_from(f">{count}I", pages.newest(trunk), 8)
            trunk = following


def _rows_of(page: bytes, pages: _Pages) -> Iterator[Row]:
    if page[0] != _TABLE_LEAF:
        return
    count = int.from_bytes(page[3:5], "big")
    for place in range(8, min(8 + 2 * count, pages.size - 1), 2):
        cell = int.from_bytes(page[place : place + 2], "big")
        for lookup in (pages.newest, pages.older):
            # A cell is damaged in any way there is, or that of another table: no row, then.
            with contextlib.suppress(IndexError, KeyError, ValueError, struct.error):
                row = _row(page, cell, lookup, pages)
                if row.is_whole:
                    yield row
                    break


def _row(page: bytes, place: int, lookup: Callable[[int], bytes], pages: _Pages) -> Row:
    length, place = _varint(page, place)
    row_id, place = _varint(page, place)
    here = _local_bytes(length, pages.size)
    payload = bytearray(page[place : place + here])
    if here < length:
        following = int.from_bytes(page[place + here : place + here + 4], "big")
        while len(payload) < length:
            if len(payload) > _MOST_ROW_BYTES:
                raise ValueError(f"row of {length} bytes")
            payload += lookup(following)[4 : 4 + length - len(payload)]
            following = int.from_bytes(lookup(following)[:4], "big")
    header_bytes, at = _varint(payload, 0)
    kinds, values, data = [], [], header_bytes
    while at < header_bytes:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    for kind in kinds:
        wide = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)[kind] if kind < 10 else (kind - 12) // 2
        values.append((kind, bytes(payload[data : data + wide])))
        data += wide
    if len(values) not in _COLUMNS or data != length:
        raise ValueError("no row of frames")
    numbers = {place: _integer(*values[place]) for place in (1, 4) if place < len(values)}
    return Row(row_id, numbers[1] or 0, values[2][1].decode(), values[3][1], numbers.get(4))


def _integer(kind: int, data: bytes) -> int | None:
    if kind == 0:
        return None
    return kind - 8 if kind in (8, 9) else int.from_bytes(data, "big", signed=True)


def _local_bytes(length: int, size: int) -> int:
    """How much of a row is in its leaf; the rest is in a chain of other pages."""
    most, least = size - 35, (size - 12) * 32 // 255 - 23
    if length <= most:
        return length
    here = least + (length - least) % (size - 4)
    return here if here <= most else least


def _varint(data: bytes | bytearray, place: int) -> tuple[int, int]:
    """The number there, and where it ends."""
    value = 0
    for count in range(8):
        byte = data[place + count]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + count + 1
    return value << 8 | data[place + 8], place + 9


def _checksum(data: bytes, order: str, seed: tuple[int, int]) -> tuple[int, int]:
    """The log's: for each pair of words, s0 += x0 + s1 and s1 += x1 + s0, which is a sum of fixed weights."""
    words = np.frombuffer(data, order).astype(np.uint32)
    by_word, by_seed = _weights(len(words))
    sums = words @ by_word + np.array(seed, np.uint32) @ by_seed
    return int(sums[0]), int(sums[1])


@functools.lru_cache(4)
def _weights(words: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """What each word, and each half of the seed, adds to both sums: found from the last pair backwards."""
    mask, weights = (1 << 32) - 1, []
    # Rows: what s0 and s1 before the pairs that are left add to (s0, s1) at the end.
    first, second = (1, 0), (0, 1)
    for _ in range(words // 2):
        # s1' = s1 + x1 + s0', s0' = s0 + x0 + s1
        through_first = ((first[0] + second[0]) & mask, (first[1] + second[1]) & mask)
        weights.append((through_first, second))
        first, second = through_first, ((through_first[0] + second[0]) & mask, (through_first[1] + second[1]) & mask)
    by_word = [weight for pair in reversed(weights) for weight in pair]
    return np.array(by_word, np.uint32).reshape(-1, 2), np.array([first, second], np.uint32)
