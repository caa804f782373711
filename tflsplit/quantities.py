"""Times, sizes, bandwidths, shares and rates as people write them: `90s`, `512M`, `5Mbit`, `1%`, `30/min`. Numbers are
in the unit that the function names; every call and every option reads them here, so that one way to write them holds
everywhere.

All raise SettingsError for anything else; `what` names the parameter in it.
"""

import re

from tflsplit import arguments, errors
from tflsplit.values.classes import dataclass

_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}

_NUMBER = r"(\d+(?:\.\d*)?(?:e[+-]?\d+)?)"
_SIZE = re.compile(rf"{_NUMBER} ?([KMGT]?)(?:i?B)?", re.IGNORECASE | re.ASCII)
_TIME = re.compile(rf"{_NUMBER} ?(ms|[smhdw]?)", re.ASCII)
_BANDWIDTH = re.compile(rf"{_NUMBER} ?([kmg]?)bit(?:/s)?", re.IGNORECASE | re.ASCII)
_SHARE = re.compile(rf"{_NUMBER} ?(%?)", re.ASCII)
_RATE = re.compile(r"(\d{1,9}) ?/ ?(s|min|h)", re.ASCII)
_PERIODS_S = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` in any `per_s`."""

    count: int
    per_s: float


def parse_bytes(given: str | float, what: str = "size") -> int:
    """`512M` or `1.5GiB`: powers of 1024, as file systems and containers count; or plain bytes."""
    number, unit = _parts(given, what, _SIZE, "a number of bytes with K, M, G or T, as 512M")
    return int(_finite(number * _BYTES[unit.upper()], given, what))


def parse_duration(given: str | float, what: str = "time") -> float:
    """`7d`, `90s`, `500ms`, or plain seconds."""
    number, unit = _parts(given, what, _TIME, "a number with ms, s, m, h, d or w, as 90s")
    return _finite(number * _SECONDS[unit], given, what)


def parse_bandwidth(given: str | float, what: str = "bandwidth") -> float:
    """`5Mbit`, `500kbit`, `1Gbit`: bits a second, decimal; or plain bits a second."""
    number, unit = _parts(given, what, _BANDWIDTH, "a number with kbit, Mbit or Gbit, as 5Mbit")
    return _finite(number * _BITS[unit.lower()], given, what)


def parse_share(given: str | float, what: str = "share") -> float:
    """`1%` or `0.01`."""
    number, unit = _parts(given, what, _SHARE, "a share, as 1% or 0.01")
    return number / 100 if unit == "%" else number


def parse_rate(given: str, what: str = "rate") -> Rate:
    """`30/min`, `2/s`, `500/h`."""
    found = _RATE.fullmatch(arguments.text(given, what).strip())
    if found is None or int(found[1]) == 0:
        raise errors.SettingsError(f"{what} {given!r}: write a whole number above 0 with /s, /min or /h, as 30/min")
    return Rate(int(found[1]), _PERIODS_S[found[2]])


def _parts(given: str | float, what: str, form: re.Pattern[str], expected: str) -> tuple[float, str]:
    if not isinstance(given, str):
        return arguments.instance(given, float, what), ""
    found = form.fullmatch(given.strip())
    if found is None:
        raise errors.SettingsError(f"{what} {given!r}: write {expected}")
    return float(found[1]), found[2]


def _finite(number: float, given: object, what: str) -> float:
    if not 0 <= number < float("inf"):  # also for a number that is none
        raise errors.SettingsError(f"{what} {given!r}: give a finite number, 0 or more")
    return number
