"""Writes the tables of docs/scale.md from what `make bench-fleet` measured (`fleet.json`).

python benchmarks/scale.py            write the tables; what is computed (two minutes) is kept in `scale.json`
                                      until other costs are measured, or the file is deleted
python benchmarks/scale.py --check    exit 1 if the page is not what these files say
"""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import fleet
import several
from crowd import event_time, model_time
from crowd.event_time import Survived
from crowd.model_time import Costs

from broker.deploy import process, supervision

HERE = Path(__file__).parent
MEASURED, COMPUTED, PAGE = fleet.RAW, HERE / "scale.json", HERE.parent / "docs" / "scale.md"
# Devices, and frames a second of each.
KILLED = (10_000, 0.1)
LARGE = ((10_000, 0.1), (10_000, 1.0), (100_000, 0.01), (100_000, 0.1))
# Of a core, so that a burst finds room.
_FULL = 0.7
_CORES = 2  # of the machine of the real runs
_NEAR = 0.15  # how well model time has to agree with a real run
_FOR_S = 65.0  # with a save
# The second kill in model time comes while readers and devices of the first one are still on their way back.
_KILLS_S, _SEND_S = (20.0, 23.0), 45.0
_STARTS_S = 1.0  # until a broker that was killed is there again, on a machine that has nothing else to do


def main() -> None:
    found = json.loads(MEASURED.read_text())
    costs = Costs.of(found[0], found[-1])
    computed = json.loads(COMPUTED.read_text()) if COMPUTED.exists() else {"costs": None}
    if computed["costs"] != asdict(costs):
        if "--check" in sys.argv:
            raise SystemExit(f"{COMPUTED}: not of {MEASURED}; run python benchmarks/scale.py")
        computed = {"costs": asdict(costs), "rows": [_computed(costs, *each) for each in LARGE]}
        computed |= {"again": [asdict(_again(costs, each)) for each in found[1:]]}
        computed |= {"killed": asdict(_killed(costs, *KILLED, _KILLS_S, starts_s=_STARTS_S))}
        COMPUTED.write_text(json.dumps(computed, indent=1) + "\n")
    over_several = [several.row(json.loads(several.RAW.read_text()))]
    tables = {
        "several": _table(several.COLUMNS, over_several),
        "measured": _measured(found),
        "compared": _compared(found, computed["again"]),
        "computed": [*_large(computed["rows"]), "", *_through(computed["killed"])],
    }
    before = PAGE.read_text()
    page = before
    for name, rows in tables.items():
        begin, end = f"<!-- {name}: written by benchmarks/scale.py -->\n", f"<!-- end of {name} -->"
        head, rest = page.split(begin)
        page = head + begin + "\n".join(rows) + "\n" + end + rest.split(end, 1)[1]
    if "--check" in sys.argv:
        raise SystemExit(0 if page == before else f"{PAGE}: its tables are not what was measured")
    PAGE.write_text(page)


def _computed(costs: Costs, devices: int, rate_per_s: float) -> dict[str, object]:
    load = model_time.load(costs, devices, rate_per_s)
    by_files = devices / process.clients_allowed(supervision.OPEN_FILES)
    brokers, clouds = math.ceil(max(load.broker / _FULL, by_files)), math.ceil(load.cloud / _FULL)
    row: dict[str, object] = {"devices": devices, "rate_per_s": rate_per_s, **asdict(load)}
    if max(load.broker, load.cloud) <= _FULL:
        taken = model_time.latencies(costs, devices, rate_per_s, _FOR_S)
        row["latencies_s"] = [model_time.percentile(taken, share) for share in (0.5, 0.95, 0.99)]
    back = model_time.storm(costs, math.ceil(devices / brokers), _STARTS_S)
    row |= {"brokers": brokers, "clouds": clouds, "back_s": [model_time.percentile(back, 0.5), back[-1]]}
    print(row, flush=True)
    return row


def _killed(costs: Costs, devices: int, rate_per_s: float, kills_s: Sequence[float], **more: Any) -> Survived:
    return event_time.Simulation(costs, devices, rate_per_s, **more).run(kills_s, _SEND_S)


def _again(costs: Costs, found: dict) -> Survived:
    """The kill of a real run, whose machine played all devices and had two cores for everything: a connection took what
    it took when nothing else went on, and longer where frames and the rollout took these cores too."""
    devices = found["devices"]
    costs = replace(costs, connection_s=found["online_s"] / devices)
    connecting = sum(found["connecting_s"].values()) / found["online_s"]

    def slowed(online: float) -> float:
        return max(1.0, (connecting + found["rollout"]["cores"] * online) / _CORES)

    rate_per_s = found["offered_per_s"] / devices
    return _killed(costs, devices, rate_per_s, _KILLS_S[:1], starts_s=found["starts_s"], slowed=slowed)


def _through(killed: dict) -> list[str]:
    columns = ("devices", "frames", "unanswered", "lost at the named reader", "doubled there", "second copies left out")
    counts = (KILLED[0], *(killed[name] for name in ("frames", "unanswered", "lost", "doubled", "second")))
    back = f"{killed['back_s'][0]:.0f} s, {killed['back_s'][1]:.0f} s"
    row = (*(f"{count:,}" for count in counts), back, f"{killed['longest_s']:.0f} s")
    words = (
        f"Through {len(_KILLS_S)} SIGKILLs of the broker, {_KILLS_S[1] - _KILLS_S[0]:g} s apart, in model time: with "
        "the edge's own window, the cloud's repeats and the reader's deduplication (`benchmarks/crowd/event_time.py`), "
        f"{KILLED[0] * KILLED[1]:,.0f} frames a second:"
    )
    return [words, "", *_table((*columns, "devices back: half, all", "longest wait of a frame"), [row])]


def _measured(found: list[dict]) -> list[str]:
    columns = (
        *("devices", "frames/s offered", "answered", "p50, p95, p99", "all online after", "broker: cores, MiB"),
        *("cloud: cores, MiB", "its clients: cores", "other work here: cores"),
    )
    rows = [
        (
            *(f"{each['devices']:,}", f"{each['offered_per_s']:,.0f}", f"{each['answered_per_s']:,.0f}"),
            ", ".join(f"{value * 1e3:,.0f}" for value in each["steady"][:3]) + " ms",
            f"{each['online_s']:.1f} s",
            *(f"{cost['cpu']:.2f}, {cost['mib']:.0f}" for cost in (each["costs"]["broker"], each["costs"]["cloud"])),
            *(f"{each['costs']['devices']['cpu']:.2f}", f"{each['others']:.1f}"),
        )
        for each in found
    ]
    words = "Through a SIGKILL of the broker in the middle of a rollout, in the same runs (- where there was none):"
    return [*_table(columns, rows), "", words, "", *_table(fleet.THROUGH, list(fleet.rows_through(found)))]


def _compared(found: list[dict], again: list[dict]) -> list[str]:
    """The largest runs against the costs of the smallest one."""
    costs, rows, ratios = Costs.of(found[0], found[-1]), [], []
    for each, killed in zip(found[1:], again, strict=True):
        load = model_time.load(costs, each["devices"], each["answered_per_s"] / each["devices"])
        for what, unit, factor, computed, measured in (
            ("broker", "cores", 1.0, load.broker, each["costs"]["broker"]["cpu"]),
            ("cloud", "cores", 1.0, load.cloud, each["costs"]["cloud"]["cpu"]),
            ("broker's state", "MB", 1e6, load.stored_bytes, each["stored_bytes"]),
            ("half of the devices back after the kill", "s", 1.0, killed["back_s"][0], each["back"][0]),
            ("all of them back", "s", 1.0, killed["back_s"][1], each["back"][-1]),
            ("longest wait of a frame", "s", 1.0, killed["longest_s"], each["whole"][-1]),
        ):
            shown = (f"{computed / factor:.3g} {unit}", f"{measured / factor:.3g} {unit}", f"{computed / measured:.2f}")
            rows.append((f"{each['devices']:,}", what, *shown))
            ratios.append(computed / measured)
    near = sum(abs(ratio - 1.0) <= _NEAR for ratio in ratios)
    words = f"Within {_NEAR:.0%}: {near} of {len(ratios)}."
    if near < len(ratios):
        words += " What is computed below of the others is an estimate, and not confirmed."
    return [*_table(("devices", "of", "computed", "measured", "ratio"), rows), "", words]


def _large(rows: list[dict]) -> list[str]:
    columns = (
        *("devices", "frames/s", "broker: cores", "cloud: cores", "state, save of it", "brokers, clouds"),
        *("p50, p95, p99", "devices back after a kill: half, all"),
    )
    return _table(
        columns,
        [
            (
                *(f"{row['devices']:,}", f"{row['devices'] * row['rate_per_s']:,.0f}"),
                *(f"{row['broker']:.2f}", f"{row['cloud']:.2f}"),
                f"{row['stored_bytes'] / 1e6:.0f} MB, {row['save_s'] * 1e3:.0f} ms",
                f"{row['brokers']}, {row['clouds']}",
                ", ".join(f"{value * 1e3:.1f}" for value in row.get("latencies_s", ())) + " ms"
                if "latencies_s" in row
                else "divide it first",
                f"{row['back_s'][0]:.0f} s, {row['back_s'][1]:.0f} s",
            )
            for row in rows
        ],
    )


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (columns, ("---",) * len(columns), *rows)]


if __name__ == "__main__":
    main()
