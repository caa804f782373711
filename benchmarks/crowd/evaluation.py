"""What a run of a fleet says, once it is over: latencies, who was away for how long, and what the reader got."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from broker.transport import credentials
from broker.transport.address import Address
from crowd import generator, material
from crowd.generator import Wanted
from crowd.rolling import Rolled
from tflsplit.graph.tensors import Array

PRINTED = "results.jsonl"
PERCENTILES = (50, 95, 99, 100)
# Not counted as undisturbed: the first moments, and the last before the kill, whose answers may come after it.
SETTLED_S = 2.0
_LOOK_S, _NO_PROGRESS_S = 0.1, 10.0
# By device its boot, how many frames it sent, and the first of another version.
Sent = dict[str, tuple[str, int, int | None]]


@dataclass(frozen=True, slots=True)
class Disturbed:
    """What happened when, by the monotonic clock; None where it did not. `there_s`: the broker that was killed
    takes connections again. `rolled` is what the rollout says of it."""

    killed_s: float | None = None
    there_s: float | None = None
    rollout_s: float | None = None
    rolled: dict[str, Any] | None = None
    ended_s: float | None = None


def _off(disturbed: Disturbed, devices: int) -> range:
    """The numbers of those that were switched off."""
    each = generator.OFF_EACH
    return range(each - 1, devices, each) if disturbed.rolled is not None else range(0)


def rolled(record: dict[str, Array], sent: Sent, disturbed: Disturbed, back: tuple[float, ...]) -> Rolled | None:
    if disturbed.rolled is None:
        return None
    spans = (
        (disturbed.rollout_s, disturbed.killed_s - SETTLED_S),
        (disturbed.killed_s + back[-1] + SETTLED_S, disturbed.ended_s),
    )
    due_s = record["due_s"]
    before, after = (of_chosen(record, (due_s >= from_s) & (due_s < to_s)) for from_s, to_s in spans)
    off = len(_off(disturbed, len(sent)))
    on_again = -(-off // (generator.ON_EACH // generator.OFF_EACH))
    frames = sum(count - changed_at for _, count, changed_at in sent.values() if changed_at is not None)
    counted = {"switched_off": off, "on_again": on_again, "frames": frames}
    return Rolled(**disturbed.rolled, **counted, before=before, after=after)


def apart(
    record: dict[str, Array], wanted: Wanted, killed: Address, begins_s: Sequence[float], for_s: float
) -> tuple[tuple[float, ...], ...]:
    """Of the devices of other brokers, for so long from each of these moments on. Nothing where there are none."""
    bundles = (credentials.open_bundle(Path(wanted.clients) / name) for name in wanted.names)
    is_other = np.array([bundle.address != killed for bundle in bundles])[record["device"]]
    spans = ((record["due_s"] >= begin_s) & (record["due_s"] < begin_s + for_s) for begin_s in begins_s)
    return tuple(of_chosen(record, span & is_other) for span in spans if is_other.any())


def of_chosen(record: dict[str, Array], is_chosen: Array) -> tuple[float, ...]:
    """`PERCENTILES` of the latencies of these frames, where they are answered."""
    is_chosen = is_chosen & (record["answered_s"] > 0)
    return _percentiles(record["answered_s"][is_chosen] - record["due_s"][is_chosen])


def _percentiles(values: Array) -> tuple[float, ...]:
    return tuple(float(np.percentile(values, each)) for each in PERCENTILES) if len(values) else ()


def away(record: dict[str, Array], disturbed: Disturbed, devices: int) -> tuple[float, ...]:
    """From the kill until each device was online again: each that was on comes back once, if the broker stays."""
    if disturbed.killed_s is None:
        return ()
    was_on = ~np.isin(record["online"], _off(disturbed, devices))
    return _percentiles(record["online_s"][was_on & (record["online_s"] > disturbed.killed_s)] - disturbed.killed_s)


def read(folder: Path, sent: Sent, wanted: Wanted) -> tuple[int, int, int]:
    """Results lost, doubled and wrong at the reader, once it gets no more."""
    path, size, changed_s = folder / PRINTED, -1, time.monotonic()
    while time.monotonic() < changed_s + _NO_PROGRESS_S:
        if path.stat().st_size != size:
            size, changed_s = path.stat().st_size, time.monotonic()
        time.sleep(_LOOK_S)
    seen, wrong = Counter[tuple[str, str, int]](), 0
    numbers = {name: number for number, name in enumerate(wanted.names)}
    truths = json.loads((folder / generator.TRUTHS).read_text())
    for line in path.read_text().splitlines():
        said = json.loads(line)
        if said["device"] in numbers:
            seen[said["device"], said["boot"], said["sequence"]] += 1
            changed_at = sent[said["device"]][2]
            version = truths[changed_at is not None and said["sequence"] >= changed_at]
            truth = version[material.input_of(numbers[said["device"]], said["sequence"], len(version))]
            wrong += [said["label"], said["score"], said["package"]] != truth
    all_sent = {(name, boot, sequence) for name, (boot, count, _) in sent.items() for sequence in range(count)}
    return len(all_sent - set(seen)), sum(seen.values()) - len(seen), wrong
