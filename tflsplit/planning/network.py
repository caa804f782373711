"""Bytes on the wire, and how long they take over a link: every header is counted, and what loss does to TCP.

The frame's own sizes are those of `broker.messages.wire`, which the kernel does not import; a test holds the two
together.
"""

import math
from collections.abc import Sequence

from tflsplit.graph.tensors import TensorSpec
from tflsplit.timings import distribution
from tflsplit.timings.distribution import Distribution
from tflsplit.timings.links import Link, Point
from tflsplit.timings.profiles import Origin

FRAME_HEADER_BYTES = 66
_TENSOR_BYTES, _EXTENT_BYTES = 10, 4
# Of a frame with several inputs: their number, and when each after the first was captured.
_MORE_BYTES, _CAPTURED_BYTES = 2, 8
# `tflsplit/v1/<deployment>/<device>/features` with names of ten letters each.
_TOPIC_BYTES = 42
# The JSON of a result with five classes and its times.
RESULT_BYTES = 700
# IPv4 and TCP with timestamps, as every Linux sends it, on Ethernet's 1,500 bytes.
_SEGMENT_BYTES, _SEGMENT_HEADER_BYTES = 1448, 52
# A lost segment that fewer than this follow brings no three duplicate acknowledgements: the sender waits for a timer.
_FAST_RETRANSMIT_SEGMENTS = 4
# Linux's shortest retransmission timer.
_LEAST_TIMER_S = 0.2
# Linux's initial congestion window (RFC 6928), and as many frames as its size takes to settle.
_INITIAL_SEGMENTS, _FRAMES_TO_SETTLE = 10, 6
# A broker on the same machine takes 0.1 ms to pass a message on; a stated link does not include the broker.
BROKER_HOP_S = 0.0001


def frame_bytes(boundary: Sequence[TensorSpec], coded_bytes: float, inputs: int = 1) -> float:
    """A frame as the edge publishes it: header, one description a tensor, the coded payload of all its inputs."""
    described = sum(_TENSOR_BYTES + _EXTENT_BYTES * len(spec.shape) for spec in boundary)
    more = _MORE_BYTES + _CAPTURED_BYTES * (inputs - 1) if inputs > 1 else 0
    return FRAME_HEADER_BYTES + described + more + coded_bytes


def wire_bytes(message_bytes: float) -> float:
    """A message as the network carries it: MQTT's PUBLISH, and TCP's and IP's header on each segment."""
    remaining = 2 + _TOPIC_BYTES + 2 + 1 + message_bytes
    length_bytes = 1 + (remaining >= 1 << 7) + (remaining >= 1 << 14) + (remaining >= 1 << 21)
    return with_headers(1 + length_bytes + remaining)


def with_headers(packet_bytes: float) -> float:
    """Bytes of a TCP stream as the network carries them: TCP's and IP's header on each segment."""
    return packet_bytes + _SEGMENT_HEADER_BYTES * segments(packet_bytes)


def segments_on_wire(carried_bytes: float) -> int:
    """Of a message by what `wire_bytes` says of it."""
    return max(1, math.ceil(carried_bytes / (_SEGMENT_BYTES + _SEGMENT_HEADER_BYTES)))


def segments(packet_bytes: float) -> int:
    return max(1, math.ceil(packet_bytes / _SEGMENT_BYTES))


def usable_bps(link: Link) -> float:
    """What one TCP connection gets: the bandwidth, or less where loss keeps its window small.

    Mathis et al. 1997: MSS / RTT · sqrt(3/2) / sqrt(loss). A measured link has it in its bandwidth already.
    """
    if link.origin is Origin.MEASURED or not link.loss or not link.rtt_s:
        return link.bandwidth_bps
    return min(link.bandwidth_bps, _SEGMENT_BYTES * 8 / link.rtt_s * math.sqrt(1.5 / link.loss))


def sending(link: Link, message_bytes: float) -> Distribution:
    """The time a message keeps the link busy, beyond what a tiny one takes: its bytes, and those sent again.

    A connection in steady use is assumed, without a handshake; `warming_up` says what a pause costs.
    """
    if len(link.points) > 1 and link.points[0].payload_bytes <= message_bytes:
        return _as_measured(link.points, message_bytes)
    bits = wire_bytes(message_bytes) * 8
    plain = distribution.fixed(bits / usable_bps(link), link.origin)
    return distribution.total((plain, _sent_again(link, message_bytes))) if link.loss else plain


def warming_up(link: Link, message_bytes: float, rate_fps: float) -> Distribution:
    """How long a message waits because its connection was idle since the one before, `1 / rate_fps` ago.

    Linux (Reno and Cubic, not BBR) halves the congestion window for each retransmission timer that passes without
    sending, down to ten segments. A message larger than the window goes in rounds of one round trip, each twice as
    large as the one before. The window of the last round is what the next pause halves again. The first window is ten.
    """
    if not link.rtt_s:
        return distribution.NOTHING
    count, bandwidth_bps = segments(message_bytes), usable_bps(link)
    sending_s, segment_s = wire_bytes(message_bytes) * 8 / bandwidth_bps, _SEGMENT_BYTES * 8 / bandwidth_bps
    window, waited_s = _INITIAL_SEGMENTS, 0.0
    for _ in range(_FRAMES_TO_SETTLE):
        left, waited_s = _rounds(count, window, segment_s, link.rtt_s)
        rested_s = 1 / rate_fps - sending_s - waited_s
        halvings = max(0, math.ceil(rested_s / (link.rtt_s + _LEAST_TIMER_S)) - 1)
        window = max(_INITIAL_SEGMENTS, left >> min(halvings, 32))
    return distribution.fixed(waited_s, Origin.ESTIMATED) if waited_s else distribution.NOTHING


def _rounds(count: int, window: int, segment_s: float, rtt_s: float) -> tuple[int, float]:
    """The window in the end, and the time in which nothing is sent because acknowledgements are missing."""
    sent, waited_s = 0, 0.0
    while sent + window < count:
        waited_s += max(0.0, rtt_s - window * segment_s)
        sent += window
        window *= 2
    return window, waited_s


def busy_s(link: Link, message_bytes: float) -> float:
    """Seconds of the link that a message takes when messages follow one another closely."""
    near = min(link.points, key=lambda point: abs(point.payload_bytes - message_bytes), default=None)
    return wire_bytes(message_bytes) * 8 / (near.throughput_bps if near else usable_bps(link))


def hop(link: Link) -> Distribution:
    """A tiny message through the broker in one direction; both take the same time."""
    if link.origin is Origin.MEASURED and link.points:
        round_trip = distribution.of(link.points[0].round_trip)
        half_s = round_trip.p50_s / 2, round_trip.p95_s / 2, round_trip.mean_s / 2
        return Distribution(*half_s, round_trip.variance_s2 / 4, round_trip.origin)
    broker_s = 0.0 if link.origin is Origin.MEASURED else BROKER_HOP_S
    return distribution.fixed(link.rtt_s / 2 + broker_s, link.origin)


def sending_again(count: int, loss: float, rtt_s: float) -> tuple[float, float]:
    """What loss adds to a message of `count` segments: seconds (a round trip, or TCP's timer), and in which share of
    the messages."""
    once_s = rtt_s if count >= _FAST_RETRANSMIT_SEGMENTS else max(_LEAST_TIMER_S, 2 * rtt_s)
    return once_s, 1 - (1 - loss) ** count


def _sent_again(link: Link, message_bytes: float) -> Distribution:
    return distribution.sometimes(*sending_again(segments(message_bytes), link.loss, link.rtt_s))


def _as_measured(points: Sequence[Point], message_bytes: float) -> Distribution:
    """Between the two nearest sizes that were probed, in proportion; beyond the largest at its rate."""
    ordered = sorted(points, key=lambda point: point.payload_bytes)
    smallest = distribution.of(ordered[0].round_trip)
    above = next((place for place, point in enumerate(ordered) if point.payload_bytes >= message_bytes), None)
    if above is None:
        last = ordered[-1]
        further_s = (message_bytes - last.payload_bytes) * 8 / last.throughput_bps
        return _beyond(distribution.of(last.round_trip), smallest, further_s, Origin.ESTIMATED)
    if above == 0:
        return distribution.NOTHING
    low, high = ordered[above - 1], ordered[above]
    share = (message_bytes - low.payload_bytes) / (high.payload_bytes - low.payload_bytes)
    near, far = distribution.of(low.round_trip), distribution.of(high.round_trip)
    between = Distribution(
        near.p50_s + share * (far.p50_s - near.p50_s),
        near.p95_s + share * (far.p95_s - near.p95_s),
        near.mean_s + share * (far.mean_s - near.mean_s),
        near.variance_s2 + share * (far.variance_s2 - near.variance_s2),
        far.origin,
    )
    return _beyond(between, smallest, 0.0, far.origin)


def _beyond(found: Distribution, smallest: Distribution, further_s: float, origin: Origin) -> Distribution:
    """A round trip less that of the smallest message, which `hop` counts."""
    p50_s = max(0.0, found.p50_s - smallest.p50_s) + further_s
    return Distribution(
        p50_s,
        max(p50_s, found.p95_s - smallest.p95_s + further_s),
        max(0.0, found.mean_s - smallest.mean_s) + further_s,
        max(0.0, found.variance_s2 - smallest.variance_s2),
        origin,
    )
