"""Devices of one kind start from what the others have measured, which clouds hand on."""

import hashlib
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence

from broker.messages import siblings, topics
from broker.messages.siblings import Figures
from broker.transport.protocol import Transport
from tflsplit import errors
from tflsplit.switching.choices import Present

log = logging.getLogger(__name__)

# A question without an answer is asked again after that, so many times: a cloud may come later.
_AGAIN_S, _MOST_QUESTIONS = 1.0, 30


def kind_of(
    package: str, candidates: Sequence[Mapping[str, object]], link: Mapping[str, object], machine: str
) -> bytes:
    """Devices of it have the same package (its digest), candidates and link in their plans, and machine, so that their
    figures, which are over what is planned, mean the same."""
    told = json.dumps([package, list(candidates), dict(link), machine], sort_keys=True)
    return hashlib.sha256(told.encode()).digest()[: siblings.KIND_BYTES]


class Siblings:
    """`ask` is for the thread that sends frames, the rest for that of results. One that may not tell only asks."""

    def __init__(
        self, transport: Transport, deployment: str, device: str, kind: bytes, *, may_tell: Callable[[], bool]
    ) -> None:
        self.devices = 0  # of how many this one had figures to begin with
        self._transport = transport
        self._topic = topics.topic(deployment, device, topics.Kind.TELEMETRY)
        self._kind = kind
        self._may_tell = may_tell
        self._is_answered = False
        self._questions = 0
        self._asked_s = self._told_s = -math.inf

    def ask(self, now_s: float) -> None:
        """Before each frame, until this device has measured its link: an answer could not reach us before the first."""
        if not self._is_answered and self._questions < _MOST_QUESTIONS and now_s - self._asked_s >= _AGAIN_S:
            self._questions += 1
            if self._say(Figures(self._kind, 0)):
                self._asked_s = now_s

    def tell(self, now_s: float, known: Present) -> None:
        """Called regularly, with what this device has measured."""
        if now_s - self._told_s >= siblings.EVERY_S and self._may_tell() and self._say(figures_of(self._kind, known)):
            self._told_s = now_s

    def take(self, payload: bytes) -> Figures | None:
        """The first answer with figures of our kind; None for any other message."""
        if self._is_answered or not siblings.is_one(payload):
            return None
        try:
            told = siblings.parse(payload)
        except errors.FrameError as problem:
            log.debug("answer about siblings ignored reason=%s", problem)
            return None
        if told.kind != self._kind:
            return None
        self._is_answered, self.devices = True, told.devices
        return told if told.devices else None

    def _say(self, figures: Figures) -> bool:
        return self._transport.try_publish(self._topic, figures.encode(), qos=0)


def figures_of(kind: bytes, known: Present) -> Figures:
    return Figures(
        *(kind, 1, 0.0, known.s_per_bit, known.rtt_s),
        *(known.edge_slower, known.cloud_slower, known.cloud_wait_s),
    )


def present_of(told: Figures) -> Present:
    return Present(told.s_per_bit, told.rtt_s, told.edge_slower, told.cloud_slower, told.cloud_wait_s)
