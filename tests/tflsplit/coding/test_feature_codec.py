import sys

import numpy as np
import pytest
import zstandard

from tflsplit import errors
from tflsplit.coding import feature_codec


def test_compressible_features_choose_zstd():
    sparse = np.random.default_rng(1).binomial(1, 0.05, 12_544).astype(np.int8).tobytes()

    choice = feature_codec.choose([sparse, sparse])

    assert choice.id is feature_codec.CodecId.ZSTD
    assert choice.raw_bytes == 2 * 12_544
    assert choice.saving > feature_codec.MIN_SAVING
    assert isinstance(choice.build(), feature_codec.Zstd)


def test_noise_is_sent_as_it_is():
    noise = np.random.default_rng(1).integers(-128, 128, 12_544, dtype=np.int8).tobytes()

    choice = feature_codec.choose([noise])

    assert choice.id is feature_codec.CodecId.NONE
    assert choice.saving < feature_codec.MIN_SAVING
    assert isinstance(choice.build(), feature_codec.Plain)


def test_without_samples_nothing_is_coded():
    assert feature_codec.choose([]).id is feature_codec.CodecId.NONE
    assert feature_codec.choose([]).saving == 0.0


@pytest.mark.parametrize("coder", [feature_codec.Plain(), feature_codec.Zstd(), feature_codec.Zstd(9)])
@pytest.mark.parametrize("raw", [b"", b"x", bytes(100_000), bytearray(b"ab" * 50), memoryview(b"view")])
def test_coded_bytes_come_back(coder, raw):
    assert bytes(feature_codec.decode(coder.id, coder.encode(raw), len(raw))) == bytes(raw)


def test_plain_bytes_are_not_copied():
    raw = memoryview(b"features")
    assert feature_codec.decode(feature_codec.CodecId.NONE, feature_codec.Plain().encode(raw), 8) is raw


def bomb():
    return zstandard.ZstdCompressor(level=19).compress(bytes(256 << 20))


@pytest.mark.parametrize(
    ("coded", "expected"),
    [
        (b"", "damaged"),
        (b"not zstd at all", "damaged"),
        (zstandard.ZstdCompressor().compress(bytes(101)), "does not declare the expected 100 bytes"),
        (zstandard.ZstdCompressor(write_content_size=False).compress(bytes(100)), "does not declare"),
        (zstandard.ZstdCompressor().compress(bytes(100)) + b"more", "damaged"),
        (zstandard.ZstdCompressor().compress(bytes(100))[:-1], "damaged"),
        (bomb(), "does not declare"),
    ],
)
def test_zstd_payload_of_another_size_is_refused(coded, expected):
    with pytest.raises(errors.FrameError, match=expected):
        feature_codec.decode(feature_codec.CodecId.ZSTD, coded, 100)


def test_bomb_that_declares_a_small_size_is_refused():
    forged = bytearray(zstandard.ZstdCompressor(level=1).compress(bytes(1 << 20)))
    honest = zstandard.ZstdCompressor(level=1).compress(bytes(70_000))
    assert zstandard.get_frame_parameters(bytes(forged)).content_size == 1 << 20
    size_at = 5
    forged[size_at : size_at + 4] = honest[size_at : size_at + 4]
    with pytest.raises(errors.FrameError):
        feature_codec.decode(feature_codec.CodecId.ZSTD, bytes(forged), 70_000)


def test_unknown_codec_is_named():
    with pytest.raises(errors.FrameError, match=r"codec 7 is not known here, only 0 \(none\), 1 \(zstd\)"):
        feature_codec.decode(7, b"", 0)


def test_absent_zstandard_names_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)  # as if it were not installed
    with pytest.raises(errors.DeviceError, match=r"zstandard, which is not installed: pip install .*\[edge\]"):
        feature_codec.Zstd()
