"""One deployment over three brokers, as `tflsplit broker init --brokers` makes it, of which one is killed.

As `benchmarks/fleet.py`, with a third of the devices at each broker by their names; one cloud and one named reader are
at all. When nothing has disturbed for a while one broker is killed with SIGKILL and started again. What its
devices sent is answered later; the others' latencies before and after the kill are compared.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path

from crowd import material, running
from harness import Table

BROKERS, DEVICES = 3, 300
# Of all devices together, as in `benchmarks/fleet.py`.
PER_S = float(os.environ.get("TFLSPLIT_FLEET_PER_S", "300"))
RAW = Path(__file__).with_name("several.json")  # for `benchmarks/scale.py`
# Where other work takes so many cores, times are those of the scheduler, and are not told.
_BUSY = 1.0
COLUMNS = (
    *("devices", "frames/s offered", "frames", "unanswered", "wrong", "lost at the reader", "doubled there"),
    *("devices back: half, all", "others' p50, p95, p99 before the kill", "after it", "other work here: cores"),
)


def run(folder: Path, *, is_quick: bool) -> list[Table]:
    devices = DEVICES // 10 if is_quick else DEVICES
    package = material.package(folder)
    found = asdict(running.measured(folder / "several", package, devices, PER_S / DEVICES, brokers=BROKERS))
    if not is_quick:
        RAW.write_text(json.dumps(found, indent=1) + "\n")
    return [Table(f"{BROKERS} brokers, one of them killed", COLUMNS, (row(found),))]


def row(found: dict) -> tuple[str, ...]:
    counted = (found["frames"], found["counts"]["unanswered"], found["counts"]["wrong"] + found["wrong"])
    return (
        *(f"{found['devices']:,}", f"{found['offered_per_s']:,.0f}"),
        *(f"{value:,}" for value in (*counted, found["lost"], found["doubled"])),
        *(("-",) * 3 if found["others"] >= _BUSY else _times(found)),
        f"{found['others']:.1f}",
    )


def _times(found: dict) -> tuple[str, ...]:
    apart = (", ".join(f"{value * 1e3:,.0f}" for value in each[:3]) + " ms" for each in found["apart"])
    return (f"{found['back'][0]:.1f} s, {found['back'][-1]:.1f} s", *apart)
