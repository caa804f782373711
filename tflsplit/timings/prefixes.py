"""From timings of whole heads or tails to the time of everything before a cut, of which differences are a piece's."""

from collections.abc import Iterable, Sequence

from tflsplit.graph.cuts import Cut
from tflsplit.timings import distribution
from tflsplit.timings.profiles import Profile, Side


def timed(profile: Profile, cuts: Iterable[Cut]) -> list[Cut]:
    """The cuts that a profile tells the time of; an empty head or tail needs no timing."""
    measured = {entry.cut for entry in profile.cuts}
    is_edge = profile.side is Side.EDGE
    return [cut for cut in cuts if cut.id in measured or not (cut.head if is_edge else cut.tail).operators]


def are_whole(places: Sequence[Cut]) -> bool:
    """Whether they begin with the input and end with the output."""
    return len(places) > 1 and places[0].position == 0 and not places[-1].tail.operators


def before_s(profile: Profile, places: Sequence[Cut]) -> tuple[float, ...]:
    """The median for everything before each of these cuts, the output last, up to a constant."""
    entries = {entry.cut: entry for entry in profile.cuts}
    runs_s = tuple(distribution.of(entries[cut.id].run).p50_s if cut.id in entries else 0.0 for cut in places)
    # The tail of `output` runs nothing of the model.
    return (*(-run_s for run_s in runs_s[:-1]), 0.0) if profile.side is Side.CLOUD else runs_s
