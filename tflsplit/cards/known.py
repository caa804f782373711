"""What the model files of a package say of themselves: names to run them by, how pixels are scaled, labels.

A head takes the model's inputs and gives a boundary, a tail takes a boundary and gives the model's outputs; each says
what it knows of its own ends.
"""

from tflsplit.cards import names
from tflsplit.cards.names import Names
from tflsplit.graph import meanings
from tflsplit.graph.cuts import Cut
from tflsplit.graph.meanings import Meaning
from tflsplit.graph.metadata import Description, Input, Output
from tflsplit.graph.tensors import TensorSpec
from tflsplit.inputs import pictures
from tflsplit.inputs.preprocessing import Preprocessing
from tflsplit.values.classes import dataclass

LABELS = "labels.txt"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a model beside its operators; `names` are those of its inputs and outputs."""

    name: str
    names: Names
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    meanings: tuple[Meaning, ...]
    labels: tuple[str, ...]
    preprocessing: Preprocessing | None

    def whole(self) -> Description:
        return Description(self.name, self._inputs(), self._outputs(), self._files())

    def head(self, cut: Cut) -> Description:
        outputs = tuple(map(Output, names.of_boundary(cut)))
        return Description(f"{self.name}: head of {cut.id}", self._inputs(), outputs)

    def tail(self, cut: Cut) -> Description:
        inputs = tuple(map(Input, names.of_boundary(cut)))
        return Description(f"{self.name}: tail of {cut.id}", inputs, self._outputs(), self._files())

    def middle(self, start: Cut, stop: Cut) -> Description:
        inputs, outputs = map(Input, names.of_boundary(start)), map(Output, names.of_boundary(stop))
        return Description(f"{self.name}: {start.id} to {stop.id}", tuple(inputs), tuple(outputs))

    def _inputs(self) -> tuple[Input, ...]:
        return tuple(
            _input(name, spec, self.preprocessing) for name, spec in zip(self.names.inputs, self.inputs, strict=True)
        )

    def _outputs(self) -> tuple[Output, ...]:
        labelled = next((place for place in range(len(self.outputs)) if self._takes_labels(place)), None)
        return tuple(
            Output(name, LABELS if place == labelled else None) for place, name in enumerate(self.names.outputs)
        )

    def _takes_labels(self, place: int) -> bool:
        """Whether they lie along an axis of the output; of a sigmoid of one value they do not."""
        spec = self.outputs[place]
        count = meanings.label_count(self.meanings[place], spec.shape)
        along = spec.shape[-1:] if count is None else (count if spec.elements > 1 else 0,)
        return bool(self.labels) and along == (len(self.labels),)

    def _files(self) -> dict[str, str]:
        return {LABELS: "".join(f"{label}\n" for label in self.labels)} if self.labels else {}


def _input(name: str, spec: TensorSpec, preprocessing: Preprocessing | None) -> Input:
    """`scale` and `offset` of pixels, in the metadata's terms."""
    if preprocessing is None or not pictures.is_picture(spec.shape):
        return Input(name)
    pairs = list(zip(preprocessing.scale, preprocessing.offset, strict=True))
    return Input(
        name,
        channels=spec.shape[-1] if preprocessing.channel_order == "rgb" else None,
        mean=tuple(0.0 - offset / scale for scale, offset in pairs),
        std=tuple(1 / scale for scale, _ in pairs),
        description=f"pixels of 0 to 255, {preprocessing.channel_order.upper() if spec.shape[-1] == 3 else 'grey'}",
    )
