"""What is out: frames and probes without an answer, what their answers teach, and what the oldest tells before its own.

No thread of its own and no lock: who owns it takes turns.
"""

import math
import time
from collections.abc import Sequence

from broker.messages import results
from edge_runtime.adapting.link_probes import LinkProbes
from edge_runtime.delivery.window import Key
from tflsplit.switching.choices import Choice, latency_s
from tflsplit.switching.controller import Controller
from tflsplit.switching.policy import LEAST_TELLING_BITS, Answer, Waiting
from tflsplit.values.classes import dataclass, replace

# A frame is overdue once its expected way has passed so many times, and a moment on top.
_OVERDUE, _MOMENT_S = 1.5, 0.01
# How long a probe behind it may take, in round trips, and at least: so long it is open whether link or server is slow.
_ROUND_TRIPS, _LEAST_PATIENCE_S = 2.0, 0.03
# Frames whose answers teach something; of more that are out at a time nothing is learnt.
_MOST_OUT = 4096


@dataclass(frozen=True, slots=True)
class Sent:
    choice: Choice
    at_s: float
    bits: float
    edge_s: float
    overdue_s: float  # the time from which on it is
    share: float = 1.0  # of the inputs that the choice's costs are of


class InFlight:
    """Frames older than `max_age_s` are awaited by nobody. The controller learns of each."""

    def __init__(self, controller: Controller) -> None:
        self.probes: LinkProbes | None = None
        self.max_age_s = math.inf
        self._controller = controller
        self._sent: dict[Key, Sent] = {}
        self._link_free_s = -math.inf

    def clear(self) -> None:
        """Another run begins: what the one before left without an answer is awaited no more."""
        self._sent.clear()

    def add(self, key: Key, choice: Choice, now_s: float, bits: float, edge_s: float, *, share: float = 1.0) -> None:
        if len(self._sent) < _MOST_OUT:
            known = self._controller.estimates.known(now_s)
            way_s = latency_s(choice, known) - choice.edge_s * known.edge_slower
            self._sent[key] = Sent(choice, now_s, bits, edge_s, now_s + _OVERDUE * way_s + _MOMENT_S, share)
        if self.probes is not None and bits >= LEAST_TELLING_BITS:
            self.probes.features_left(now_s)

    def take(self, key: Key) -> Sent | None:
        """It is out no more."""
        return self._sent.pop(key, None)

    def answer(self, sent: Sent, away_s: float, times: results.Times, now_s: float) -> Answer:
        """What a result teaches of it that came `away_s` after it was sent."""
        # What a cloud says that it took is no more than what passed here.
        wait_s = min(max(0.0, times.queue_ms / 1e3), now_s - sent.at_s)
        cloud_s = min(max(0.0, (times.decode_ms + times.tail_ms) / 1e3), now_s - sent.at_s - wait_s)
        # A frame that was sent behind others waited for them, which says nothing of how quick the link is.
        rtt_s, is_behind = self._controller.estimates.known(now_s).rtt_s, self._link_free_s > now_s - away_s
        began_s = max(now_s - away_s, self._link_free_s)
        link_s = max(0.0, now_s - began_s - wait_s - cloud_s)
        self._link_free_s = now_s - wait_s - cloud_s - min(link_s, rtt_s)
        # When these were through is an estimate, by the round trip: a shorter one does not follow from it.
        tells_link = not is_behind or link_s > rtt_s
        whole_s = cloud_s / sent.share
        return Answer(sent.choice, began_s, sent.bits, sent.edge_s, link_s if tells_link else None, wait_s, whole_s)

    def tend(self, now_s: float, *, is_online: bool) -> None:
        """Called regularly: sends the probes that are due."""
        if self.probes is not None:
            self.probes.tend(now_s, is_quiet=not self._sent)
            self.oldest(now_s, is_online=is_online)

    def oldest(self, now_s: float, *, is_online: bool) -> Waiting | None:
        """The oldest message that is out. A frame that is overdue is asked after; None as long as it is open what it
        waits for."""
        self._forget(now_s)
        frame = next(iter(self._sent.values()), None)
        probe = self.probes.pending() if self.probes else None
        if frame is None or (probe is not None and probe[0] < frame.at_s):
            return Waiting(*probe) if probe else None
        passed_s = self._passed_s(frame)
        if self.probes is not None and passed_s is None and now_s > frame.overdue_s and is_online:
            self.probes.ask(now_s)
            patience_s = max(_LEAST_PATIENCE_S, _ROUND_TRIPS * self._controller.estimates.known(now_s).rtt_s)
            if (asked := self.probes.pending()) is not None and now_s - asked[0] < patience_s:
                return None
        return Waiting(frame.at_s, frame.bits, frame.choice.cloud_s, passed_s)

    def give_up(self, keys: Sequence[Key]) -> None:
        """What they waited for took longer than that; the oldest tells it for those behind it."""
        now_s = time.monotonic()
        lost = [sent for key in keys if (sent := self.take(key)) is not None]
        if lost:
            self._learn_of_lost(lost[0], now_s, now_s - lost[0].at_s)

    def _forget(self, now_s: float) -> None:
        """Frames too old to count are learnt from: what they wait for took longer than that."""
        for key, sent in list(self._sent.items()):
            if (out_s := now_s - sent.at_s) <= self.max_age_s:
                break
            del self._sent[key]
            self._learn_of_lost(sent, now_s, out_s)

    def _passed_s(self, sent: Sent) -> float | None:
        return self.probes.came_back(sent.at_s) if self.probes else None

    def _learn_of_lost(self, sent: Sent, now_s: float, out_s: float) -> None:
        learnt = Answer(sent.choice, sent.at_s, sent.bits, sent.edge_s, out_s, is_given_up=True)
        if self._passed_s(sent) is not None:
            learnt = replace(learnt, link_s=None, cloud_wait_s=out_s)
        self._controller.learn(now_s, learnt)
