"""A link between two machines: measured through the real broker, stated by the user, or a named preset.

Pure: the probe that measures one is `broker.links.throughput`, the relay that imitates one `broker.links.relay`.
"""

import json
from pathlib import Path
from typing import Any

from tflsplit import arguments, errors
from tflsplit.timings.profiles import LONGEST_S, Origin, Timing, parsing, read_json
from tflsplit.values.classes import dataclass, field

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Point:
    """One payload size of a probe: round trips of so many bytes out and a small answer back, and the steady rate."""

    payload_bytes: int
    round_trip: Timing
    throughput_bps: float


@dataclass(frozen=True, slots=True)
class Link:
    """`bandwidth_bps` is bits a second from edge to cloud, `rtt_s` the round trip of a tiny message through the broker,
    `loss` the share of packets lost. `packet_limit_bytes` is the broker's limit, None where it has none.
    """

    name: str
    origin: Origin
    bandwidth_bps: float
    rtt_s: float
    loss: float = 0.0
    packet_limit_bytes: int | None = None
    points: tuple[Point, ...] = field(default=(), repr=False)
    source: str = ""

    def __post_init__(self) -> None:
        arguments.check_fields(self)
        if not self.bandwidth_bps >= 1:
            raise errors.SettingsError(f"link {self.name}: a bandwidth of {self.bandwidth_bps} bit/s carries nothing")
        if not 0 <= self.rtt_s <= LONGEST_S:
            raise errors.SettingsError(f"link {self.name}: a round trip of {self.rtt_s} s cannot be")
        if not 0 <= self.loss < 1:
            raise errors.SettingsError(f"link {self.name}: a loss of {self.loss:.0%} leaves nothing; give 0 to 99 %")


def render(link: Link) -> str:
    fields = {
        "schema": SCHEMA,
        "kind": "link",
        "name": link.name,
        "origin": link.origin.value,
        "source": link.source,
        "bandwidth_bps": link.bandwidth_bps,
        "rtt_s": link.rtt_s,
        "loss": link.loss,
        "packet_limit_bytes": link.packet_limit_bytes,
        "points": [
            {
                "payload_bytes": point.payload_bytes,
                "round_trip": point.round_trip.as_json(),
                "throughput_bps": point.throughput_bps,
            }
            for point in link.points
        ],
    }
    return json.dumps(fields, indent=1) + "\n"


def read(path: Path) -> Link:
    """Raises DataError for a file that is no link, of another schema, or damaged."""
    return from_json(read_json(path, "link", SCHEMA), name=str(path))


def from_json(fields: dict[str, Any], *, name: str) -> Link:
    """What `render` wrote, parsed. DataError for damage names the source as `name`."""
    with parsing(name, "link file", "probe"):
        return Link(
            name=str(fields["name"]),
            origin=Origin(fields["origin"]),
            source=str(fields["source"]),
            bandwidth_bps=float(fields["bandwidth_bps"]),
            rtt_s=float(fields["rtt_s"]),
            loss=float(fields["loss"]),
            packet_limit_bytes=None if fields["packet_limit_bytes"] is None else int(fields["packet_limit_bytes"]),
            points=tuple(_point(entry) for entry in fields["points"]),
        )


def _point(fields: dict[str, Any]) -> Point:
    return Point(int(fields["payload_bytes"]), Timing.from_json(fields["round_trip"]), float(fields["throughput_bps"]))
