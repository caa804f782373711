"""Why a partition helps, in seconds that add up to the gain exactly.

Compared with the whole model on the one machine that runs it best:

    latency   = cache fit + faster silicon + transfers
    slowest   = cache fit + faster silicon + transfers + pipelining

Each is the time saved; that of transfers is mostly negative. Cache fit: weights that are no longer streamed because
each piece fits its memory. Faster silicon: operators that run on a machine that is faster at them. Pipelining: what the
stages do at the same time when frames follow one another.
"""

import math
from collections.abc import Callable

from tflsplit.chains import chain as chains
from tflsplit.chains.chain import Chain, Partition
from tflsplit.values.classes import asdict, dataclass

# Less is not shown: it is the rounding error of figures that cancel out.
_SHOWN_S = 5e-6


@dataclass(frozen=True, slots=True)
class Gain:
    """`before_s` less `after_s` is the sum of the four; `baseline` names the machine compared with."""

    baseline: str
    before_s: float
    after_s: float
    cache_fit_s: float
    faster_silicon_s: float
    transfers_s: float
    pipelining_s: float

    @property
    def saved_s(self) -> dict[str, float]:
        return {
            "cache fit": self.cache_fit_s,
            "faster silicon": self.faster_silicon_s,
            "transfers": self.transfers_s,
            "pipelining": self.pipelining_s,
        }

    def text(self) -> str:
        parts = ", ".join(
            f"{name} {seconds * 1000:+.2f} ms" for name, seconds in self.saved_s.items() if abs(seconds) >= _SHOWN_S
        )
        return (
            f"{self.before_s * 1000:.2f} ms all on {self.baseline}, {self.after_s * 1000:.2f} ms now; saved by {parts}"
            if parts
            else f"{self.after_s * 1000:.2f} ms, all on {self.baseline}"
        )

    def as_json(self) -> dict[str, object]:
        fields = asdict(self)
        named = {name.removesuffix("_s") + "_ms": value * 1000 for name, value in fields.items() if name != "baseline"}
        return {"baseline": self.baseline} | named


def latency(chain: Chain, found: Partition) -> Gain | None:
    """For one frame. None where no machine can run the whole model: then there is nothing to compare with."""
    return _gain(chain, found, lambda made: made.latency_s, _hops_s)


def slowest(chain: Chain, found: Partition) -> Gain | None:
    """For frames that follow one another; a link counts for as long as it is busy."""
    return _gain(chain, found, lambda made: made.slowest_s, _busy_s)


def _gain(
    chain: Chain, after: Partition, cost_s: Callable[[Partition], float], transfers_s: Callable[[Partition], float]
) -> Gain | None:
    wholes = [made for stage in range(len(chain.stages)) if (made := chains.whole(chain, stage))]
    if not wholes:
        return None
    before = min(wholes, key=cost_s)
    name, before_s, after_s = chain.stages[before.shares[0].stage].name, cost_s(before), cost_s(after)
    fit_s, silicon_s, gained_s = (all_s(before) - all_s(after) for all_s in (_stream_s, _compute_s, transfers_s))
    # The rest is what happens at the same time; for one frame's latency that is 0.
    return Gain(
        name, before_s, after_s, fit_s, silicon_s, gained_s, (before_s - after_s) - (fit_s + silicon_s + gained_s)
    )


def _compute_s(found: Partition) -> float:
    return math.fsum(piece.compute_s for piece in found.pieces)


def _stream_s(found: Partition) -> float:
    return math.fsum(piece.stream_s for piece in found.pieces)


def _hops_s(found: Partition) -> float:
    return math.fsum([*(piece.hop_s for piece in found.pieces), found.back_s])


def _busy_s(found: Partition) -> float:
    return math.fsum(piece.hop_busy_s for piece in found.pieces)
