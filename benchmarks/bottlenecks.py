"""The analysis of Dynamic Split Computing (Bakhtiarnia et al., ICASSP 2023) again, with bytes as they are sent:
natural bottlenecks of every EfficientNet of Keras, and at how many data rates a split wins.

    python benchmarks/bottlenecks.py docs/measurements/bottlenecks.md

Needs TensorFlow and no network: shapes and times do not depend on weights. Some minutes.
"""

import itertools
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from edge_runtime.machine import environment
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import reading
from tflsplit.package.reading import Package
from tflsplit.package.verify import random_samples

# What the paper states: its models have 15 to 68 natural bottlenecks.
PUBLISHED = {"EfficientNetB0": 15, "EfficientNetV2L": 68}
MODELS = (
    *(f"EfficientNetB{number}" for number in range(8)),
    *(f"EfficientNetV2B{number}" for number in range(4)),
    *(f"EfficientNetV2{size}" for size in "SML"),
)
TIMED, SIDE = "EfficientNetB0", 224
SLOWER = (4, 16)
RUNS = 25
# The paper's grid, in MB/s and not in Mbit/s, and the rates of ordinary uplinks, which it leaves out.
FAST, SLOW = range(1, 128), [step / 10 for step in range(1, 101)]
# A picture of 224 x 224 as a JPEG of quality 90.
JPEG_BYTES = 12_000


@dataclass(frozen=True)
class Block:
    """The last layer of a block: its name, and its elements over those of the input."""

    layer: str
    share: float


@dataclass(frozen=True)
class Times:
    """Of one frame, in ms: the whole model on device and server, and head and tail at each block, by its share."""

    device: float
    server: float
    pairs: dict[float, tuple[float, float]]

    def slowed(self, slower: float) -> "Times":
        pairs = {share: (head * slower, tail) for share, (head, tail) in self.pairs.items()}
        return Times(self.device * slower, self.server, pairs)


# The authors' notebook as others ran it (BWDSC), batch 1: a TITAN Xp that is clocked down, and an RTX 3090 Ti; in the
# four blocks that are listed, whose shares are those of EfficientNetB0 at 224 x 224.
NOTEBOOK = Times(
    115.1, 33.4, {0.5: (10.96, 28.34), 0.2083: (21.21, 25.12), 0.1042: (29.82, 20.55), 0.0625: (63.08, 9.59)}
)


@dataclass(frozen=True)
class Accounting:
    """`bytes_of` gives the bytes of a block's features by its share, for an input of one element a byte."""

    name: str
    input_bytes: Callable[[int], float]
    bytes_a_feature: int


ACCOUNTINGS = (
    Accounting("float32 features, uint8 input (the paper's)", lambda elements: elements, 4),
    Accounting("float32 both ways (c < 1)", lambda elements: 4 * elements, 4),
    Accounting("int8 features, uint8 input (ours)", lambda elements: elements, 1),
    Accounting("int8 features, JPEG input", lambda elements: JPEG_BYTES, 1),
)


def built(name: str):
    import keras

    return getattr(keras.applications, name)(weights=None)


def blocks_of(model) -> list[Block]:
    """In the order of the model; a layer belongs to the block that its name begins with."""
    elements = int(np.prod(model.input_shape[1:]))
    last = {}
    for layer in model.layers:
        head = layer.name.split("_")[0]
        if head.startswith("block"):
            last[head] = Block(layer.name, int(np.prod(layer.output.shape[1:])) / elements)
    return list(last.values())


def below(blocks: Iterable[Block], share: float = 1.0) -> list[Block]:
    return [block for block in blocks if block.share < share]


def useful(blocks: Iterable[Block]) -> list[Block]:
    """Smaller than the input and than every earlier one: a later one of the same size costs the device more."""
    kept: list[Block] = []
    for block in below(blocks):
        if not kept or block.share < kept[-1].share:
            kept.append(block)
    return kept


def table_of_models(found: dict[str, tuple[int, list[Block]]]) -> Iterator[str]:
    yield "| model | input | blocks | natural bottlenecks | published | useful | float32 < uint8 input |"
    yield "|---|---|---|---|---|---|---|"
    for name, (side, blocks) in found.items():
        counts = (len(blocks), len(below(blocks)), PUBLISHED.get(name, ""), len(useful(blocks)))
        yield f"| {name} | {side} | {' | '.join(map(str, counts))} | {len(below(blocks, 0.25))} |"


def timed_ms(source: bytes) -> float:
    """The shortest of some runs: what else the machine does only adds to it."""
    interpreter = Interpreter(source, threads=1, name="half")
    arrays = random_samples(interpreter.inputs, 1)[0]
    found = []
    for _ in range(RUNS):
        began_s = time.perf_counter()
        interpreter.run(*arrays)
        found.append(time.perf_counter() - began_s)
    interpreter.close()
    return min(found) * 1e3


def times_of(package: Package, blocks: Sequence[Block]) -> Times:
    whole = timed_ms(package.model_bytes())
    cuts = {block.share: package.cut(block.layer) for block in blocks}
    pairs = {
        share: (timed_ms(package.head_bytes(cut)), timed_ms(package.tail_bytes(cut))) for share, cut in cuts.items()
    }
    return Times(whole, whole, pairs)


def options(times: Times, counted: Accounting, mbytes_s: float) -> dict[str, float]:
    """Milliseconds of each option by the paper's formula: head, bytes over rate, tail; no round trip."""
    elements, bytes_ms = SIDE * SIDE * 3, mbytes_s * 1e3
    found = {"local": times.device, "all sent": times.server + counted.input_bytes(elements) / bytes_ms}
    for share, (head, tail) in times.pairs.items():
        found[f"split at c = {share:.3g}"] = head + elements * share * counted.bytes_a_feature / bytes_ms + tail
    return found


@dataclass(frozen=True)
class Share:
    """Of cells in which each kind of option wins, and what the dynamic choice gains over the best that stays."""

    local: float
    sent: float
    split: float
    gain: float
    best: str


def share_of(times: Times, counted: Accounting, rates: Iterable[float]) -> Share:
    cells = [options(times, counted, rate) for rate in rates]
    winners = [min(cell, key=cell.__getitem__) for cell in cells]
    gains = {name: statistics.fmean(1 - min(cell.values()) / cell[name] for cell in cells) for name in cells[0]}
    best = min(gains, key=gains.__getitem__)
    local, sent = (winners.count(name) / len(cells) for name in ("local", "all sent"))
    return Share(local, sent, 1 - local - sent, gains[best], best)


def table_of_shares(machines: dict[str, Times]) -> Iterator[str]:
    yield "| bytes | machines | MB/s | local | all sent | split | gain over the best that stays |"
    yield "|---|---|---|---|---|---|---|"
    for counted, (machine, times), rates in itertools.product(ACCOUNTINGS, machines.items(), (FAST, SLOW)):
        found = share_of(times, counted, rates)
        shares = " | ".join(f"{100 * share:.0f} %" for share in (found.local, found.sent, found.split))
        ends = f"{rates[0]:g} to {rates[-1]:g}"
        yield f"| {counted.name} | {machine} | {ends} | {shares} | {100 * found.gain:.1f} % ({found.best}) |"


def table_of_times(times: Times) -> Iterator[str]:
    yield "| | whole | " + " | ".join(f"c = {share:.3g}" for share in times.pairs) + " |"
    yield "|---" * (len(times.pairs) + 2) + "|"
    for words, (device, server), place in (("head", (times.device, 0), 0), ("tail", (0, times.server), 1)):
        whole = device or server
        yield f"| {words} | {whole:.1f} | " + " | ".join(f"{pair[place]:.1f}" for pair in times.pairs.values()) + " |"


def main(page: Path) -> None:
    import tflsplit

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            model = built(name)
            found[name] = model.input_shape[1], blocks_of(model)
            if name == TIMED:
                model.save(Path(folder) / "timed.keras")
        tflsplit.convert(Path(folder) / "timed.keras", Path(folder) / "timed.tflsplit")
        package = reading.open_package(Path(folder) / "timed.tflsplit")
        times = times_of(package, useful(found[TIMED][1]))
    page.write_text(page_of(found, times), "utf-8")


def page_of(found: dict[str, tuple[int, list[Block]]], times: Times) -> str:
    facts = environment.describe()
    machines = {f"{slower}x": times.slowed(slower) for slower in SLOWER}
    return PAGE.format(
        models="\n".join(table_of_models(found)),
        times="\n".join(table_of_times(times)),
        shares="\n".join(table_of_shares({"notebook": NOTEBOOK, **machines})),
        machine=f"{facts.get('cpu', platform.machine())}, one thread, {facts.get('runtime', 'no runtime')}",
        keras=metadata.version("keras"),
    )


PAGE = """\
# Natural bottlenecks, and how often a split wins

Written by `benchmarks/bottlenecks.py`. *Dynamic Split Computing* (Bakhtiarnia et al., ICASSP 2023, arXiv 2205.11269)
moves the cut with data rate, batch size and load among *natural bottlenecks*: blocks of a network that give fewer
elements than it takes, so that nothing has to be retrained. Here its analysis is done again by code of this project,
with bytes as they are sent.

## The bottlenecks of every EfficientNet

Keras {keras}, each at its own input size. A block's end is the last layer that bears its name; it is a natural
bottleneck where it gives fewer elements than the input has (c < 1). The paper states 15 to 68 for its models: this
reading gives both ends. *Useful* are those with fewer elements than every earlier one. A float32 element has four
bytes and a pixel's one has one, so in bytes only c < 0.25 is less than the picture: the last column.

{models}

## How often a split wins

By the paper's formula, head + bytes / rate + tail, over rates of 1 to 127 MB/s (its grid) and of 0.1 to 10 MB/s,
EfficientNetB0 at 224 x 224, the useful blocks, one frame. *Local* is everything on the device, *all sent* the input
to the server. Two pairs of machines: *notebook* are times of the authors' notebook that others published (batch 1; a
GPU that is clocked down, and a fast one); *4x* and *16x* are this machine ({machine}) as server, and the same so many
times slower as device, in int8:

{times}

One frame at a time: what a batch gains depends on the machine (see the batches in `benchmarks/RESULTS.md`), so of the
paper's grid only the rates are counted. The gain is that of the best option in each cell over the
one option that, had it stayed, would have been best in the mean.

{shares}

Others' replay of the notebook over its batches 1 to 30 at 1 to 127 MB/s, with the same formula, for comparison:
float32 and uint8 5.9 % local, 88.4 % all sent, 5.7 % split; float32 both ways 5.9, 5.9 and 88.2 %; 8 bits both ways
1.2, 72.0 and 26.9 %.

## What we conclude

- **The answer is in the bytes.** Counted in elements (float32 both ways) a split wins in up to 92 % of a row's cells;
  with float32 features against the picture as it is, in 0 to 43 %. Neither is what `tflsplit` sends: int8 features.
- **With int8 features a split wins where the link is slow and the device not too slow**: 67 to 98 % of the cells at
  0.1 to 10 MB/s, 6 to 28 % of the paper's grid. What moving gains over the best that stays is 2 to 11 %, not factors.
- **A picture that is a JPEG already turns it round**: 12 kB are less than the features of all blocks but the last
  few, whose heads are most of the network, so no split wins on latency. Smaller features take another network or
  fewer bits (`--lossy`); privacy, bytes, the device's energy and the server's load are other reasons to split.
- **Three or four candidates are enough.** Later bottlenecks as large as an earlier one only cost the device more,
  which is why plans list the useful cuts and edges move between few.
- **One frame's round trip is not in the formula.** `tflsplit plan` and `simulate` count it, and every header.
"""

if __name__ == "__main__":
    main(Path(sys.argv[1]))
