"""Health of an edge or a cloud, as supervisors ask for it: is it alive, is it ready, and if not, why."""

import json

from tflsplit.values.classes import dataclass, field


@dataclass(frozen=True, slots=True)
class Health:
    """`is_live`: the thread that computes was at work not long ago; if not, only a restart helps. `is_ready`: what
    it needs is there (model, broker). `why` says what is missing; `facts` are for people."""

    is_live: bool
    is_ready: bool
    why: str | None = None
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def state(self) -> str:
        if not self.is_live:
            return "stuck"
        return "ok" if self.is_ready else "not ready"

    def as_json(self) -> bytes:
        return json.dumps({"state": self.state, "why": self.why} | self.facts, ensure_ascii=False).encode()


STARTING = Health(is_live=True, is_ready=False, why="starting")
