"""Times, sizes, bandwidths and shares as people write them: `90s`, `512M`, `5Mbit`, `1%`. Numbers are in the unit that
the function names; every call and every option reads them here, so that one way to write them holds everywhere.

All raise SettingsError for anything else; `what` names the parameter in it.
"""

import re

from tflsplit import arguments, errors

_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}

_NUMBER = r"(\d+(?:\.\d*)?(?:e[+-]?\d+)?)"
_SIZE = re.compile(rf"{_NUMBER} ?([KMGT]?)(?:i?B)?", re.IGNORECASE | re.ASCII)
_TIME = re.compile(rf"{_NUMBER} ?(ms|[smhdw]?)", re.ASCII)
_BANDWIDTH = re.compile(rf"{_NUMBER} ?([kmg]?)bit(?:/s)?", re.IGNORECASE | re.ASCII)
_SHARE = re.compile(rf"{_NUMBER} ?(%?)", re.ASCII)


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
