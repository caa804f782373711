"""Machines that share a network, and what joins them."""

import math
from dataclasses import dataclass

from tflsplit import errors


@dataclass(frozen=True, slots=True)
class Machine:
    """`macs_per_s` is its speed; `piece_s` what each piece costs besides; `memory_bytes` bounds weights and features.
    `power_w` while it computes is for energy."""

    name: str
    macs_per_s: float
    piece_s: float = 0.5e-3
    memory_bytes: float = math.inf
    power_w: float = 0.0

    def __post_init__(self) -> None:
        if not (self.macs_per_s > 0 and self.piece_s >= 0 and self.memory_bytes > 0):
            raise errors.SettingsError(f"machine {self.name!r}: speed and memory are above zero")


@dataclass(frozen=True, slots=True)
class Medium:
    """What joins the machines: `bandwidth_bps` of each one's own link both ways, or of the one medium that all share;
    `delay_s` for the messages of an exchange, which go out together."""

    bandwidth_bps: float
    delay_s: float = 0.0
    is_shared: bool = False

    def __post_init__(self) -> None:
        if not (self.bandwidth_bps > 0 and self.delay_s >= 0):
            raise errors.SettingsError(f"a link of {self.bandwidth_bps} bit/s and {self.delay_s} s carries nothing")

    def exchange_s(self, sent: "list[float]", received: "list[float]") -> float:
        """The time of an exchange, from the bytes that each machine sends and receives."""
        busiest = sum(sent) if self.is_shared else max((*sent, *received), default=0.0)
        return busiest * 8 / self.bandwidth_bps + self.delay_s if busiest else 0.0
