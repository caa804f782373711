"""The retained `status` of a device or a cloud: online or offline, with a last will for when its connection is lost.

A broker may publish a last will long after the client is back. So each status carries the boot id and the number of its
connection, and readers ignore the will of an earlier connection.
"""

import json
from dataclasses import dataclass
from typing import Any

from tflsplit import errors, strict_json


@dataclass(frozen=True, slots=True)
class Presence:
    """The topic of our status, and the random id of this run."""

    topic: str
    boot: int

    def status(self, state: str, connection: int, reason: str | None = None) -> bytes:
        return Status(state, self.boot, connection, reason).as_json()


@dataclass(frozen=True, slots=True)
class Status:
    """`state` is "online" or "offline"; `reason` is "closed" after a normal end, "lost" in a last will."""

    state: str
    boot: int
    connection: int
    reason: str | None = None

    def as_json(self) -> bytes:
        fields: dict[str, object] = {"state": self.state, "boot": f"{self.boot:016x}", "connection": self.connection}
        if self.reason is not None:
            fields["reason"] = self.reason
        return json.dumps(fields, separators=(",", ":")).encode()

    def is_late(self, latest: "Status") -> bool:
        """Whether this is the last will of a connection that `latest` has already replaced."""
        if self.state == "online":
            return False
        return latest.boot != self.boot or latest.connection > self.connection


def parse(data: bytes) -> Status:
    try:
        fields: Any = strict_json.parse(data)
        status = Status(fields["state"], int(fields["boot"], 16), fields["connection"], fields.get("reason"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise errors.FrameError(f"status is {bytes(data[:60])!r}, expected state, boot and connection") from problem
    if status.state not in ("online", "offline") or not isinstance(status.connection, int):
        raise errors.FrameError(f"status is {bytes(data[:60])!r}, expected state online or offline")
    return status
