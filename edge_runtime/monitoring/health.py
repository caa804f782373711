"""Whether a running edge does what it promised: inputs come, the head runs, the spool has room, the broker takes
messages, answers come. The first link of that chain that is broken is named, and since when.

Time is monotonic and passed in. A frame costs a comparison and two readings of counters.
"""

import time
from collections.abc import Callable, Iterator

from broker.transport.protocol import ConnectionState, Transport
from edge_runtime.delivery.observer import Settled, refusal_of
from edge_runtime.loop import Edge
from tflsplit.observing.health import STARTING, Health

# A head may take seconds, and a delegate that compiles graphs half a minute at its first frame; nothing takes longer.
STUCK_S = 60.0
# No link is called broken before that long without a sign of life: a broker that restarts takes seconds.
_PATIENCE_S = 10.0
# Sources may rightly pause: a camera is given this long, and slow rates this many periods.
_SOURCE_S, _SOURCE_PERIODS = 30.0, 5


class EdgeHealth:
    """An `edge_runtime.delivery.observer.Observer` of one edge; starting until `attach`. Any thread may ask `judge`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._edge: Edge | None = None
        self._transport: Transport | None = None
        self.alive_at_s = clock()
        self._answered_at_s: float | None = None
        self._frames = 0
        self._framed_at_s = self.alive_at_s
        self._unanswered_since_s: float | None = None  # frames wait since then, or were refused, and no result came
        self._refused = 0  # messages that the broker had refused when the last answer came
        self._offline_since_s: float | None = None

    def attach(self, edge: Edge, transport: Transport) -> None:
        """Before the edge runs."""
        self._edge, self._transport = edge, transport
        self.alive_at_s = self._framed_at_s = self._clock()
        self._refused = transport.refused
        if edge.spool is not None and edge.spool.frames:
            self._unanswered_since_s = self.alive_at_s

    def alive(self) -> None:
        self.alive_at_s = self._clock()
        self._look_at_connection(self.alive_at_s)
        if self._edge is not None and self._edge.summary.frames != self._frames:
            self._frames = self._edge.summary.frames
            self._framed_at_s = self.alive_at_s
            if self._unanswered_since_s is None:
                self._unanswered_since_s = self.alive_at_s

    def settled(self, settled: Settled) -> None:
        self._answered_at_s = now_s = self._clock()
        if self._edge is not None and self._transport is not None:
            self._refused = self._transport.refused
            if refusal_of(settled.answer) is not None:
                return
            is_waiting = self._edge.outstanding or (self._edge.spool is not None and self._edge.spool.frames)
            self._unanswered_since_s = now_s if is_waiting else None

    @property
    def since_answer_s(self) -> float | None:
        return None if self._answered_at_s is None else self._clock() - self._answered_at_s

    def judge(self) -> Health:
        edge, transport = self._edge, self._transport
        if edge is None or transport is None:
            return STARTING
        now_s = self._clock()
        silent_s = now_s - self.alive_at_s
        is_computing = edge.condition.runs_on is not None or edge.cut.position == 0
        # An accelerator that is away is no hang: its service opens it again or gives it up.
        is_live = silent_s < STUCK_S or not is_computing
        broken = self._broken(edge, transport, now_s, is_live=is_live, is_computing=is_computing)
        why, since_s = next(broken, (None, now_s))
        answer_s = self.since_answer_s
        facts: dict[str, object] = {
            "since_s": None if why is None else round(now_s - since_s, 3),
            "broker": transport.state.value,
            "since_frame_s": round(silent_s, 3),
            "since_answer_s": None if answer_s is None else round(answer_s, 3),
            "cut": edge.cut.id,
            "accelerator": edge.condition.as_json(),
            "window_frames": edge.outstanding,
            "spool_full": edge.spool is not None and edge.spool.is_full,
        }
        return Health(is_live, why is None, why, facts)

    def _look_at_connection(self, now_s: float) -> None:
        if self._transport is None or self._transport.state is ConnectionState.ONLINE:
            self._offline_since_s = None
        elif self._offline_since_s is None:  # attempts that fail in between do not count as a change
            self._offline_since_s = now_s

    def _broken(
        self, edge: Edge, transport: Transport, now_s: float, *, is_live: bool, is_computing: bool
    ) -> Iterator[tuple[str, float]]:
        """Each broken link in words, and since when; the first is the cause of those behind it."""
        self._look_at_connection(now_s)
        if not is_live:
            yield f"no frame was done for {now_s - self.alive_at_s:.0f} s", self.alive_at_s
        if not is_computing:
            yield f"frames wait for the accelerator: {edge.condition.reason}", self.alive_at_s
        if self._offline_since_s is not None:
            reason = f": {transport.last_failure}" if transport.last_failure else ""
            yield f"the connection to the broker is {transport.state.value}{reason}", self._offline_since_s
        if (since_s := self._unanswered_since_s) is not None:
            if (refused := transport.refused - self._refused) > 0:
                yield f"the broker refused {refused} messages, no answer came: may this device publish there?", since_s
            if now_s - since_s > max(_PATIENCE_S, 2 * edge.settings.resend_after_s):
                silent = f"for {now_s - since_s:.0f} s"
                if edge.summary.refusing is None:
                    yield f"no answer came {silent} although frames wait: does a cloud run?", since_s
                else:
                    yield f"no result came {silent}, frames are refused: {edge.summary.refusing}", since_s
        if edge.spool is not None and edge.spool.is_full:
            yield "the spool is full", self._framed_at_s
        patience_s = max(_SOURCE_S, _SOURCE_PERIODS / (edge.settings.rate_fps or 1.0))
        if now_s - self._framed_at_s > patience_s and edge.outstanding < edge.settings.window:
            yield f"the source gave no input for {now_s - self._framed_at_s:.0f} s", self._framed_at_s
