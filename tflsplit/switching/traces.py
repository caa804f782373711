"""What a link and a server were like through time: read from CSV or from mahimahi's format, and played for ever.

    time_s,rate_bps,rtt_s,loss,load        the columns of the CSV; only the first two are needed
    0,5000000,0.04,0,0                     each line holds until the next one's time; the last as long as the one before

Mahimahi (Netravali et al., USENIX ATC 2015) names the millisecond of each chance to send one packet of 1,500 bytes, a
number a line. Its packets are counted by tenths of a second, which is what a shaped link can follow. Both kinds repeat
from the beginning when they are over.
"""

import bisect
import csv
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from tflsplit import arguments, errors, text
from tflsplit.values.classes import dataclass, field

PACKET_BYTES = 1500
# Longer files are no trace of a link, and are refused before they are held in memory.
_MOST_LINES = 5_000_000
# Eleven days of milliseconds.
_MOST_DIGITS = 9
_MOST_S = 10.0**_MOST_DIGITS / 1e3
# More than any link carries, and little enough that their sum over days is a number.
_MOST_BPS = 1e15
_STEP_MS = 100
_COLUMNS = ("time_s", "rate_bps", "rtt_s", "loss", "load")
# A server that does nothing else than others' work never answers.
_MOST_LOAD = 0.99


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a trace says besides the rate. `rtt_s` is None where it says nothing of it. `load` is the share of its time
    that the server spends on others."""

    rtt_s: float | None = None
    loss: float = 0.0
    load: float = 0.0


@dataclass(frozen=True, slots=True, repr=False)
class Trace:
    """`at_s` and `sent_bits` are the points of one curve: what the link could have carried in all since the beginning.
    `changes_s` are the times of `conditions`."""

    name: str
    at_s: Sequence[float]
    sent_bits: Sequence[float]
    changes_s: Sequence[float] = (0.0,)
    conditions: Sequence[Conditions] = (Conditions(),)
    duration_s: float = field(init=False)
    total_bits: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "duration_s", self.at_s[-1])
        object.__setattr__(self, "total_bits", self.sent_bits[-1])

    def __repr__(self) -> str:
        return f"<trace {self.name}: {self.duration_s:.0f} s, {self.mean_bps / 1e6:.3g} Mbit/s in the mean>"

    @property
    def mean_bps(self) -> float:
        return self.total_bits / self.duration_s

    def arrival_s(self, start_s: float, bits: float) -> float:
        """When the last of so many bits has been sent, the first of which wants to go at `start_s`."""
        return self._when(self.capacity_bits(start_s) + bits, start_s)

    def capacity_bits(self, now_s: float) -> float:
        """What the link could have carried from the beginning until now."""
        rounds, inside_s = divmod(now_s, self.duration_s)
        above = bisect.bisect_right(self.at_s, inside_s)
        if above == len(self.at_s):
            return (rounds + 1) * self.total_bits
        low, high = self.sent_bits[above - 1], self.sent_bits[above]
        since_s = self.at_s[above - 1]
        inside = low + (high - low) * (inside_s - since_s) / (self.at_s[above] - since_s)
        return rounds * self.total_bits + inside

    def conditions_at(self, now_s: float) -> Conditions:
        return self.conditions[bisect.bisect_right(self.changes_s, now_s % self.duration_s) - 1]

    def _when(self, bits: float, start_s: float) -> float:
        rounds, inside = divmod(bits, self.total_bits)
        if inside <= 0.0 and rounds:
            rounds, inside = rounds - 1, self.total_bits
        place = bisect.bisect_left(self.sent_bits, inside - 1e-6)
        found_s = self.at_s[place]
        if place:
            low, high = self.sent_bits[place - 1], self.sent_bits[place]
            since_s = self.at_s[place - 1]
            found_s = since_s + (found_s - since_s) * (inside - low) / (high - low)
        return max(start_s, rounds * self.duration_s + found_s)


def read(path: Path) -> Trace:
    """DataError names the line of a file that is no trace, has gaps or goes backwards."""
    path = arguments.path(path, "trace")
    try:
        with path.open(encoding="utf-8-sig", newline="") as opened:
            lines = list(itertools.islice(opened, _MOST_LINES + 1))
    except (OSError, UnicodeDecodeError) as cause:
        raise errors.DataError(f"trace {path}: cannot be read ({errors.one_line(cause)})") from cause
    if len(lines) > _MOST_LINES:
        raise errors.DataError(f"trace {path}: more than {_MOST_LINES:,} lines; cut it into pieces")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise errors.DataError(f"trace {path}: empty")
    first = lines[0].strip()
    return _mahimahi(path, lines) if first.isascii() and first.isdigit() else _csv(path, lines)


def of_rates(name: str, rows: Sequence[tuple[float, float, Conditions]], end_s: float) -> Trace:
    """From times, bits a second and conditions, each row until the next; for traces that are made, not read."""
    at_s, sent_bits = [0.0], [0.0]
    for (since_s, rate_bps, _), until_s in zip(rows, [*(row[0] for row in rows[1:]), end_s], strict=True):
        at_s.append(until_s)
        sent_bits.append(sent_bits[-1] + rate_bps * (until_s - since_s))
    changes = [place for place, row in enumerate(rows) if place == 0 or row[2] != rows[place - 1][2]]
    return Trace(name, at_s, sent_bits, [rows[at][0] for at in changes], [rows[at][2] for at in changes])


def _mahimahi(path: Path, lines: Sequence[str]) -> Trace:
    packets: list[int] = []
    before_ms = 0
    for number, line in enumerate(lines, 1):
        word = line.strip()
        if not (word.isascii() and word.isdigit()) or len(word) > _MOST_DIGITS:
            raise errors.DataError(
                f"trace {path}, line {number}: {text.printable(word)!r}, expected whole milliseconds"
            )
        if int(word) < before_ms:
            raise errors.DataError(f"trace {path}, line {number}: {word} ms comes after {before_ms} ms")
        before_ms = int(word)
        place = before_ms // _STEP_MS
        packets.extend([0] * (place + 1 - len(packets)))
        packets[place] += 1
    step_s = _STEP_MS / 1e3
    said = Conditions()
    rows = [(place * step_s, count * PACKET_BYTES * 8 / step_s, said) for place, count in enumerate(packets)]
    return of_rates(path.stem, rows, len(packets) * step_s)


def _csv(path: Path, lines: Sequence[str]) -> Trace:
    rows = list(csv.reader(lines))
    names = [word.strip() for word in rows[0]]
    unknown = [name for name in names if name not in _COLUMNS]
    if unknown or names[:2] != list(_COLUMNS[:2]) or len(set(names)) < len(names):
        raise errors.DataError(
            f"trace {path}: its first line is {text.printable(lines[0].strip())!r}, expected {','.join(_COLUMNS)} (the "
            "first two at least), or numbers alone as mahimahi writes them"
        )
    found: list[tuple[float, float, Conditions]] = []
    for number, row in enumerate(rows[1:], 2):
        if not row:
            raise errors.DataError(f"trace {path}, line {number}: empty, a gap in the trace")
        values = _values(path, number, names, row)
        if found and not values["time_s"] > found[-1][0]:
            raise errors.DataError(
                f"trace {path}, line {number}: {values['time_s']:g} s comes after {found[-1][0]:g} s; times must grow"
            )
        said = Conditions(values.get("rtt_s"), values.get("loss", 0.0), values.get("load", 0.0))
        found.append((values["time_s"], values["rate_bps"], said))
    if len(found) < 2 or found[0][0] != 0.0:
        raise errors.DataError(f"trace {path}: needs two lines of numbers at least, the first at time 0")
    made = of_rates(path.stem, found, found[-1][0] + (found[-1][0] - found[-2][0]))
    if not made.total_bits > 0:
        raise errors.DataError(f"trace {path}: its rate is 0 all the time, so nothing would ever arrive")
    if made.mean_bps < 1:
        raise errors.DataError(f"trace {path}: less than 1 bit/s in the mean; give rates in bit/s")
    return made


def _values(path: Path, number: int, names: Sequence[str], row: Sequence[str]) -> dict[str, float]:
    try:
        values = {name: float(word) for name, word in zip(names, row, strict=True)}
    except ValueError as cause:
        raise errors.DataError(
            f"trace {path}, line {number}: {text.printable(','.join(row))!r}, expected {len(names)} numbers"
        ) from cause
    if not all(math.isfinite(value) and value >= 0 for value in values.values()):
        raise errors.DataError(f"trace {path}, line {number}: numbers are finite and not below 0")
    if values["time_s"] > _MOST_S or values["rate_bps"] > _MOST_BPS or values.get("rtt_s", 0.0) > _MOST_S:
        raise errors.DataError(
            f"trace {path}, line {number}: times are at most {_MOST_S:,.0f} s, rates at most {_MOST_BPS:g} bit/s"
        )
    if values.get("loss", 0.0) >= 1 or values.get("load", 0.0) > _MOST_LOAD:
        raise errors.DataError(f"trace {path}, line {number}: loss is a share below 1, load at most {_MOST_LOAD}")
    return values
