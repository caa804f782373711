"""The work done over one MQTT connection: window, packet limit, subscriptions, acknowledgements.

Runs on one thread at a time. Queues, subscriptions and counters outlive it; the next session goes on with them.
"""

import logging
import math

from broker.mqtt import events
from broker.mqtt.connection import Connection
from broker.transport import bounded_queues, protocol
from broker.transport.state import Lost, Shared, Subscription

_log = logging.getLogger(__name__)

# A broker that hangs up without saying why (MQTT 3.1.1 has no way to say it) may do so because of one message. The
# largest of those in flight is the likeliest; after three lost connections it is given up so that the rest can pass.
MAX_STRIKES = 3

# A broker that refuses less takes nothing of ours: a chunk of a frame has 60 bytes of its own and a topic.
_LEAST_PACKET_BYTES = 512

# Handed to the connection before it writes: one system call for many small messages.
_TOGETHER_BYTES = 1 << 16
# How often it is looked what is to be said again: a quarter of a second's may go together.
_TEND_S = 0.02


class Session:
    """One connection's share of the work. `end` must be called once, whatever happened."""

    def __init__(self, connection: Connection, number: int, shared: Shared) -> None:
        self.accepted: events.Accepted | None = None
        self.max_packet_bytes = shared.packet_bytes
        self._connection = connection
        self._number = number
        self._shared = shared
        self._window = shared.limits.window
        self._in_flight: dict[int, bounded_queues.Outgoing] = {}
        self._writing: list[
            bounded_queues.Outgoing
        ] = []  # QoS 0, handed to the connection, perhaps not to the socket yet
        self._asked: dict[int, Subscription] = {}
        self._known_wishes = -1
        self._tended_s = -math.inf

    @property
    def is_asking(self) -> bool:
        """Whether somebody who subscribed waits for the broker."""
        return bool(self._asked)

    def pump(self, *, tends: bool = False) -> None:
        """Gives the connection all that may go now: acknowledgements, subscriptions, messages within the window.

        Few are handed over at a time, and none while earlier ones are still being written, so what a broker that reads
        slowly does not take stays in our bounded outbox.
        """
        if self.accepted is None:
            return
        shared = self._shared
        is_wished = self._known_wishes != shared.wishes
        if is_wished:
            self._subscribe()
        if tends and shared.clock() - self._tended_s >= _TEND_S:
            self._tended_s = shared.clock()
            self._say_again()
        has_more = bool(is_wished or shared.receipts or self._writing or shared.outbox.waiting)
        while has_more:
            is_handed = self._is_free_to_send() and self._hand_over()
            # Behind the messages: a result is waited for by somebody, an acknowledgement only by the broker.
            self.acknowledge()
            self._connection.write()
            # What was written at QoS 0 lets its follower go.
            has_more = is_handed and bool(self._writing or shared.outbox.waiting)

    def handle(self, event: events.Event) -> None:
        match event:
            case protocol.Message():
                self._take_in(event)
            case events.Acknowledged():
                self._release(event)
            case events.Accepted():
                self._accept(event)
            case events.Subscribed():
                self._granted(event)
            case Lost():
                self.end(event)

    def acknowledge(self) -> None:
        """Tells the broker of what came by this connection and is done with."""
        receipts = self._shared.receipts
        while receipts and (receipts[0].session != self._number or self._is_sent(receipts[0].after)):
            receipt = receipts.popleft()
            if receipt.session == self._number:
                self._connection.acknowledge(receipt.mid)

    def end(self, lost: Lost) -> None:
        """Puts back what was not acknowledged, to be sent again by the next session, and settles the rest."""
        shared = self._shared
        for outgoing in self._writing:
            shared.drop(outgoing, protocol.Drop.CONNECTION_LOST)
        self._writing.clear()
        unsettled = list(self._in_flight.values())
        self._in_flight.clear()
        for outgoing in [sent for sent in unsettled if sent.is_ours]:
            unsettled.remove(outgoing)
            shared.outbox.release(outgoing)  # it told of this connection, and the next one tells its own
        if shared.repeats is not None and self.accepted is not None:
            shared.repeats.lost()
            if shared.repeats.is_refused:
                with shared.changed:
                    shared.subscriptions.pop(shared.repeats.mark_topic, None)
        suspect = max(unsettled, key=lambda sent: sent.packet_bytes, default=None)
        if suspect is not None and self.accepted is not None:
            suspect.strikes += 1
            if lost.is_packet or suspect.strikes >= MAX_STRIKES:
                unsettled.remove(suspect)
                shared.drop(suspect, protocol.Drop.HUNG_UP_ON)
                _log.warning(
                    "message given up topic=%s payload_bytes=%d reason=%r",
                    suspect.topic,
                    len(suspect.payload),
                    f"the broker hung up {suspect.strikes} times when it was sent: {lost.reason}",
                )
        shared.outbox.put_back(unsettled)
        self.accepted = None  # nothing goes by this connection any longer

    def _accept(self, accepted: events.Accepted) -> None:
        self.accepted = accepted
        if self._shared.repeats is not None:
            self._shared.repeats.online()
        if accepted.receive_maximum is not None:
            self._window = min(self._window, accepted.receive_maximum)
        if accepted.max_packet_bytes is not None:
            self.max_packet_bytes = min(self.max_packet_bytes, accepted.max_packet_bytes)

    def _say_again(self) -> None:
        outbox, repeats = self._shared.outbox, self._shared.repeats
        if repeats is not None:
            for outgoing in repeats.due(outbox.has_half_its_room):
                outbox.put_again(outgoing)
            mark = repeats.mark()
            if mark is not None:
                outbox.put_first(mark)
                with self._shared.changed:
                    self._shared.subscriptions.setdefault(mark.topic, Subscription(mark.topic, qos=1))
                    self._shared.wishes += 1

    def _is_sent(self, number: int) -> bool:
        return number == 0 or self._shared.outbox.has_taken(number)

    def _subscribe(self) -> None:
        with self._shared.changed:
            self._known_wishes = self._shared.wishes
            new = [wanted for wanted in self._shared.subscriptions.values() if wanted.session != self._number]
        for wanted in new:
            is_renewal = wanted.session > 0 and self.accepted is not None and self.accepted.session_present
            wanted.session = self._number
            if wanted.is_ending:
                self._asked[self._connection.unsubscribe(wanted.topic_filter)] = wanted
                continue
            if wanted.topic_filter.startswith("$share/") and not self._connection.knows_shares:
                # One that does not know them takes it for a topic that nobody writes, and grants it.
                self._answered(wanted, "shared subscriptions need a broker of MQTT 5")
                continue
            self._asked[self._connection.subscribe(wanted.topic_filter, wanted.qos, is_renewal=is_renewal)] = wanted

    def _is_free_to_send(self) -> bool:
        if self._connection.is_writing:
            return False
        for outgoing in self._writing:
            self._shared.outbox.release(outgoing)
        self._writing.clear()
        return True

    def _hand_over(self) -> bool:
        """Some of what waits, to the connection; False if nothing may go."""
        handed_bytes = 0
        while handed_bytes < _TOGETHER_BYTES:
            outgoing = self._shared.outbox.take(is_window_full=len(self._in_flight) >= self._window)
            if outgoing is None:
                break
            handed_bytes += outgoing.packet_bytes
            self._send(outgoing)
        return handed_bytes > 0

    def _send(self, outgoing: bounded_queues.Outgoing) -> None:
        shared = self._shared
        remaining_s = None if outgoing.expires_at_s is None else outgoing.expires_at_s - shared.clock()
        if remaining_s is not None and remaining_s <= 0:
            shared.drop(outgoing, protocol.Drop.EXPIRED)
            return
        if outgoing.packet_bytes > self.max_packet_bytes:
            shared.drop(outgoing, protocol.Drop.TOO_LARGE)
            _log.warning(
                "message given up topic=%s packet_bytes=%d limit=%d",
                outgoing.topic,
                outgoing.packet_bytes,
                self.max_packet_bytes,
            )
            return
        mid = self._connection.publish(outgoing, remaining_s)
        if outgoing.sendings == 0:
            shared.counters.published += 1
        else:
            shared.counters.resent += 1
        outgoing.sendings += 1
        if outgoing.qos > 0:
            self._in_flight[mid] = outgoing
        else:
            self._writing.append(outgoing)

    def _release(self, event: events.Acknowledged) -> None:
        outgoing = self._in_flight.pop(event.mid, None)
        if outgoing is None:
            return
        if event.refusal is None:
            self._shared.counters.acknowledged += 1
            self._shared.has_passed |= not outgoing.is_ours
            if self._shared.repeats is not None:
                self._shared.repeats.acknowledged(outgoing)
            self._shared.outbox.release(outgoing)
        else:
            _log.warning("message refused topic=%s reason=%r", outgoing.topic, event.refusal)
            if event.is_size:
                self._take_smaller(outgoing)
            self._shared.drop(outgoing, protocol.Drop.REFUSED)

    def _take_smaller(self, refused: bounded_queues.Outgoing) -> None:
        """A limit that the broker does not announce (Mosquitto's `message_size_limit`) is found by halving: the sender
        splits what is larger into chunks. It holds for later connections too."""
        self.max_packet_bytes = min(self.max_packet_bytes, max(_LEAST_PACKET_BYTES, refused.packet_bytes // 2))
        self._shared.packet_bytes = min(self._shared.packet_bytes, self.max_packet_bytes)
        _log.warning(
            "the broker takes smaller packets than it says refused_bytes=%d from now at most limit=%d",
            refused.packet_bytes,
            self.max_packet_bytes,
        )

    def _granted(self, event: events.Subscribed) -> None:
        wanted = self._asked.pop(event.mid, None)
        if wanted is None:
            return
        if event.refusal is not None:
            what = "unsubscription" if wanted.is_ending else "subscription"
            _log.warning("%s refused filter=%s reason=%r", what, wanted.topic_filter, event.refusal)
        self._answered(wanted, event.refusal)

    def _answered(self, wanted: Subscription, refusal: str | None) -> None:
        with self._shared.changed:
            wanted.answered, wanted.refusal = True, refusal
            self._shared.changed.notify_all()

    def _take_in(self, message: protocol.Message) -> None:
        repeats = self._shared.repeats
        if repeats is not None and message.topic == repeats.mark_topic:
            repeats.heard(message.payload, is_retained=message.retained)
            if message.qos > 0:
                self._connection.acknowledge(message.receipt[1])
        elif not self._shared.take_in(message) and message.qos > 0:
            # Else the broker would wait for it for ever, and in time for nothing else.
            self._connection.acknowledge(message.receipt[1])
