"""Unanswered frames are sent again: after a longer time-out each time, and soon after a cloud has come."""

import logging
import random
import time

from edge_runtime.delivery.publisher import Publisher
from edge_runtime.delivery.run import Run

log = logging.getLogger(__name__)

# Over so long all edges that wait for a cloud are spread when one comes: with the time between two looks, a second.
_SPREAD_S = 0.85


class Resending:
    """Sends unanswered frames of a window again, after a longer time-out each time."""

    def __init__(self, run: Run, publisher: Publisher) -> None:
        self._run, self._window, self._summary = run, run.window, run.summary
        self._publisher = publisher
        self._answered_at_s = time.monotonic()
        self._is_unanswered = False
        self._came_at_s = 0.0
        self._hurry_at_s: float | None = None

    def cloud_came(self, now_s: float) -> None:
        self._came_at_s = now_s
        self._hurry_at_s = now_s + random.uniform(0.0, _SPREAD_S)  # noqa: S311 - it spreads load, it guards nothing

    def is_hurried(self, now_s: float) -> bool:
        """Whether a cloud came, and our moment within the second after it has come too; true once."""
        if self._hurry_at_s is None or now_s < self._hurry_at_s:
            return False
        self._hurry_at_s = None
        self._window.send_all_again(self._came_at_s)
        return True

    def answered(self, now_s: float) -> None:
        self._answered_at_s = now_s
        if self._is_unanswered:
            self._is_unanswered = False
            self._window.hurry()
            log.info("answers again deployment=%s resent=%d", self._run.settings.deployment, self._summary.resent)

    def tend(self, now_s: float) -> None:
        if not self._publisher.is_online:
            # The transport still holds the frames; copies would fill its queue while the broker is away.
            self._window.postpone(now_s)
            return
        resend_after_s = self._run.settings.resend_after_s
        if not self._is_unanswered and self._window.is_silent(now_s, self._answered_at_s, resend_after_s):
            self._is_unanswered = True
            self._window.hurry()
            log.warning(
                "no answers deployment=%s unanswered=%d; sending again until a cloud answers",
                self._run.settings.deployment,
                self._summary.unanswered,
            )
        for sent in self._window.overdue(now_s, resend_after_s):
            if not self._publisher.try_send(sent.packed.encoded):
                return
            self._summary.resent += 1
            self._window.sent_again(sent, now_s=now_s, now_ns=time.time_ns())
