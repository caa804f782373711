"""DeeperThings' two integer programmes as published, to compare with: Stahl, Hoffman, Mueller-Gritschneder, Gerstlauer
and Schlichtmann, "DeeperThings: Fully Distributed CNN Inference on Resource-Constrained Edge Devices" (IJPP 49, 2021).

A network is a chain of layers. Each convolution is shared by its outputs (LOP), by its inputs (LIP), or as the first or
second of a fused pair, between which nothing is exchanged; any other layer runs on one machine. Bytes are float32.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from tflsplit import errors, extras
from tflsplit.values.classes import dataclass

_FLOAT_BYTES = 4
# The letters of the paper's code: shared by outputs, by inputs, first and second of a fused pair, not shared.
OUTPUT, INPUT, FIRST, SECOND, OTHER = "OIFS-"
_TYPES = (OUTPUT, INPUT, FIRST, SECOND)

_Terms: TypeAlias = Mapping[tuple[int, str], float]


@dataclass(frozen=True, slots=True)
class Layer:
    """Elements of input, output and weights; `is_shared` for a convolution."""

    inputs: int
    outputs: int
    weights: int
    is_shared: bool


def exchanged_bytes(layers: Sequence[Layer], types: str, machines: int, *, reuses: bool = True) -> float:
    """What is sent for one inference with layers of these types. With `reuses`, a layer shared by its outputs before
    one that wants all of them sends them to everybody at once, instead of to one machine and back."""
    total, others = 0.0, machines - 1
    for place, (layer, kind) in enumerate(zip(layers, types, strict=True)):
        spread, gathered = layer.inputs * others, layer.outputs * others
        is_there = reuses and place > 0 and types[place - 1] == OUTPUT and kind in (OUTPUT, FIRST)
        goes_on = reuses and types[place + 1 : place + 2] in (OUTPUT, FIRST) and kind == OUTPUT
        if kind in (OUTPUT, FIRST) and not is_there:
            total += spread
        if kind == OUTPUT:
            total += gathered if goes_on else gathered / machines
        if kind == INPUT:
            total += spread / machines + gathered
        if kind == SECOND:
            total += gathered
    return total * _FLOAT_BYTES


def fusing(layers: Sequence[Layer], machines: int) -> tuple[str, float]:
    """The types of least exchange and their bytes, by the paper's first programme.

    DeviceError where SciPy is missing.
    """
    count, others = len(layers), machines - 1
    # Variables by layer: the four types, r (its output is sent to everybody), and the products o·r and f·r before it.
    variables = _Variables(count, (*_TYPES, "reused", "saved output", "saved first"))
    for place, layer in enumerate(layers):
        spread, gathered = layer.inputs * others, layer.outputs * others
        variables.cost(place, OUTPUT, spread + gathered / machines)
        variables.cost(place, INPUT, spread / machines + gathered)
        variables.cost(place, FIRST, spread)
        variables.cost(place, SECOND, gathered)
        variables.cost(place, "reused", gathered - gathered / machines)
        variables.cost(place, "saved output", -spread)
        variables.cost(place, "saved first", -spread)
        variables.bound({(place, kind): 1 for kind in _TYPES}, float(layer.is_shared), float(layer.is_shared))
        follows = {(place + 1, OUTPUT): 1, (place + 1, FIRST): 1} if place + 1 < count else {}
        variables.product((place, "reused"), {(place, OUTPUT): 1}, follows)
        before = {(place - 1, "reused"): 1} if place else {}
        variables.product((place, "saved output"), {(place, OUTPUT): 1}, before)
        variables.product((place, "saved first"), {(place, FIRST): 1}, before)
        pair = {(place - 1, FIRST): -1} if place else {}
        variables.bound({(place, SECOND): 1, **pair}, 0, 0)
    variables.bound({(count - 1, FIRST): 1}, 0, 0)
    values = variables.solved()
    types = "".join(
        next((kind for kind in _TYPES if values[variables.index(place, kind)] > 0.5), OTHER) for place in range(count)
    )
    return types, exchanged_bytes(layers, types, machines)


def breakpoint_of(layers: Sequence[Layer], machines: int) -> tuple[int, float]:
    """The first layer that is shared by weights, those before being shared by features, and the memory of a machine in
    bytes, by the paper's second programme."""
    shared = [(place, layer) for place, layer in enumerate(layers) if layer.is_shared]
    variables = _Variables(len(shared), ("by weights", "largest"))
    variables.cost(0, "largest", 1.0)
    variables.free(0, "largest")
    for number, (_, layer) in enumerate(shared):
        pair = layer.inputs + layer.outputs
        variables.cost(number, "by weights", layer.weights / machines - layer.weights)
        variables.bound({(0, "largest"): 1, (number, "by weights"): pair / machines - pair}, pair / machines, np.inf)
        if number:
            variables.bound({(number, "by weights"): 1, (number - 1, "by weights"): -1}, 0, 1)
    values = variables.solved()
    chosen = [values[variables.index(number, "by weights")] > 0.5 for number in range(len(shared))]
    first = next((place for (place, _), is_chosen in zip(shared, chosen, strict=True) if is_chosen), len(layers))
    return first, memory_bytes(layers, first, machines)


def memory_bytes(layers: Sequence[Layer], first: int, machines: int) -> float:
    """Of one machine: its weights, and the largest input and output of a layer together."""
    features, weights = 0.0, 0.0
    for place, layer in enumerate(layers):
        if layer.is_shared:
            pair = layer.inputs + layer.outputs
            features = max(features, pair if place >= first else pair / machines)
            weights += layer.weights / machines if place >= first else layer.weights
    return (features + weights) * _FLOAT_BYTES


class _Variables:
    """A mixed integer programme by named variables, all binary but those set free."""

    def __init__(self, count: int, names: Sequence[str]) -> None:
        self._names = tuple(names)
        size = count * len(names)
        self._costs, self._upper, self._whole = np.zeros(size), np.ones(size), np.ones(size)
        self._rows: list[tuple[dict[int, float], float, float]] = []

    def index(self, place: int, name: str) -> int:
        return place * len(self._names) + self._names.index(name)

    def cost(self, place: int, name: str, value: float) -> None:
        self._costs[self.index(place, name)] += value

    def free(self, place: int, name: str) -> None:
        self._upper[self.index(place, name)], self._whole[self.index(place, name)] = np.inf, 0

    def bound(self, terms: _Terms, low: float, high: float) -> None:
        self._rows.append(({self.index(*key): value for key, value in terms.items()}, low, high))

    def product(self, made: tuple[int, str], one: _Terms, other: _Terms) -> None:
        """Of two sums that are 0 or 1."""
        for terms in (one, other):
            self.bound({made: 1, **{key: -value for key, value in terms.items()}}, -np.inf, 0)
        both = {key: -value for key, value in (*one.items(), *other.items())}
        self.bound({made: 1, **both}, -1, np.inf)

    def solved(self) -> Any:
        optimize = _scipy()
        matrix = np.zeros((len(self._rows), len(self._costs)))
        for number, (terms, _, _) in enumerate(self._rows):
            for index, value in terms.items():
                matrix[number, index] = value
        bounds = optimize.LinearConstraint(matrix, [row[1] for row in self._rows], [row[2] for row in self._rows])
        limits = optimize.Bounds(0, self._upper)
        # To the optimum itself: the default stops a ten-thousandth before it.
        found = optimize.milp(
            self._costs, constraints=bounds, integrality=self._whole, bounds=limits, options={"mip_rel_gap": 0.0}
        )
        return found.x


def _scipy() -> Any:
    try:
        from scipy import optimize
    except ImportError as missing:
        raise errors.DeviceError(extras.need("the published programmes", "scipy")) from missing
    return optimize
