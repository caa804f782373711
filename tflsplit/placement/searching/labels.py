"""Label setting: the best ways through steps in order, each of which leaves the result in one of some states.

`distribute` steps from place to place of a network, and its states are the layouts of what crosses there. A chain's
steps are its machines in turn, and its states the places that they run up to. What a step costs depends on the step and
state before, and on nothing else of the way. So the best labels of a step, a few for each state, follow from those of
the steps before; what a label counts, and which are kept, is for whoever searches.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from tflsplit.graph.tensors import Array
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class Labels:
    """Ways to get to a step, by number (L,): the state of each, the step that it comes from, and its label there."""

    states: Array
    steps: Array
    before: Array


AnyLabels = TypeVar("AnyLabels", bound=Labels)


def best(
    begin: AnyLabels,
    into: Callable[[Sequence[AnyLabels], int], AnyLabels],
    steps: int,
    scores: Callable[[AnyLabels], Array],
    count: int = 1,
) -> list[tuple[float, list[tuple[int, int]]]]:
    """The ways of least score at the last step, as (step, state) from the first on; none where all are infinite. `into`
    gives the labels to keep of a step, from those of all before it."""
    at = [begin]
    for step in range(1, steps):
        at.append(into(at, step))
    ends = scores(at[-1])
    order = [label for label in np.argsort(ends, kind="stable")[:count] if np.isfinite(ends[label])]
    return [(float(ends[label]), _way(at, int(label))) for label in order]


def _way(at: Sequence[Labels], label: int) -> list[tuple[int, int]]:
    step = len(at) - 1
    way = [(step, int(at[step].states[label]))]
    while step > 0:
        step, label = int(at[step].steps[label]), int(at[step].before[label])
        way.append((step, int(at[step].states[label])))
    return way[::-1]
