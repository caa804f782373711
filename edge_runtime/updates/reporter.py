"""Reports of an update: to the operator who offered it, on `telemetry`, and to everybody in the device's birth."""

import time
from collections.abc import Mapping
from typing import Protocol

from broker.messages.updates import Need, Report, State
from broker.transport.protocol import Transport
from edge_runtime.updates.store import Record

# A birth is retained and read by everybody: it is not published for each piece.
_PERCENT_STEP = 10
_SELDOM_S = 2.0


class Described(Protocol):
    """The part of `edge_runtime.loop.Edge` that is used here."""

    def describe(self, name: str, fields: Mapping[str, object]) -> None: ...


class Reporter:
    """A report for which the transport has no room is dropped: whoever waits for it asks again."""

    def __init__(self, edge: Described, telemetry: str) -> None:
        self._edge = edge
        self._telemetry = telemetry
        self._transport: Transport | None = None
        self._born: tuple[object, ...] = ()
        self._said_at_s = 0.0

    def connect(self, transport: Transport) -> None:
        self._transport = transport

    def tell(
        self, record: Record, state: State, *, percent: int | None = None, need: Need | None = None, ignored: int = 0
    ) -> None:
        """Reports the last accepted offer; a change of `ignored` alone does not publish the birth again."""
        if record.offer is not None:
            self.answer(Report(record.offer, state, percent, record.reason, need))
        percent = None if percent is None else percent - percent % _PERCENT_STEP
        born = (state, record, percent)
        if born != self._born:
            self._born = born
            self._edge.describe(
                "update",
                {
                    "state": state.value,
                    "digest": record.package,
                    "serial": record.serial,
                    "reason": record.reason,
                    "percent": percent,
                    "ignored": ignored,
                },
            )

    def tell_now_and_then(self, record: Record, state: State, *, percent: int) -> None:
        if time.monotonic() - self._said_at_s >= _SELDOM_S:
            self.tell(record, state, percent=percent)

    def answer(self, report: Report) -> None:
        self._said_at_s = time.monotonic()
        if self._transport is not None:
            self._transport.try_publish(self._telemetry, report.encode(), qos=1)
