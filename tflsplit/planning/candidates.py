"""What competes: every cut, the input sent raw or as JPEG, and everything local, each with its measured times.

A candidate holds everything that does not depend on link, rate and prices, so that a plan can try many of these.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

from tflsplit.coding.precisions import Precision
from tflsplit.fidelity import Fidelity
from tflsplit.graph.cuts import Cut
from tflsplit.inputs import pictures
from tflsplit.kernels.heads import Standing
from tflsplit.planning import exactness, network
from tflsplit.planning.exactness import Judgement
from tflsplit.timings import distribution
from tflsplit.timings.distribution import Distribution
from tflsplit.timings.profiles import BitsTiming, CutTiming, Origin, PixelTiming, Profile
from tflsplit.values.classes import dataclass, field, replace

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
    """`id` is the cut's, with the input's codec behind it where that is not int8 (`input:raw`, `input:jpeg:75`), or the
    `bits` of features that do not travel as they are (`op012:4bit`). What these lose is in `fidelity`, against frames
    without loss.

    `frame_bytes` is what the edge publishes; `missing` says why it cannot be costed, "" where it can. `standing` is
    that of the head against the cloud's kernels, `inexact` says why it is not exact; a JPEG and fewer bits never are. A
    frame holds `batch` inputs, and every figure is of the whole frame. `besides_s` is what the edge does for a frame
    beside these parts, `switch_s` how much longer its head takes behind another model's; 0 where they are not known.
    """

    id: str
    cut: Cut
    input_codec: str | None
    payload_bytes: float
    payload_origin: Origin
    frame_bytes: float
    preprocess: Distribution
    head: Distribution
    encode: Distribution
    decode: Distribution
    tail: Distribution
    load_s: float
    edge_memory_bytes: int
    edge_memory_origin: Origin
    missing: str = ""
    standing: Standing = Standing.UNKNOWN
    inexact: str = ""
    bits: int | None = None
    fidelity: Fidelity | None = None
    batch: int = 1
    besides_s: float = 0.0
    switch_s: float = 0.0
    edge: Distribution = field(init=False)
    cloud: Distribution = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "edge", distribution.total((self.preprocess, self.head, self.encode)))
        object.__setattr__(self, "cloud", distribution.total((self.decode, self.tail)))

    @property
    def is_exact(self) -> bool:
        return self.standing is Standing.EXACT

    @property
    def is_split(self) -> bool:
        return self.cut.head.operators > 0 and self.cut.tail.operators > 0


@dataclass(frozen=True, slots=True)
class InputForms:
    """The forms in which the input itself may be sent. Without `pictures`, JPEG has quality 75."""

    raw: bool = True
    int8: bool = True
    jpeg: bool = True
    pictures: tuple[Picture, ...] = ()


ALL_FORMS = InputForms()


def gather(
    cuts: Sequence[Cut],
    edge: Profile,
    cloud: Profile,
    forms: InputForms = ALL_FORMS,
    judged: Mapping[str, Judgement] | None = None,
    *,
    lossy: Sequence[Precision] = (),
) -> list[Candidate]:
    """In cut order, beginning with the forms of the input. Raw and JPEG are for models that take pictures. `judged`
    says of each cut if it is exact; `lossy` are the fewer bits that may be sent. Both profiles are of one batch."""
    heads = {entry.cut: entry for entry in edge.cuts}
    tails = {entry.cut: entry for entry in cloud.cuts}
    preprocess = distribution.of(edge.preprocess) if edge.preprocess else distribution.NOTHING
    besides_s, switch_s = _besides(edge)
    found = []
    for cut in cuts:
        standing, inexact = (judged or {}).get(cut.id, exactness.UNJUDGED)
        costed = _of_cut(cut, heads.get(cut.id), tails.get(cut.id), preprocess, edge.batch)
        costed = replace(costed, besides_s=besides_s, switch_s=switch_s if cut.head.operators else 0.0)
        found.append(replace(costed, standing=standing, inexact=inexact))
    found = [each for sent in found for each in (sent, *_in_bits(sent, heads.get(sent.id), tails.get(sent.id), lossy))]
    if found and found[0].cut.position == 0:
        found[:1] = _of_input(found[0], forms, edge, cloud)
    return found


def _besides(edge: Profile) -> tuple[float, float]:
    if edge.besides is None:
        return 0.0, 0.0
    return edge.besides.of_frame_s(int(edge.machine.get("threads", 1))), edge.besides.switch_s or 0.0


def named(cut: str, bits: int | None, codec: str | None) -> str:
    """The id of a candidate: the cut's, and behind it how features or the input travel if not as they are."""
    return with_bits(cut, bits) if codec in (None, "int8") else f"{cut}:{codec}"


def with_bits(cut_id: str, bits: int | None) -> str:
    """How a cut is named whose features travel in so many bits."""
    return cut_id if bits is None else f"{cut_id}:{bits}bit"


def _in_bits(
    sent: Candidate, head: CutTiming | None, tail: CutTiming | None, lossy: Sequence[Precision]
) -> Iterator[Candidate]:
    for each in (entry for entry in lossy if entry.cut == sent.id):
        at_edge, in_cloud = (_bits_timing(timing, each.bits) for timing in (head, tail))
        sides = [side for side, timing in (("edge", at_edge), ("cloud", in_cloud)) if timing is None]
        absent = f"the profile of the {' and the '.join(sides)} has no timing of {each.bits} bits; profile again"
        payload_bytes = each.payload_bytes(sent.cut, 1 if sent.missing else sent.batch)
        yield replace(
            sent,
            id=with_bits(sent.id, each.bits),
            payload_bytes=payload_bytes,
            frame_bytes=network.frame_bytes(sent.cut.boundary, payload_bytes, sent.batch),
            encode=distribution.of(at_edge.coding) if at_edge else distribution.NOTHING,
            decode=distribution.of(in_cloud.coding) if in_cloud else distribution.NOTHING,
            missing=sent.missing or (absent if sides else ""),
            standing=Standing.INEXACT,
            inexact=f"in {each.bits} bits {each.fidelity.closeness_to('frames without loss')}",
            bits=each.bits,
            fidelity=each.fidelity,
        )


def _bits_timing(timing: CutTiming | None, bits: int) -> BitsTiming | None:
    return next((each for each in timing.in_bits if each.bits == bits), None) if timing else None


def _of_input(sent: Candidate, forms: InputForms, edge: Profile, cloud: Profile) -> list[Candidate]:
    found = []
    if sent.preprocess is not distribution.NOTHING and pictures.is_picture(sent.cut.boundary[0].shape):
        sides = _Sides(sent, edge, cloud)
        if forms.jpeg:
            sizes = forms.pictures or (picture_of(sent.cut, 75, edge),)
            found += [sides.sent_as(f"jpeg:{one.quality}", one.jpeg_bytes, one.origin) for one in sizes]
        if forms.raw:
            found.append(sides.sent_as("raw", float(_elements(sent.cut)), Origin.MEASURED))
    return [*found, *([sent] if forms.int8 else [])]


def picture_of(cut: Cut, quality: int, edge: Profile) -> Picture:
    """The input as JPEG, with the size that the edge's profile measured, else an estimate."""
    for timing in edge.pixels:
        if timing.input_codec == f"jpeg:{quality}" and timing.coded_bytes is not None:
            return Picture(quality, timing.coded_bytes, Origin.MEASURED)
    return Picture(quality, _elements(cut) * _JPEG_SHARE, Origin.ESTIMATED)


def _of_cut(
    cut: Cut, head: CutTiming | None, tail: CutTiming | None, preprocess: Distribution, batch: int
) -> Candidate:
    absent = []
    at_once = f" for {batch} inputs at once; its notes say why" if batch > 1 else ""
    if head is None and cut.head.operators:
        absent.append(f"the edge's profile has no timing of its head{at_once}")
    if tail is None and cut.tail.operators:
        absent.append(f"the cloud's profile has no timing of its tail{at_once}")
    payload_bytes = head.coded_bytes if head and head.coded_bytes is not None else cut.payload_bytes * batch
    memory_bytes = head.memory_bytes if head else 0
    return Candidate(
        id=cut.id,
        cut=cut,
        input_codec="int8" if cut.position == 0 else None,
        payload_bytes=payload_bytes,
        payload_origin=Origin.MEASURED,
        frame_bytes=network.frame_bytes(cut.boundary, payload_bytes, batch),
        preprocess=preprocess,
        head=distribution.of(head.run) if head else distribution.NOTHING,
        encode=distribution.of(head.coding) if head else distribution.NOTHING,
        decode=distribution.of(tail.coding) if tail else distribution.NOTHING,
        tail=distribution.of(tail.run) if tail else distribution.NOTHING,
        load_s=head.load_s if head else 0.0,
        edge_memory_bytes=memory_bytes or cut.head.parameter_bytes + cut.payload_bytes,
        edge_memory_origin=Origin.MEASURED if memory_bytes else Origin.ESTIMATED,
        missing="; ".join(absent),
        batch=batch,
    )


@dataclass(frozen=True, slots=True)
class _Sides:
    """What sending pixels in place of the stored input `sent` costs the two sides, as far as their profiles say."""

    sent: Candidate
    edge: Profile
    cloud: Profile

    def sent_as(self, codec: str, payload_bytes: float, origin: Origin) -> Candidate:
        sent, at_edge, in_cloud = self.sent, _pixel_timing(self.edge, codec), _pixel_timing(self.cloud, codec)
        # Without a timing, reading the picture counts as 0 s: preprocessing is the cloud's.
        capture = (
            distribution.of(at_edge.capture)
            if at_edge and at_edge.capture
            else distribution.fixed(0.0, Origin.ESTIMATED)
        )
        return Candidate(
            id=f"{sent.id}:{codec}",
            cut=sent.cut,
            input_codec=codec,
            payload_bytes=payload_bytes,
            payload_origin=origin,
            frame_bytes=network.frame_bytes(sent.cut.boundary, payload_bytes),
            preprocess=capture,
            head=sent.head,
            encode=_coding(at_edge, codec) or self._estimated(codec, _JPEG_EDGE_PIXELS_PER_S),
            decode=_coding(in_cloud, codec) or self._estimated(codec, _JPEG_CLOUD_PIXELS_PER_S, preprocesses=True),
            tail=sent.tail,
            load_s=0.0,
            edge_memory_bytes=sent.edge_memory_bytes,
            edge_memory_origin=sent.edge_memory_origin,
            missing=sent.missing,
            standing=Standing.INEXACT if codec.startswith("jpeg") else sent.standing,
            inexact="JPEG loses detail" if codec.startswith("jpeg") else sent.inexact,
        )

    def _estimated(self, codec: str, pixels_per_s: float, *, preprocesses: bool = False) -> Distribution:
        """Where nothing was timed. The cloud is assumed to preprocess as fast as the edge."""
        pixels = _elements(self.sent.cut) / self.sent.cut.boundary[0].shape[-1]
        coding_s = 0.0 if codec == "raw" else pixels / pixels_per_s
        return distribution.fixed(coding_s + preprocesses * self.sent.preprocess.p50_s, Origin.ESTIMATED)


def _pixel_timing(profile: Profile, codec: str) -> PixelTiming | None:
    """The timing of sending pixels with this codec, or as a JPEG of another quality."""
    kind = codec.partition(":")[0]
    alike = [timing for timing in profile.pixels if timing.input_codec.partition(":")[0] == kind]
    return next((timing for timing in alike if timing.input_codec == codec), alike[0] if alike else None)


def _coding(timing: PixelTiming | None, codec: str) -> Distribution | None:
    if timing is None:
        return None
    found = distribution.of(timing.coding)
    return found if timing.input_codec == codec else replace(found, origin=Origin.ESTIMATED)


def _elements(cut: Cut) -> int:
    return math.prod(cut.boundary[0].shape)
