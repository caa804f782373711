"""The retained `status` of a device or a cloud: online or offline, with a last will for when its connection is lost.

A broker may publish a last will long after the client is back, and one that was killed says what was retained before.
So each status carries the boot id, the number of its connection and a time, and readers ignore what was replaced since.
"""

import json
import time
from typing import Any, NamedTuple

from tflsplit import errors, strict_json
from tflsplit.values.classes import dataclass, field


@dataclass(frozen=True, slots=True)
class Presence:
    """The topic of our status, the random id of this run, and when it began (ms since the epoch)."""

    topic: str
    boot: int
    since_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)

    def status(self, state: str, connection: int, reason: str | None = None) -> bytes:
        now_ms = time.time_ns() // 1_000_000
        return Status(state, self.boot, connection, reason, self.since_ms, now_ms).as_json()


class Status(NamedTuple):
    """`state` is "online" or "offline"; `reason` is "closed" after a normal end, "lost" in a last will. `at_ms` is when
    it was written (ms since the epoch): a last will is when its connection begins, and no broker says when it ended."""

    state: str
    boot: int
    connection: int
    reason: str | None = None
    since_ms: int | None = None
    at_ms: int | None = None

    @property
    def seen_ms(self) -> int | None:
        """When who is offline was there last; of a connection that was lost, when it was there at least."""
        return self.since_ms if self.at_ms is None else self.at_ms

    def as_json(self) -> bytes:
        fields: dict[str, object] = {"state": self.state, "boot": f"{self.boot:016x}", "connection": self.connection}
        if self.reason is not None:
            fields["reason"] = self.reason
        if self.since_ms is not None:
            fields["since_ms"] = self.since_ms
        if self.at_ms is not None:
            fields["at_ms"] = self.at_ms
        return json.dumps(fields, separators=(",", ":")).encode()

    def is_late(self, latest: "Status") -> bool:
        """Whether this is the last will of a connection that `latest` has already replaced, or was said before a run's
        `latest` goodbye: a broker that was killed retains what it had saved."""
        if self.state == "online":
            has_closed = latest.boot == self.boot and latest.reason == "closed"
            return has_closed and (self.at_ms or 0) < (latest.at_ms or 0)
        return latest.boot != self.boot or latest.connection > self.connection


def parse(data: bytes) -> Status:
    try:
        fields: Any = strict_json.parse(data)
        more = (fields.get("reason"), fields.get("since_ms"), fields.get("at_ms"))
        status = Status(fields["state"], int(fields["boot"], 16), fields["connection"], *more)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise errors.FrameError(f"status is {bytes(data[:60])!r}, expected state, boot and connection") from problem
    if (
        status.state not in ("online", "offline")
        or not isinstance(status.connection, int)
        or not isinstance(status.since_ms, int | None)
        or not isinstance(status.at_ms, int | None)
    ):
        raise errors.FrameError(f"status is {bytes(data[:60])!r}, expected state online or offline")
    return status
