"""Which operators of a model an accelerator can run, for its page."""

from collections.abc import Sequence

from tflsplit.report import figure
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class Judged:
    """An operator: its layer, whether it maps and runs there, and why not."""

    layer: str | None
    maps: bool
    runs_there: bool
    reason: str | None

    @property
    def in_words(self) -> str:
        if self.runs_there:
            return "runs on it"
        return "maps, but stands behind one that does not" if self.maps else f"does not map: {self.reason}"


@dataclass(frozen=True, slots=True)
class Mapping:
    """The judgement of each operator in their order. `cut` is that behind which a head runs wholly there, if any."""

    operators: Sequence[Judged]
    cut: str | None

    @property
    def groups(self) -> dict[str, tuple[str, list[int]]]:
        """Colour and operators of each judgement."""
        sorted_out: list[list[int]] = [[], [], []]
        for index, each in enumerate(self.operators):
            sorted_out[0 if each.runs_there else 1 if each.maps else 2].append(index)
        names = ("on the Edge TPU", "maps, but runs on the CPU", "does not map")
        colours = (figure.CHOICE, "#b7bdc5", "#000000")  # none of those that kinds of operators have
        return {name: (colour, found) for name, colour, found in zip(names, colours, sorted_out, strict=True)}

    @property
    def in_words(self) -> str:
        count, there = len(self.operators), sum(each.runs_there for each in self.operators)
        said = f"Edge TPU: {sum(each.maps for each in self.operators)} of {count} operators map, {there} in one part"
        first = next((place for place, each in enumerate(self.operators) if not each.maps), None)
        if first is None:
            return f"{said}; it can run any head, and the whole model."
        where = "no head runs wholly on it" if self.cut is None else f"a head up to {self.cut} runs wholly on it"
        return f"{said}. Operator {first} ends it: {self.operators[first].reason}; {where}."
