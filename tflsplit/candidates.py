"""What competes: every cut, the input sent raw or as JPEG, and everything local, each with its measured times.

A candidate holds all that does not depend on link, rate and prices, so that a plan can try many of these.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from tflsplit import spread, traffic
from tflsplit.cuts import Cut
from tflsplit.measurements import CutTiming, Origin, Profile
from tflsplit.spread import Spread

# libjpeg-turbo on one core: some 30 million pixels a second on a Raspberry Pi 4, 100 million on a server.
_JPEG_EDGE_PIXELS_PER_S, _JPEG_CLOUD_PIXELS_PER_S = 30e6, 100e6
# What JPEG makes of a picture's raw bytes at middling qualities. Measure it: a factor of two either way is common.
_JPEG_SHARE = 0.10


@dataclass(frozen=True, slots=True)
class Picture:
    """The input as JPEG of a quality, and the mean bytes of one."""

    quality: int
    jpeg_bytes: float
    origin: Origin


@dataclass(frozen=True, slots=True)
class Candidate:
    """`id` is the cut's, with the input's codec behind it where that is not int8: `input:raw`, `input:jpeg:75`.

    `frame_bytes` is what the edge publishes; `missing` says why it cannot be costed, "" where it can.
    """

    id: str
    cut: Cut
    input_codec: str | None
    payload_bytes: float
    payload_origin: Origin
    frame_bytes: float
    preprocess: Spread
    head: Spread
    encode: Spread
    decode: Spread
    tail: Spread
    load_s: float
    edge_memory_bytes: int
    edge_memory_origin: Origin
    missing: str = ""
    edge: Spread = field(init=False)
    cloud: Spread = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "edge", spread.total((self.preprocess, self.head, self.encode)))
        object.__setattr__(self, "cloud", spread.total((self.decode, self.tail)))

    @property
    def is_split(self) -> bool:
        return self.cut.head.operators > 0 and self.cut.tail.operators > 0


@dataclass(frozen=True, slots=True)
class Ways:
    """How the input itself may be sent; without a picture, JPEG of quality 75 is estimated."""

    raw: bool = True
    int8: bool = True
    jpeg: bool = True
    pictures: tuple[Picture, ...] = ()


ALL_WAYS = Ways()


def gather(cuts: Sequence[Cut], edge: Profile, cloud: Profile, ways: Ways = ALL_WAYS) -> list[Candidate]:
    """In cut order, the ways of sending the input first. Raw and JPEG are for models that take pictures."""
    heads = {entry.cut: entry for entry in edge.cuts}
    tails = {entry.cut: entry for entry in cloud.cuts}
    preprocess = spread.of(edge.preprocess) if edge.preprocess else spread.NOTHING
    found = [_of_cut(cut, heads.get(cut.id), tails.get(cut.id), preprocess) for cut in cuts]
    if found and found[0].cut.position == 0:
        found[:1] = _of_input(found[0], ways)
    return found


def _of_input(sent: Candidate, ways: Ways) -> list[Candidate]:
    found = []
    shape = sent.cut.boundary[0].shape
    if sent.preprocess is not spread.NOTHING and len(shape) >= 3 and shape[-1] in (1, 3):
        if ways.jpeg:
            found += [_as_jpeg(sent, picture) for picture in ways.pictures or (estimated_picture(sent.cut),)]
        if ways.raw:
            found.append(_raw(sent))
    return [*found, *([sent] if ways.int8 else [])]


def estimated_picture(cut: Cut, quality: int = 75) -> Picture:
    return Picture(quality, _elements(cut) * _JPEG_SHARE, Origin.ESTIMATED)


def _of_cut(cut: Cut, head: CutTiming | None, tail: CutTiming | None, preprocess: Spread) -> Candidate:
    absent = []
    if head is None and cut.head.operators:
        absent.append("the edge's profile has no timing of its head")
    if tail is None and cut.tail.operators:
        absent.append("the cloud's profile has no timing of its tail")
    coded_bytes = head.coded_bytes if head and head.coded_bytes is not None else None
    payload_bytes = cut.payload_bytes if coded_bytes is None else coded_bytes
    memory_bytes = head.memory_bytes if head else 0
    return Candidate(
        id=cut.id,
        cut=cut,
        input_codec="int8" if cut.position == 0 else None,
        payload_bytes=payload_bytes,
        payload_origin=Origin.MEASURED,
        frame_bytes=traffic.frame_bytes(cut.boundary, payload_bytes),
        preprocess=preprocess,
        head=spread.of(head.run) if head else spread.NOTHING,
        encode=spread.of(head.coding) if head else spread.NOTHING,
        decode=spread.of(tail.coding) if tail else spread.NOTHING,
        tail=spread.of(tail.run) if tail else spread.NOTHING,
        load_s=head.load_s if head else 0.0,
        edge_memory_bytes=memory_bytes or cut.head.parameter_bytes + cut.payload_bytes,
        edge_memory_origin=Origin.MEASURED if memory_bytes else Origin.ESTIMATED,
        missing="; ".join(absent),
    )


def _raw(sent: Candidate) -> Candidate:
    """The picture's pixels; the cloud preprocesses them, in the edge's time for want of its own."""
    raw_bytes = float(_elements(sent.cut))
    preprocess = spread.fixed(sent.preprocess.p50_s, Origin.ESTIMATED)
    return _sent_as(sent, "raw", raw_bytes, Origin.MEASURED, encode=spread.NOTHING, decode=preprocess)


def _as_jpeg(sent: Candidate, picture: Picture) -> Candidate:
    pixels = _elements(sent.cut) / sent.cut.boundary[0].shape[-1]
    return _sent_as(
        sent,
        f"jpeg:{picture.quality}",
        picture.jpeg_bytes,
        picture.origin,
        encode=spread.fixed(pixels / _JPEG_EDGE_PIXELS_PER_S, Origin.ESTIMATED),
        decode=spread.fixed(pixels / _JPEG_CLOUD_PIXELS_PER_S + sent.preprocess.p50_s, Origin.ESTIMATED),
    )


def _sent_as(
    sent: Candidate, codec: str, payload_bytes: float, origin: Origin, *, encode: Spread, decode: Spread
) -> Candidate:
    return Candidate(
        id=f"{sent.id}:{codec}",
        cut=sent.cut,
        input_codec=codec,
        payload_bytes=payload_bytes,
        payload_origin=origin,
        frame_bytes=traffic.frame_bytes(sent.cut.boundary, payload_bytes),
        preprocess=spread.NOTHING,
        head=sent.head,
        encode=encode,
        decode=decode,
        tail=sent.tail,
        load_s=0.0,
        edge_memory_bytes=sent.edge_memory_bytes,
        edge_memory_origin=sent.edge_memory_origin,
        missing=sent.missing,
    )


def _elements(cut: Cut) -> int:
    return math.prod(cut.boundary[0].shape)
