"""What an edge counted and measured: frames by their outcome, and latencies in percentiles."""

import threading
from collections import Counter
from typing import Protocol

from broker.transport import protocol
from edge_runtime.accelerators import service
from tflsplit import text
from tflsplit.timings.latency import Latencies, percentiles
from tflsplit.values.classes import dataclass, field

_COUNTS = (
    *("frames", "inputs", "replayed", "results", "refused", "unanswered"),
    *("resent", "duplicates", "busy", "untimed", "spooled"),
    *("answered_here", "hedged", "hedged_first", "hedge_left_out"),
    *("early", "restarts"),
)


class Judging(Protocol):
    """What decided which frames stay on the device; `str` says in words what it counted."""

    def as_json(self) -> dict[str, object]: ...


@dataclass(slots=True, repr=False)
class Summary:
    """Counters of one run. Latencies (seconds) are of the last `tflsplit.timings.latency.KEPT` answered frames.

    `frames` were accepted by this run, with `inputs` in them (as many, but for batches); `replayed` were in the spool
    at its start. Of all these, `results` counts those with all results or an acknowledgement, `refused` those that the
    cloud refused (last for the reason `refusal`; `refusing` is that too, and None once a result has come since),
    `given_up` those that were dropped later. `dropped` counts these and inputs that never became frames, by reason.
    `duplicates` are answers to frames that nobody waits for;
    `answered_here` counts frames whose first answer is the device's own, whether or not they go to a cloud too;
    `hedged` were computed here since their answer was overdue, `hedged_first` of them before it came, and
    `hedge_left_out` could not be for want of memory. `gate` counts what was judged, None without a gate.
    Of a stateful package `early` counts answers that a frame's predecessor is missing, so that both are sent again, and
    `restarts` how often the stream began anew. `busy` times a cloud had too many of ours, and the frame was kept (given
    up with delivery `latest`). `spooled` frames were on disk at the end, None without a spool.
    `accelerator` is of the head in use. `latency_s` is from capture to the first answer, `head_s` and `tail_s` are the
    times of the two halves, `wire_s` the rest: coding, spool, broker, network, queues, and the way back.
    """

    frames: int = 0
    inputs: int = 0
    replayed: int = 0
    results: int = 0
    refused: int = 0
    refusal: str | None = None
    refusing: str | None = None
    given_up: int = 0
    resent: int = 0
    duplicates: int = 0
    busy: int = 0
    answered_here: int = 0
    early: int = 0
    restarts: int = 0
    hedged: int = 0
    hedged_first: int = 0
    hedge_left_out: int = 0
    gate: Judging | None = None
    untimed: int = 0
    spooled: int | None = None
    dropped: Counter[str] = field(default_factory=Counter)
    accelerator: service.Counters = field(default_factory=service.Counters)
    link: protocol.Counters = field(default_factory=protocol.Counters)
    latency_s: Latencies = field(default_factory=Latencies)
    head_s: Latencies = field(default_factory=Latencies)
    tail_s: Latencies = field(default_factory=Latencies)
    wire_s: Latencies = field(default_factory=Latencies)
    _counting: threading.Lock = field(default_factory=threading.Lock, repr=False)  # every thread of an edge does

    @property
    def unanswered(self) -> int:
        return self.frames + self.replayed - self.results - self.refused - self.given_up

    def accept(self, inputs: int) -> None:
        """Counts a frame that was made."""
        self.frames += 1
        self.inputs += inputs

    def drop(self, reason: str, inputs: int = 1) -> None:
        """Counts inputs, or a message, that were dropped."""
        with self._counting:
            self.dropped[reason] += inputs

    def give_up(self, reason: str, frames: int = 1) -> None:
        """Counts accepted frames that were dropped."""
        with self._counting:
            self.given_up += frames
            self.dropped[reason] += frames

    def add_latency(self, *, latency_s: float, head_s: float, tail_s: float | None) -> None:
        """`tail_s` is None if the answer does not contain it."""
        with self._counting:
            self.latency_s.append(latency_s)
            self.head_s.append(head_s)
            if tail_s is not None:
                self.tail_s.append(tail_s)
                self.wire_s.append(max(0.0, latency_s - head_s - tail_s))

    def __repr__(self) -> str:
        return f"<{self.in_words()}>"

    def in_words(self, cut: str | None = None) -> str:
        """One line; spools, drops and accelerators are named where there is something to say."""
        latency = ", ".join(
            f"{name} {value} ms" for name, value in percentiles(self.latency_s).items() if value is not None
        )
        counters = self.accelerator
        trouble = (
            f", {counters.frames_on_fallback} on the fallback, {counters.failures} accelerator failures, "
            f"{counters.reopenings} reopenings"
        )
        dropped = "".join(f", {count} dropped ({reason})" for reason, count in self.dropped.items())
        spooled = f", {self.replayed} replayed, {self.spooled} left in the spool" if self.spooled is not None else ""
        busy = f", {text.counted(self.busy, 'time')} busy" if self.busy else ""
        busy += f", its state began anew {text.counted(self.restarts, 'time')}" if self.restarts else ""
        # Of frames that were sent again, as when a cloud comes back: nothing is wrong with them.
        again = f", {text.counted(self.duplicates, 'answer')} more to frames that had one" if self.duplicates else ""
        batches = f" of {text.counted(self.inputs, 'input')}" if self.inputs != self.frames else ""
        here = f", {self.answered_here} answered here" if self.answered_here else ""
        hedged = f", {self.hedged} hedged ({self.hedged_first} first)" if self.hedged else ""
        left_out = f", {self.hedge_left_out} not hedged (no memory, or a new model)" if self.hedge_left_out else ""
        gate = f"; {self.gate}" if self.gate is not None else ""
        return (
            f"{text.counted(self.frames, 'frame')}{batches}{f' at {cut}' if cut else ''}, "
            f"{text.counted(self.results, 'result')}, {self.unanswered} unanswered, "
            f"{self.refused} refused, {self.resent} resent"
            f"{again}{busy}{here}{hedged}{left_out}{dropped}{spooled}"
            f"{trouble if counters != service.Counters() else ''}{gate}{f'; latency {latency}' if latency else ''}"
        )

    def as_json(self) -> dict[str, object]:
        return {
            **{name: getattr(self, name) for name in _COUNTS},
            "gate": self.gate and self.gate.as_json(),
            "dropped": dict(self.dropped),
            "accelerator": self.accelerator.as_json(),
            "link": self.link.as_json(),
            "latency_ms": percentiles(self.latency_s),
            "parts_ms": {
                "head": percentiles(self.head_s),
                "wire": percentiles(self.wire_s),
                "tail": percentiles(self.tail_s),
            },
        }
