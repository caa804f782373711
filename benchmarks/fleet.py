"""A fleet of devices on one deployment, as `tflsplit broker init` makes it: what answers take, and what is lost when
the broker is killed.

Hundreds or thousands of MQTT 5 clients in one process (`benchmarks/crowd`), each with its own certificate, retained
status and birth, a window of 8 frames at QoS 1, telemetry every 10 s as a real edge's, and an edge's resending and
waits to connect again. `tflsplit broker run`, `tflsplit cloud` and a reader with a name, `tflsplit results --name`, are
processes as anybody runs them. Every answer is compared in label and score with that of the whole model, at the device
and at the reader. After 20 s the broker is killed with SIGKILL and started again; the time before is undisturbed. All
share this machine's cores, and the clients take more of them than broker and cloud together.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path

from crowd import material, running
from crowd.running import Found
from harness import Table

SIZES = (100, 1_000, 5_000)
# Of all devices together. A machine that has other work to do carries less, and then says nothing of itself.
PER_S = float(os.environ.get("TFLSPLIT_FLEET_PER_S", "1000"))
RAW = Path(__file__).with_name("fleet.json")  # for `benchmarks/scale.py`


def run(folder: Path, *, is_quick: bool) -> list[Table]:
    package, found = material.package(folder), []
    for devices in SIZES[:1] if is_quick else SIZES:
        found.append(running.measured(folder / f"fleet-{devices}", package, devices, PER_S / devices))
        print(asdict(found[-1]), flush=True)
    if not is_quick:
        RAW.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n")
    return [_undisturbed(found), _through_a_kill(found), _resources(found)]


def _undisturbed(found: list[Found]) -> Table:
    columns = ("devices", "frames/s offered", "answered", "p50, ms", "p95", "p99", "longest")
    rows = [
        (f"{each.devices:,}", f"{each.offered_per_s:,.0f}", f"{each.answered_per_s:,.0f}", *map(_ms, each.steady))
        for each in found
    ]
    return Table("While nothing disturbs: latency from capture to answer", columns, tuple(rows))


def _through_a_kill(found: list[Found]) -> Table:
    columns = (
        *("devices", "frames", "unanswered", "wrong at a device", "sent again", "held back for a full window"),
        *("lost at the reader", "doubled", "wrong", "devices back after: p50, s", "all", "longest wait of a frame, s"),
    )
    rows = [
        (
            f"{each.devices:,}",
            f"{each.frames:,}",
            *(f"{each.counts[name]:,}" for name in ("unanswered", "wrong", "resent", "held_back")),
            *(f"{value:,}" for value in (each.lost, each.doubled, each.wrong)),
            *(f"{value:.1f}" for value in (each.back[0], each.back[-1], each.whole[-1])),
        )
        for each in found
    ]
    return Table("Through a SIGKILL of the broker", columns, tuple(rows))


def _resources(found: list[Found]) -> Table:
    columns = (
        *("devices", "all online after, s", "broker: cores", "MiB", "cloud: cores", "MiB", "reader: cores"),
        *("clients: cores", "broker's state, MB", "it writes, MB/s", "other work here: cores"),
    )
    rows = [
        (
            f"{each.devices:,}",
            f"{each.online_s:.1f}",
            *(f"{each.costs['broker'].cpu:.2f}", f"{each.costs['broker'].mib:.0f}"),
            *(f"{each.costs['cloud'].cpu:.2f}", f"{each.costs['cloud'].mib:.0f}"),
            *(f"{each.costs['reader'].cpu:.2f}", f"{each.costs['devices'].cpu:.2f}"),
            *(f"{each.stored_bytes / 1e6:.1f}", f"{each.written_bytes_per_s / 1e6:.2f}", f"{each.others:.2f}"),
        )
        for each in found
    ]
    return Table("What it takes", columns, tuple(rows))


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f}"
