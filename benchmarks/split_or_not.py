"""Where splitting wins and where not: 18 networks on Scission's public traces, links from 0.1 to 1000 Mbit/s.

A Raspberry Pi 4 and one of three servers; everything local, the 150 kB picture sent, or any cut; latency alone. Float32
features are as measured there; int8 ones carry a quarter of the bytes over the same times. Skipped without the traces
(TFLSPLIT_TEST_DATA names their folder).
"""

import itertools
import sys
from dataclasses import replace
from pathlib import Path

import harness
from harness import Outcome, Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import conftest
import scission

from tflsplit.chains import chain as chains
from tflsplit.chains import partitioner
from tflsplit.chains.chain import Chain, Hop

SERVERS = (("edge", "vm2Core"), ("edge", "2500"), ("cloud", "6700k(NoGPU)"))
RATES = tuple(10 ** (exponent / 25 - 1) for exponent in range(101))  # Mbit/s
NETWORKS = ((1.6, 66.7), (12.4, 50.0), (20.0, 20.0), (100.0, 5.0), (1000.0, 1.0))  # Mbit/s, ms
# Of the sizes in the traces, this much is the header of the file that a tensor was saved in.
_FILE_HEADER_BYTES = 128


def run(folder: Path, *, is_quick: bool) -> list[Outcome | Table]:
    file = conftest.SHARED_DATA / "scission_traces.json"
    if not file.exists():
        raise harness.SkippedError("no traces here")
    traces = scission.Traces(file)
    return [_over_rates(traces, is_quick=is_quick), _over_networks(traces), _each_network(traces)]


def _over_rates(traces: scission.Traces, *, is_quick: bool) -> Table:
    rates = RATES[::10] if is_quick else RATES
    rows = []
    for (kind, server), is_int8 in itertools.product(SERVERS, (False, True)):
        wins = {
            model: found
            for model in traces.models
            if (found := _winning(_pair(traces, model, kind, server, is_int8=is_int8), rates))
        }
        told = "; ".join(
            f"{model} {min(found):.2f} to {max(found):.2f} Mbit/s, up to {max(found.values()):.2f}x"
            for model, found in wins.items()
        )
        rows.append((server, "int8" if is_int8 else "float32", f"{len(wins)} of {len(traces.models)}", told))
    return Table(
        "networks with any bandwidth at which a cut beats both rivals (no delay)",
        ("server", "features", "networks", "which, where, and by how much"),
        tuple(rows),
        f"{len(rates)} bandwidths from 0.1 to 1000 Mbit/s; the factor is against the better of local and cloud.",
    )


def _over_networks(traces: scission.Traces) -> Table:
    rows = []
    for (kind, server), is_int8 in itertools.product(SERVERS, (False, True)):
        cells = []
        for megabits, ping_ms in NETWORKS:
            hop = Hop(ping_ms / 1e3, megabits * 1e6)
            answers = [
                _kind(_over(_pair(traces, model, kind, server, is_int8=is_int8), hop)) for model in traces.models
            ]
            cells.append(" / ".join(str(answers.count(answer)) for answer in ("local", "split", "cloud")))
        rows.append((server, "int8" if is_int8 else "float32", *cells))
    columns = (f"{megabits:g} Mbit/s, {ping_ms:g} ms" for megabits, ping_ms in NETWORKS)
    return Table("best of 18 networks: local / split / cloud", ("server", "features", *columns), tuple(rows))


def _each_network(traces: scission.Traces) -> Table:
    rows = [
        (server, model, *(_cell(traces, model, (kind, server), link) for link in NETWORKS))
        for (kind, server), model in itertools.product(SERVERS, traces.models)
    ]
    columns = (f"{megabits:g} Mbit/s, {ping_ms:g} ms" for megabits, ping_ms in NETWORKS)
    return Table(
        "each of the 18 networks over each link: where it is best computed",
        ("server", "network", *columns),
        tuple(rows),
        "With float32 and with int8 features, which differ only where both are given; the factor of a split is against "
        "the better of local and cloud.",
    )


def _cell(traces: scission.Traces, model: str, where: tuple[str, str], link: tuple[float, float]) -> str:
    kind, server = where
    hop = Hop(link[1] / 1e3, link[0] * 1e6)
    answers = []
    for is_int8 in (False, True):
        chain = _over(_pair(traces, model, kind, server, is_int8=is_int8), hop)
        (best,) = partitioner.fastest(chain)
        gain = min(chains.whole(chain, stage).latency_s for stage in (0, 1)) / best.latency_s
        answers.append(f"split {gain:.2f}x" if best.is_split else _kind(chain))
    return answers[0] if answers[0] == answers[1] else f"float32 {answers[0]}, int8 {answers[1]}"


def _pair(traces: scission.Traces, model: str, kind: str, server: str, *, is_int8: bool) -> Chain:
    device, other = traces.blocks("device", "raspi4", model), traces.blocks(kind, server, model)
    sizes = [float(block["output_size"]) for block in device]
    if is_int8:
        sizes = [(size - _FILE_HEADER_BYTES) / 4 for size in sizes]
    return Chain(
        places=(*(str(block["input_layer"]) for block in device), "end"),
        wire_bytes=(scission.INPUT_BYTES, *sizes),
        parameter_bytes=(0.0,) * (len(device) + 1),
        stages=(scission.stage("raspi4", device), scission.stage(server, other)),
        hops={(0, 1): Hop(0.0, 1e6)},
    )


def _over(chain: Chain, hop: Hop) -> Chain:
    return replace(chain, hops={(0, 1): hop})


def _winning(chain: Chain, rates: tuple[float, ...]) -> dict[float, float]:
    """Bandwidths at which a cut wins, and how many times faster it is than the better of the two rivals."""
    found = {}
    for megabits in rates:
        shaped = _over(chain, Hop(0.0, megabits * 1e6))
        (best,) = partitioner.fastest(shaped)
        if best.is_split:
            found[megabits] = min(chains.whole(shaped, stage).latency_s for stage in (0, 1)) / best.latency_s
    return found


def _kind(chain: Chain) -> str:
    (best,) = partitioner.fastest(chain)
    if best.is_split:
        return "split"
    return "cloud" if best.shares[0].stage == 1 else "local"
