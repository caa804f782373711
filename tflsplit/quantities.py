"""Sizes and times as people write them: `512M`, `90s`, `7d`."""

import re

from tflsplit import errors

_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def parse_bytes(text: str) -> int:
    """`512M` or `1.5GiB`: powers of 1024, as file systems and containers count; SettingsError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE | re.ASCII)
    if found is None:
        raise errors.SettingsError(f"size {text!r}: write a number of bytes with K, M, G or T, as 512M")
    return int(float(found[1]) * _BYTES[found[2].upper()])


def parse_duration(text: str) -> float:
    """`7d`, `90s`, `500ms`, or plain seconds; SettingsError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(ms|[smhdw]?)", text.strip(), re.ASCII)
    if found is None:
        raise errors.SettingsError(f"time {text!r}: write a number with s, m, h, d or w, as 7d")
    return float(found[1]) * _SECONDS[found[2] or "s"]
