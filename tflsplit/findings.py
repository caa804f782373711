"""Findings: the result of a check of this machine in one line, and what to do about it."""

import enum

from tflsplit.values.classes import dataclass

_COMMANDS = ("pip", "sudo")


class State(str, enum.Enum):
    """`CAUTION` is for what works otherwise than one may expect; `INFO` for what is neither good nor bad, and for what
    could not be found out."""

    OK = "ok"
    CAUTION = "caution"
    MISSING = "missing"
    WRONG = "wrong"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """`detail` is one line. `remedy` is a sentence with commands in backticks, or nothing but commands to paste."""

    name: str
    state: State
    detail: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if (self.is_bad or self.state is State.CAUTION) and not self.remedy:
            raise ValueError(f"finding {self.name!r} is {self.state.value} and says nothing to do about it")
        if self.state is State.OK and self.remedy:
            raise ValueError(f"finding {self.name!r} is ok and says what to do about it")

    @property
    def is_bad(self) -> bool:
        return self.state in (State.MISSING, State.WRONG)

    @property
    def is_to_paste(self) -> bool:
        """Whether the remedy is nothing but commands, which may be several lines."""
        return "\n" in self.remedy or (self.remedy.partition(" ")[0] in _COMMANDS and "`" not in self.remedy)

    def as_json(self) -> dict[str, object]:
        return {"name": self.name, "state": self.state.value, "detail": self.detail, "remedy": self.remedy}
