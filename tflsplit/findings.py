"""Findings: the result of a check of this machine in one line, and what to do about it."""

import enum
from dataclasses import dataclass


class State(str, enum.Enum):
    """`INFO` is for what is neither good nor bad, and for what could not be found out."""

    OK = "ok"
    MISSING = "missing"
    WRONG = "wrong"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """`detail` is one line; `remedy` may be several that are meant to be pasted into a shell."""

    name: str
    state: State
    detail: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.is_bad and not self.remedy:
            raise ValueError(f"finding {self.name!r} is {self.state.value} and says nothing to do about it")

    @property
    def is_bad(self) -> bool:
        return self.state in (State.MISSING, State.WRONG)

    def as_json(self) -> dict[str, object]:
        return {"name": self.name, "state": self.state.value, "detail": self.detail, "remedy": self.remedy}
