"""What an edge says that it is now, and whether what it computes with now is exact with its clouds."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edge_runtime.answering.answers import Answers
from edge_runtime.delivery.birth import Birth
from edge_runtime.delivery.framing import Sending
from edge_runtime.delivery.run import Run
from edge_runtime.exactness import Exactness
from edge_runtime.exchange import HeadInUse
from edge_runtime.head import Head

if TYPE_CHECKING:
    from edge_runtime.adapting.adaptation import Adaptation


class Announcing:
    """For the results thread, except `describe`; before there is one, for whom starts it."""

    def __init__(
        self, run: Run, in_use: HeadInUse, answers: Answers, exactness: Exactness, adaptation: "Adaptation | None"
    ) -> None:
        self._birth = Birth(run.transport, run.settings)
        self._in_use = in_use
        self._answers = answers
        self._exactness = exactness
        self._spool = run.spool
        self._adaptation = adaptation
        self._told: Mapping[str, object] = {}

    def describe(self, name: str, fields: Mapping[str, object] | None) -> None:
        self._told = {**self._told, name: fields}

    def again(self) -> None:
        """What another process of our name has announced in its place is announced anew."""
        self._birth.again()

    def cloud_came(self) -> None:
        """Who opens tails by what a birth names has to get it, and not every broker gives what it retains."""
        if self._adaptation is not None:
            self._birth.again()

    def look(self) -> None:
        """Announces what has changed, and judges what is in use. PeerError where exactness is required and is not
        there."""
        sending, head = self._in_use.sending, self._in_use.head
        if sending.cut != head.cut:
            return  # the compute thread is just moving; the next look says where it went
        spool = None if self._spool is None else self._spool.as_json()
        adapts = self._adaptation and self._adaptation.as_json()
        self._birth.announce(sending, head.condition, head.kernels, {"spool": spool, "adapts": adapts, **self._told})
        self.judge(sending, head)

    def judge(self, sending: Sending | None = None, head: Head | None = None) -> None:
        """The second half of `look`, by itself when a cloud has told something."""
        sending, head = sending or self._in_use.sending, head or self._in_use.head
        judged = self._answers.judged(head)
        others = self._adaptation.heads if self._adaptation is not None and judged is head else ()
        self._exactness.look(sending.package, judged, sending.loss, others)
