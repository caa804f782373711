"""Features in fewer bits: what comes out is what plain NumPy makes of them, and what is no such payload is refused."""

import in_bits
import numpy as np
import pytest

from tflsplit import errors
from tflsplit.coding import bit_codec, feature_codec, levels
from tflsplit.graph.tensors import TensorSpec

RNG = np.random.default_rng(0)
ALL_BITS = pytest.mark.parametrize("bits", levels.BITS)


def made(*specs):
    return tuple(
        RNG.normal(size=spec.shape).astype(spec.dtype)
        if spec.dtype == "float32"
        else np.clip(RNG.normal(0, 40, spec.shape), np.iinfo(spec.dtype).min, np.iinfo(spec.dtype).max).astype(
            spec.dtype
        )
        for spec in specs
    )


def coded(specs, arrays, bits):
    chosen = tuple(
        levels.best(levels.histogram([array]), bits) if levels.can_be_coded(spec) else None
        for spec, array in zip(specs, arrays, strict=True)
    )
    coder = bit_codec.Bits(specs, chosen, bits)
    return chosen, coder.encode(b"".join(array.tobytes() for array in arrays))


@ALL_BITS
@pytest.mark.parametrize(
    "specs",
    [
        *[(TensorSpec("", (count,), "int8", 0.1, -5),) for count in (1, 7, 8, 9, 1000)],
        (TensorSpec("", (1, 5, 3), "uint8", 0.1, 3),),
        (TensorSpec("", (3,), "int8", 0.1), TensorSpec("", (2,), "float32"), TensorSpec("", (6,), "uint8", 0.2, 1)),
        (TensorSpec("", (2,), "int32", 0.1), TensorSpec("", (4,), "int8")),
    ],
)
def test_what_comes_out_is_what_numpy_makes_of_it(specs, bits):
    arrays = made(*specs)
    chosen, payload = coded(specs, arrays, bits)

    expected = [
        array if own is None else in_bits.received(array, own) for array, own in zip(arrays, chosen, strict=True)
    ]
    assert bit_codec.decode(payload, specs, bits) == b"".join(array.tobytes() for array in expected)
    assert len(payload) == bit_codec.payload_bytes(specs, chosen, bits)


@ALL_BITS
def test_many_features_take_their_bits_and_the_levels(bits):
    spec = TensorSpec("", (1, 56, 56, 24), "int8", 0.1, 0)
    _, payload = coded((spec,), made(spec), bits)

    assert len(payload) == spec.elements * bits // 8 + 1 + (1 << bits)


@ALL_BITS
def test_a_codec_has_an_id_that_says_its_bits(bits):
    assert bit_codec.codec_id(bits) == 32 + bits
    assert bit_codec.bits_of(32 + bits) == bits
    assert [bit_codec.bits_of(other) for other in (0, 1, 16, 33, 37, 39)] == [None] * 6


SPEC = TensorSpec("", (16,), "int8", 0.1, 0)


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"", "ends within the levels"),
        (bytes([3, 1, 2]), "ends within the levels"),
        (bytes([5]) + bytes(5) + bytes(4), "has 5 levels for a tensor of int8"),
        (bytes([2, 1, 2]) + bytes(3), "is 6 bytes, expected 7"),
        (bytes([2, 1, 2]) + bytes(5), "is 8 bytes, expected 7"),
        (bytes([2, 1, 2, 0xFF]) + bytes(3), "names level 3 of 2"),
    ],
)
def test_what_is_no_payload_of_the_boundary_is_refused(payload, said):
    with pytest.raises(errors.FrameError, match=said):
        bit_codec.decode(payload, (SPEC,), 2)


def test_a_tensor_that_is_no_quantised_byte_cannot_have_levels():
    with pytest.raises(errors.FrameError, match="1 levels for a tensor of float32"):
        bit_codec.decode(bytes([1, 0]) + bytes(8), (TensorSpec("", (2,), "float32"),), 2)


def test_who_does_not_know_a_number_of_bits_names_the_codec():
    with pytest.raises(errors.FrameError, match=r"codec 37 is not known here.*is the sender newer"):
        feature_codec.decode(37, b"", 0)
