"""What features in fewer bits save and cost beside the lossless codecs: bytes as shares of int8's, and times.

    python benchmarks/payload_bits.py PKG SAMPLES

Ratios, over the useful cuts of a package; times are this machine's, of one payload, encoding and decoding.
"""

import argparse
import statistics
import time
import zlib
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

from edge_runtime.profiling.features import Features
from edge_runtime.sources import frames
from tflsplit.coding import bit_codec, feature_codec, levels, precisions
from tflsplit.coding.feature_codec import Buffer
from tflsplit.coding.precisions import Precision
from tflsplit.graph.cuts import Cut
from tflsplit.package import reading

_SAMPLES = 16
_ROUNDS = 20


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("package", type=Path)
    arguments.add_argument("samples")
    given = arguments.parse_args()
    package = reading.open_package(given.package)
    source = frames.open_source(given.samples, package.manifest)
    inputs = [taken.arrays for taken in islice(source.inputs(), _SAMPLES)]
    useful = [cut for cut in package.cuts if cut.is_useful and cut.tail.operators]
    features = Features(package, useful, inputs)
    print("| cut | bytes | zstd | zlib | " + " | ".join(f"{bits} bits" for bits in levels.BITS) + " |")
    print("|---" * (4 + len(levels.BITS)) + "|")
    for cut in useful:
        payloads = [b"".join(array.tobytes() for array in boundary) for boundary in features.of(cut)]
        measured = {each.bits: each for each in precisions.of_package(package) if each.cut == cut.id}
        cells = [_zstd(payloads), _cell(payloads, partial(zlib.compress, level=1), zlib.decompress)]
        cells += [_in_bits(payloads, cut, measured[bits]) if bits in measured else "" for bits in levels.BITS]
        print(f"| {cut.id} | {len(payloads[0]):,} | " + " | ".join(cells) + " |")


def _zstd(payloads: list[bytes]) -> str:
    coder = feature_codec.Zstd()
    return _cell(payloads, coder.encode, lambda coded: feature_codec.decode(coder.id, coded, len(payloads[0])))


def _in_bits(payloads: list[bytes], cut: Cut, found: Precision) -> str:
    coder = bit_codec.Bits(cut.boundary, found.levels, found.bits)
    agrees = found.fidelity.top1_agreement
    cell = _cell(payloads, coder.encode, lambda coded: bit_codec.decode(coded, cut.boundary, found.bits))
    return cell + ("" if agrees is None else f" ({agrees:.0%})")


def _cell(payloads: list[bytes], encode: Callable[[bytes], Buffer], decode: Callable[[Buffer], Buffer]) -> str:
    coded = [encode(raw) for raw in payloads]
    share = sum(map(len, coded)) / sum(map(len, payloads))
    times = [_median_s(lambda: encode(payloads[0])), _median_s(lambda: decode(coded[0]))]
    return f"{share:.2f}, {times[0] * 1e6:.0f} + {times[1] * 1e6:.0f} µs"


def _median_s(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(_ROUNDS):
        began_s = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began_s)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
