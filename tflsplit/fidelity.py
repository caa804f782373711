"""How near an int8 model is to its float model, and what that was measured on."""

from enum import Enum

from tflsplit import text
from tflsplit.values.classes import dataclass

# JSON has no infinity: beyond what float32 can differ by.
NO_ERROR_DB = 300.0


class MeasuredOn(str, Enum):
    """The samples that a fidelity was measured on."""

    UNSEEN = "unseen"
    CALIBRATION = "calibration"
    SYNTHETIC = "synthetic"


_WORDS = {
    MeasuredOn.UNSEEN: ("sample", " that calibration did not see"),
    MeasuredOn.CALIBRATION: ("sample", " of the calibration"),
    MeasuredOn.SYNTHETIC: ("synthetic input", ""),
}


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How well int8 tracks float: `top1_agreement` is a share, None where the output is no row of classes or the inputs
    were made up; `sqnr_db` counts what varies over the samples, and is None where nothing does."""

    output: str
    samples: int
    measured_on: MeasuredOn
    top1_agreement: float | None
    sqnr_db: float | None

    @property
    def closeness(self) -> str:
        """Both figures against float, and what they were measured on, in words."""
        return self.closeness_to("float")

    def closeness_to(self, other: str) -> str:
        sqnr = "nothing varies" if self.sqnr_db is None else f"{self.sqnr_db:.1f} dB SQNR"
        sqnr = "no error" if self.sqnr_db == NO_ERROR_DB else sqnr
        agrees = "" if self.top1_agreement is None else f"agrees with {other} in {self.top1_agreement:.1%}, "
        return f"{agrees}{sqnr}, {self.samples_in_words}"

    @property
    def samples_in_words(self) -> str:
        noun, which = _WORDS[self.measured_on]
        return f"on {text.counted(self.samples, noun)}{which}"
