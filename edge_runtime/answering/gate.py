"""The gate at the cut: sure answers stay on the device, and of doubtful ones the boundary goes on to a cloud.

A share of the sure ones goes on as well, drawn at random, to see how often the cloud agrees. What is sent may be
bounded; what that keeps here is counted.
"""

import collections
import random
from collections import Counter
from enum import Enum

from edge_runtime.delivery.window import Key
from tflsplit import errors
from tflsplit.graph.tensors import Array
from tflsplit.package import outputs
from tflsplit.package.reading import Package
from tflsplit.quantities import Rate
from tflsplit.values.classes import dataclass

# Audits whose results are awaited; older ones are not compared any more.
_MOST_AUDITS = 4096


class Verdict(str, Enum):
    """`SURE` and `LIMITED` frames stay: sure answers, and doubtful ones beyond what may be sent (or while it cannot).
    `AUDITED` are sure ones that are sent all the same, `DOUBTFUL` are sent for the cloud's answer."""

    SURE = "sure"
    AUDITED = "audited"
    DOUBTFUL = "doubtful"
    LIMITED = "limited"

    @property
    def is_sent(self) -> bool:
        return self in (Verdict.AUDITED, Verdict.DOUBTFUL)


@dataclass(frozen=True, slots=True)
class Terms:
    """Answers above `score` stay, and of these the share `audit` is sent too; `at_most` bounds all that is sent."""

    score: float
    at_most: Rate | None = None
    audit: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.score < 1:
            raise errors.SettingsError(
                f"answers surer than {self.score:g} stay here: give a probability between 0 and 1, as 0.9"
            )
        if not 0 <= self.audit <= 1:
            raise errors.SettingsError(f"audit of {self.audit:g} of the sure answers: give a share from 0 to 1, as 1%")


class Gate:
    """`judge` is for the compute thread, `settled` for the results thread. SettingsError for a model without scores."""

    def __init__(self, package: Package, terms: Terms, draw: random.Random | None = None) -> None:
        problem = outputs.without_score(package.manifest)
        if problem is not None:
            raise errors.SettingsError(f"{package.path}: no answer can be called sure: {problem}")
        self.terms = terms
        self.counts: Counter[Verdict] = Counter()
        self.agreed = self.disagreed = 0
        self._manifest = package.manifest
        self._draw = draw or random.Random()  # noqa: S311 - it picks samples, it guards nothing
        self._sent_s: collections.deque[float] = collections.deque()
        self._audits: collections.OrderedDict[Key, str | None] = collections.OrderedDict()

    def judge(self, found: tuple[Array, ...], now_s: float, *, may_send: bool = True) -> Verdict:
        """Of the model's stored outputs."""
        is_sure = outputs.sureness(self._manifest, found) > self.terms.score
        wants = not is_sure or self._draw.random() < self.terms.audit
        if not wants or not may_send or not self._has_room(now_s):
            verdict = Verdict.SURE if is_sure else Verdict.LIMITED
        else:
            verdict = Verdict.AUDITED if is_sure else Verdict.DOUBTFUL
            self._sent_s.append(now_s)
        self.counts[verdict] += 1
        return verdict

    def audit(self, key: Key, label: str | None) -> None:
        """That frame is sent, and this is our answer to it."""
        self._audits[key] = label
        if len(self._audits) > _MOST_AUDITS:
            self._audits.popitem(last=False)

    def dropped(self, key: Key) -> None:
        """That frame was not sent after all."""
        self._audits.pop(key, None)

    def settled(self, key: Key, label: str | None) -> None:
        """The cloud's result of a frame; compared if it was an audit."""
        if key not in self._audits:
            return
        if self._audits.pop(key) == label:
            self.agreed += 1
        else:
            self.disagreed += 1

    def as_json(self) -> dict[str, object]:
        counts = {verdict.value: self.counts[verdict] for verdict in Verdict}
        return {**counts, "agreed": self.agreed, "disagreed": self.disagreed}

    def __str__(self) -> str:
        """What there is to say at the end of a run."""
        told = ", ".join(f"{self.counts[verdict]} {verdict.value}" for verdict in Verdict if self.counts[verdict])
        compared = self.agreed + self.disagreed
        return f"gate: {told or 'no answer'}{f' ({self.agreed} of {compared} agree)' if compared else ''}"

    def _has_room(self, now_s: float) -> bool:
        limit = self.terms.at_most
        if limit is None:
            self._sent_s.clear()
            return True
        while self._sent_s and now_s - self._sent_s[0] >= limit.per_s:
            self._sent_s.popleft()
        return len(self._sent_s) < limit.count
