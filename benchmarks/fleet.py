"""A fleet of devices on one deployment, as `tflsplit broker init` makes it: what answers take, and what is lost when
the broker is killed in the middle of a rollout.

Hundreds or thousands of MQTT 5 clients in one process (`benchmarks/crowd`), each with its own certificate, retained
status and birth, a window of 8 frames at QoS 1, telemetry every 10 s as a real edge's, and an edge's resending and
waits to connect again. `tflsplit broker run`, `tflsplit cloud` and a reader with a name, `tflsplit results --name`, are
processes as anybody runs them. Every answer is compared in label, score and package with what the whole model of that
version says, at the device and at the reader.

At first nothing disturbs, for 20 s and so long that the broker saves once. Then one device in twenty is switched off,
and `tflsplit rollout run --pace 20` begins to bring another version to all of them, in phases: each device takes the
whole bundle and checks it, and keeps the version once 20 of its frames were answered. After 20 s of that the broker is
killed with SIGKILL and started again; half of those that were switched off are on again 25 s later. The end is that of
the rollout, which leaves the others out. All share this machine's cores, and the clients take more of them than broker
and cloud together.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crowd import material, running
from crowd.running import Found
from harness import Table

SIZES = (100, 1_000, 5_000)
# Of all devices together. A machine that has other work to do carries less, and then says nothing of itself.
PER_S = float(os.environ.get("TFLSPLIT_FLEET_PER_S", "1000"))
RAW = Path(__file__).with_name("fleet.json")  # for `benchmarks/scale.py`

THROUGH = (
    *("devices", "frames, of the new version", "unanswered", "wrong", "lost at the named reader", "doubled there"),
    *("updated, off, otherwise", "the rollout took, in phases", "devices back: half, all", "longest wait of a frame"),
    *("p50, p95, p99 in the rollout before the kill", "after it, all back"),
)


def run(folder: Path, *, is_quick: bool) -> list[Table]:
    package, update = (material.package(folder, version) for version in material.VERSIONS)
    found = []
    for devices in SIZES[:1] if is_quick else SIZES:
        size = (folder / f"fleet-{devices}", package, devices, PER_S / devices)
        found.append(running.measured(*size, update=update))
        print(asdict(found[-1]), flush=True)
    kept = [asdict(each) for each in found]
    if not is_quick:
        RAW.write_text(json.dumps(kept, indent=1) + "\n")
    through = Table("Through a SIGKILL of the broker in the middle of a rollout", THROUGH, rows_through(kept))
    return [_undisturbed(found), through, _resources(found)]


def _undisturbed(found: list[Found]) -> Table:
    columns = ("devices", "frames/s offered", "answered", "p50, ms", "p95", "p99", "longest")
    rows = [
        (f"{each.devices:,}", f"{each.offered_per_s:,.0f}", f"{each.answered_per_s:,.0f}", *map(_ms, each.steady))
        for each in found
    ]
    return Table("While nothing disturbs: latency from capture to answer", columns, tuple(rows))


def rows_through(found: list[dict[str, Any]]) -> tuple[tuple[str, ...], ...]:
    """Of runs as they are kept in `RAW`, for `benchmarks/scale.py` too. What a run without a rollout cannot tell is
    left out (-)."""
    return tuple(_row_through(each) for each in found)


def _row_through(each: dict[str, Any]) -> tuple[str, ...]:
    updated = took = of_new = "-"
    beside = ("-", "-")
    if rollout := each.get("rollout"):
        updated = ", ".join(f"{rollout[name]:,}" for name in ("updated", "left", "otherwise"))
        took, of_new = f"{rollout['took_s']:.0f} s, {rollout['phases']}", f"{rollout['frames']:,}"
        beside = tuple(
            ", ".join(f"{value * 1e3:,.0f}" for value in rollout[when][:3]) + " ms" for when in ("before", "after")
        )
    counted = (each["counts"]["unanswered"], each["counts"]["wrong"] + each["wrong"], each["lost"], each["doubled"])
    return (
        *(f"{each['devices']:,}", f"{each['frames']:,}, {of_new}", *(f"{value:,}" for value in counted)),
        *(updated, took, f"{each['back'][0]:.1f} s, {each['back'][-1]:.1f} s", f"{each['whole'][-1]:.1f} s"),
        *beside,
    )


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
