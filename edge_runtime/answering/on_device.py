"""The whole model on the device: the rest of it after any head, so that a frame can be answered here."""

from edge_runtime.answering.gate import Gate
from edge_runtime.delivery import framing
from edge_runtime.delivery.framing import Sending
from edge_runtime.head import Head
from tflsplit.coding import input_codec
from tflsplit.graph.tensors import Array
from tflsplit.inputs.preprocessing import PixelTable
from tflsplit.package.reading import Package
from tflsplit.segments import Segments
from tflsplit.values.classes import dataclass, field


@dataclass(frozen=True, slots=True)
class OnDevice:
    """`chain` reaches to the model's end from every cut that frames may have; it is the caller's. With `hedges` answers
    that are overdue are computed here; with a `gate` every answer is, and it says which frames go on to a cloud.

    `head` is never run: it says what computes answers here. CutError where no cloud serves the cut `output`, as which
    the answers of this device travel.
    """

    package: Package
    chain: Segments
    hedges: bool = False
    gate: Gate | None = None
    sending: Sending = field(init=False)
    head: Head = field(init=False)

    def __post_init__(self) -> None:
        last = self.package.cuts[-1]
        object.__setattr__(self, "head", Head(self.package, last, segments=self.chain))
        object.__setattr__(self, "sending", framing.of(self.package, last, None))

    @property
    def runs_on(self) -> str | None:
        return self.head.condition.runs_on

    def rest(self, boundary: tuple[Array, ...], sending: Sending) -> tuple[Array, ...]:
        """The model's outputs, behind what a frame carries that is sent so. Any thread may ask; the head of the next
        frame goes on meanwhile."""
        if sending.pixels is not None:
            spec, preprocessing = input_codec.picture_input(self.package.manifest)
            boundary = (PixelTable(preprocessing, spec).apply(boundary[0]).reshape(spec.shape),)
        return self.chain.run(boundary, sending.cut, self.sending.cut)
