"""Acknowledgements, for devices that ask for no results: which frame was answered, and why if it was refused.

    {"device": "cam-1", "boot": "00c0ffee00c0ffee", "sequence": 7}
    {"device": "cam-1", "boot": "00c0ffee00c0ffee", "sequence": 8, "error": "frame of package …"}

Sent after the result is published; a tenth of its size, for links that cost money. `boot` is text as in `results`.
"""

import json
from typing import Any, NamedTuple

from broker.messages import results
from tflsplit import errors, strict_json

_MAX_BYTES = 1 << 16


class Acknowledgement(NamedTuple):
    """`error` says why a frame was refused; sending it again cannot help, unless it `is_busy`."""

    device: str
    boot: int
    sequence: int
    error: str | None = None
    refused: str | None = None

    @property
    def is_of_package(self) -> bool:
        """As in `broker.messages.results.Refusal`."""
        return self.refused in results.NOT_SERVED

    @property
    def is_busy(self) -> bool:
        """As there."""
        return self.refused == results.BUSY

    @property
    def is_of_state(self) -> bool:
        """As there."""
        return self.refused == results.STATE

    def as_json(self) -> bytes:
        fields: dict[str, object] = {"device": self.device, "boot": f"{self.boot:016x}", "sequence": self.sequence}
        if self.error is not None:
            fields["error"] = self.error
        if self.refused is not None:
            fields["refused"] = self.refused
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def parse(data: bytes | bytearray | memoryview) -> Acknowledgement:
    """A message on `acks`; FrameError says what is wrong with anything else. Unknown keys are allowed."""
    found = bytes(data[:_MAX_BYTES])
    try:
        fields: Any = strict_json.parse(found)
        boot, sequence = fields["boot"], fields["sequence"]
        made = Acknowledgement(
            str(fields["device"]), int(boot, 16), sequence, fields.get("error"), fields.get("refused")
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise errors.FrameError(f"acknowledgement is {found[:60]!r}, expected device, boot and sequence") from problem
    if type(sequence) is not int or sequence < 0 or len(boot) != 16 or not _is_text(made.error, made.refused):
        raise errors.FrameError(f"acknowledgement is {found[:60]!r}, expected a boot of 16 digits and a sequence")
    return made


def _is_text(*found: object) -> bool:
    return all(isinstance(each, str | None) for each in found)
