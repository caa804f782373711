"""The cloud's answer to a frame: JSON that people, Node-RED or Home Assistant can use directly.

    {"device": "cam-1", "boot": "00c0ffee00c0ffee", "sequence": 7, "cut": "block_6_expand", "package": "9f…",
     "exact": true, "label": "cat", "score": 0.93, "top": [{"label": "cat", "score": 0.93}, …], "values": null,
     "times": {"captured_ms": …, "head_ms": 3.1, "received_ms": …, "queue_ms": 0.2, "decode_ms": 0.1, "tail_ms": 5.0,
     "sent_ms": …}, "outputs": null}

`exact` is true where the head gave bit for bit what it would have given in the cloud, so that the result is that of the
whole model there; false where an operator of the head computes otherwise at the edge or the frame lost detail on its
way, null where that is not known.

A detector's results have `objects`, best first, each with `label`, `score` and `box`: x, y, width and height as
fractions of the source's picture; some have `keypoints` too; and `counts`, how many of each label. A segmenter's have
`shares` of classes (`label`, `share`), those of a pose `keypoints` (`label`, `score`, `x`, `y`). `label`, `score` and
`top` are then those of the best objects of different labels.

`step` is there where frames are a stream: how many its state holds, with this one; 1 where it began anew.

If the input travelled as pixels the cloud adds `"input_codec": "raw"` or `"jpeg"`, and `"lossy"`, true for a JPEG;
where features travelled in fewer bits, `"bits"` and `"lossy": true`. Each input of a frame of several has a result of
its own, with `"first"`, the sequence of the first of them; its times are those of the whole frame.

`mask` is there where the frame asked for it and the model segments: a PNG in base64, always the last key; null where it
was left out, being too large for the broker.

A refused frame is answered with {"device", "boot", "sequence", "error", "sent_ms"}. `boot` is hexadecimal text, because
JavaScript's numbers do not hold 64 bits.
"""

import base64
import binascii
import json
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from broker.messages import wire
from tflsplit import errors, strict_json
from tflsplit.coding.input_codec import Pixels
from tflsplit.decoding import maps
from tflsplit.decoding.found import Found
from tflsplit.graph import tensors
from tflsplit.values.classes import dataclass

MAX_JSON_BYTES = 16 << 20
# Refusals that say nothing of the frame: it is for a cloud with other packages, or other tails of its package.
NOT_SERVED = ("wrong_package", "wrong_cut")
# A refusal that settles nothing: the cloud has as many frames of that device as it may have.
BUSY = "busy"
# The state that a stream has left is not there: with frames before it unanswered it may still come, and be answered.
STATE = "state"
# The result does not fit the broker's packet limit.
TOO_LARGE = "too_large"
# Made once, because `json.dumps` makes an encoder in each call.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_quote = json.encoder.encode_basestring
# The cut of a result that is of the device alone: the whole model ran there.
WHOLE = "output"
# How a result ends whose mask was left out.
MASK_LEFT_OUT = b',"mask":null}'
# Why edges leave out answers to an earlier run, for watchers too: nothing is lost, clouds say results again.
ANOTHER_RUN = "answer_to_another_run"
_MASK = b',"mask":"'
_EXACT = {True: "true", False: "false", None: "null"}
_HEXADECIMAL = frozenset("0123456789abcdef")


@dataclass(slots=True)
class Times:
    """`captured_ms`, `received_ms` and `sent_ms` are ms since the epoch, each by the clock of the machine that took it;
    the others are durations in ms. `queue_ms` is the wait in the cloud between arrival and the tail's turn."""

    captured_ms: float
    head_ms: float
    received_ms: float
    queue_ms: float
    decode_ms: float
    tail_ms: float
    sent_ms: float

    def __post_init__(self) -> None:
        spans_ms = self.head_ms + self.queue_ms + self.decode_ms + self.tail_ms
        if math.isfinite(self.captured_ms + self.received_ms + self.sent_ms + spans_ms):
            return
        for name in self.__slots__:
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"time {name} is {getattr(self, name)}, expected a finite number")


_times, _TIMES = operator.attrgetter(*Times.__slots__), ",".join(f'"{name}":%r' for name in Times.__slots__)


class Score(NamedTuple):
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Output:
    """A raw output tensor, for frames with `wants_raw`. `data` is in C order, little endian."""

    spec: tensors.TensorSpec
    data: bytes

    def __post_init__(self) -> None:
        if len(self.data) != self.spec.bytes:
            raise ValueError(f"output {self.spec.name!r} has {len(self.data)} bytes, expected {self.spec.bytes}")

    @classmethod
    def of(cls, spec: tensors.TensorSpec, array: tensors.Array) -> "Output":
        little = np.ascontiguousarray(array, dtype=np.dtype(spec.dtype).newbyteorder("<"))
        return cls(spec, little.tobytes())

    def array(self) -> tensors.Array:
        """A read-only view."""
        flat: tensors.Array = np.frombuffer(self.data, np.dtype(self.spec.dtype).newbyteorder("<"))
        return flat.reshape(self.spec.shape)


@dataclass(slots=True, repr=False)
class Result:
    """The result of a frame. `top` is sorted, best first; its first entry is also `label` and `score` in the JSON. It
    is empty for a model without classes, whose dequantised outputs are in `values`, by name, if they are short. `cut`
    and `package` (hexadecimal) are the frame's, `pixels` is how it carried a picture (None: as stored). `is_exact` says
    whether the tail got what a head in the cloud would have given it, None if that is not known; `bits` in how many
    bits features travelled, None: as they are. `step` counts the frames that its state holds, from 1; None where each
    frame is alone. `first` is the sequence of the first input in the frame, if it held several. `found` is what a
    model of objects, shares or keypoints found, None for others. `mask` is a PNG of class numbers; None where the frame
    did not ask for it, empty where it was left out."""

    device: str
    boot: int
    sequence: int
    cut: str
    package: str
    times: Times
    top: tuple[Score, ...] = ()
    values: tuple[tuple[str, tuple[float, ...]], ...] = ()
    outputs: tuple[Output, ...] = ()
    pixels: Pixels | None = None
    is_exact: bool | None = None
    bits: int | None = None
    step: int | None = None
    first: int | None = None
    found: Found | None = None
    mask: bytes | None = None

    def __post_init__(self) -> None:
        for label, score in self.top:
            if not math.isfinite(score):
                raise ValueError(f"score of {label!r} is {score}, expected a finite number")
        if self.mask and not self.mask.startswith(maps.PNG):
            raise ValueError("mask is no PNG")
        for _, values in self.values:
            if not all(map(math.isfinite, values)):
                raise ValueError("values of a result must be finite numbers: JSON has no others")

    def __repr__(self) -> str:
        found = f": {self.top[0].label} ({self.top[0].score:.2f})" if self.top else ""
        return f"<result of {self.device}, frame {self.sequence} at {self.cut}{found}>"

    @property
    def is_of_device(self) -> bool:
        """Whether the device computed all of it."""
        return self.cut == WHOLE

    @property
    def label(self) -> str | None:
        return self.top[0].label if self.top else None

    @property
    def score(self) -> float | None:
        return self.top[0].score if self.top else None

    def as_json(self) -> bytes:
        # Formatted by hand: encoding the whole as one object takes nearly twice as long.
        top = ",".join([f'{{"label":{_quote(entry.label)},"score":{entry.score!r}}}' for entry in self.top])
        label, score = (_quote(self.top[0].label), repr(self.top[0].score)) if self.top else ("null", "null")
        values = ",".join(
            [f"{_quote(name)}:[{','.join(map(repr, values))}]" for name, values in dict(self.values).items()]
        )
        values = f"{{{values}}}" if values else "null"
        outputs = _encode([_output_as_json(output) for output in self.outputs]) if self.outputs else "null"
        pixels = ""
        if self.pixels is not None:
            pixels = f',"input_codec":{_encode(self.pixels.value)},"lossy":{_encode(self.pixels.is_lossy)}'
        if self.bits is not None:
            pixels = f',"bits":{self.bits},"lossy":true'
        if self.first is not None:
            pixels += f',"first":{self.first}'
        if self.found is not None:
            pixels += f",{_encode(self.found.as_json())[1:-1]}"
        step = "" if self.step is None else f',"step":{self.step}'
        if self.mask is not None:
            step += f',"mask":{_encode(base64.b64encode(self.mask).decode("ascii") or None)}'
        return (
            f'{{"device":{_quote(self.device)},"boot":"{self.boot:016x}","sequence":{self.sequence},'
            f'"cut":{_quote(self.cut)},"package":{_quote(self.package)},'
            f'"exact":{_EXACT[self.is_exact]},'
            f'"label":{label},"score":{score},"top":[{top}],"values":{values},'
            f'"times":{{{_TIMES % _times(self.times)}}},"outputs":{outputs}{pixels}{step}}}'
        ).encode()


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a frame that was not run; `boot` and `sequence` are None if the frame was too damaged to tell.

    `refused` is the kind of the reason, as clouds count them. Sending the same frame to this cloud again cannot help,
    unless it `is_busy` or `is_of_state`.
    """

    device: str
    boot: int | None
    sequence: int | None
    error: str
    sent_ms: float
    refused: str | None = None

    @property
    def is_of_package(self) -> bool:
        """Whether the cloud does not serve the frame's package or cut; another one may."""
        return self.refused in NOT_SERVED

    @property
    def is_busy(self) -> bool:
        """Whether the frame is to be sent again later: its device has too many waiting."""
        return self.refused == BUSY

    @property
    def is_of_state(self) -> bool:
        """Whether the state that the frame's stream has left is not there."""
        return self.refused == STATE

    def as_json(self) -> bytes:
        fields = {name: getattr(self, name) for name in self.__slots__}
        if self.refused is None:
            del fields["refused"]
        return _encode(fields | {"boot": None if self.boot is None else f"{self.boot:016x}"}).encode()


def mask_of(found: Found | None) -> bytes | None:
    """What a result has as its mask: empty where numbers of classes do not fit a PNG, None where the model does not
    segment."""
    if found is None or found.mask is None:
        return None
    try:
        return maps.png(found.mask)
    except errors.DataError:
        return b""


def not_fitting(result_bytes: int, limit: int) -> str:
    """The reason of a refusal as `TOO_LARGE`."""
    return f"result of {result_bytes} bytes does not fit the broker's packet limit of {limit}"


def without_mask(encoded: bytes) -> bytes:
    """One of our encoded results with its mask left out; as it is where it has none. A quote in a text is escaped, so
    the key is found by its bytes."""
    before, key, _ = encoded.rpartition(_MASK)
    return before + MASK_LEFT_OUT if key else encoded


def parse(data: bytes | bytearray | memoryview) -> Result | Refusal:
    """A message on `results`; FrameError says what is wrong with anything else. Unknown keys are allowed."""
    if len(data) > MAX_JSON_BYTES:
        raise errors.FrameError(f"result is {len(data)} bytes, at most {MAX_JSON_BYTES} are accepted")
    try:
        fields = strict_json.parse(bytes(data))
    except (ValueError, RecursionError) as problem:
        raise errors.FrameError(f"result is not JSON: {problem}") from problem
    if not isinstance(fields, dict):
        raise errors.FrameError(f"result is a JSON {type(fields).__name__}, expected an object")
    try:
        return _refusal(fields) if "error" in fields else _result(fields)
    except (ValueError, OverflowError, binascii.Error) as problem:
        raise errors.FrameError(f"result: {problem}") from problem


def _output_as_json(output: Output) -> dict[str, object]:
    return {**output.spec.as_json(), "data": base64.b64encode(output.data).decode("ascii")}


def _refusal(fields: Mapping[str, Any]) -> Refusal:
    return Refusal(
        device=_text(fields, "device"),
        boot=None if fields.get("boot") is None else _boot(fields),
        sequence=None if fields.get("sequence") is None else _sequence(fields),
        error=_text(fields, "error"),
        sent_ms=_number(fields, "sent_ms"),
        refused=None if fields.get("refused") is None else _text(fields, "refused"),
    )


def _result(fields: Mapping[str, Any]) -> Result:
    times = _one(fields, "times", dict)
    values = {} if fields.get("values") is None else _one(fields, "values", dict)
    return Result(
        device=_text(fields, "device"),
        boot=_boot(fields),
        sequence=_sequence(fields),
        cut=_text(fields, "cut"),
        package=_text(fields, "package"),
        times=Times(*[_number(times, name) for name in Times.__slots__]),
        top=tuple([Score(_text(entry, "label"), _number(entry, "score")) for entry in _objects(fields, "top")]),
        values=tuple([(name, _numbers(values, name)) for name in values]),
        outputs=tuple([_output(entry) for entry in _objects(fields, "outputs")]),
        pixels=None if fields.get("input_codec") is None else Pixels(_text(fields, "input_codec")),
        is_exact=None if fields.get("exact") is None else _one(fields, "exact", bool),
        bits=None if fields.get("bits") is None else _one(fields, "bits", int),
        step=None if fields.get("step") is None else _one(fields, "step", int),
        first=None if fields.get("first") is None else _sequence(fields, "first"),
        found=_found(fields),
        mask=_mask(fields) if "mask" in fields else None,
    )


def _found(fields: Mapping[str, Any]) -> Found | None:
    try:
        return Found.from_json(fields)
    except (KeyError, TypeError, AttributeError) as problem:
        raise ValueError(f"objects, shares or keypoints are not as they are made ({problem!r:.60})") from problem


def _mask(fields: Mapping[str, Any]) -> bytes:
    return b"" if fields["mask"] is None else base64.b64decode(_text(fields, "mask"), validate=True)


def _output(fields: Mapping[str, Any]) -> Output:
    shape = _entries(fields, "shape")
    if not all(type(extent) is int for extent in shape):
        raise ValueError(f"output shape {shape!r} is not a list of integers")
    spec = tensors.TensorSpec(
        _text(fields, "name"),
        tuple(shape),
        _text(fields, "dtype"),
        _number(fields, "scale"),
        _one(fields, "zero_point", int),
    )
    return Output(spec, base64.b64decode(_text(fields, "data"), validate=True))


def _boot(fields: Mapping[str, Any]) -> int:
    text = _text(fields, "boot")
    if len(text) != 16 or not _HEXADECIMAL.issuperset(text):
        raise ValueError(f"boot {text!r} is not 16 hexadecimal digits")
    return int(text, 16)


def _sequence(fields: Mapping[str, Any], name: str = "sequence") -> int:
    sequence: int = _one(fields, name, int)
    if not 0 <= sequence <= wire.MAX_SEQUENCE:
        raise ValueError(f"{name} {sequence} is outside 0..{wire.MAX_SEQUENCE}")
    return sequence


def _text(fields: Mapping[str, Any], name: str) -> str:
    found = fields.get(name)
    return found if type(found) is str else str(_one(fields, name, str))


def _number(fields: Mapping[str, Any], name: str) -> float:
    found = fields.get(name)
    return found if type(found) is float else float(_one(fields, name, int, float))


def _numbers(fields: Mapping[str, Any], name: str) -> tuple[float, ...]:
    return tuple([each if type(each) is float else _number({name: each}, name) for each in _entries(fields, name)])


def _one(fields: Mapping[str, Any], name: str, *kinds: type) -> Any:
    if type(fields.get(name)) not in kinds:  # exact: True is no number
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"{name} is {fields.get(name)!r:.60}, expected {expected}")
    return fields[name]


def _entries(fields: Mapping[str, Any], name: str) -> Sequence[Any]:
    """A list, or nothing for null and for an absent key."""
    found = fields.get(name)
    if found is None:
        return ()
    if not isinstance(found, list):
        raise ValueError(f"{name} is {found!r:.60}, expected list")
    return found


def _objects(fields: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    entries = _entries(fields, name)
    for entry in entries:
        if not isinstance(entry, dict):
            raise ValueError(f"{name} holds {entry!r:.60}, expected objects")
    return entries
