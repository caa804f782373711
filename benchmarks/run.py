"""Runs the benchmarks and writes what came out: RESULTS.md to read, results.json to compare.

    python benchmarks/run.py [--quick] [NAME ...]

Names are files of this folder that measure something; without any, all but the long ones, in about ten minutes.
`--quick` takes few runs, in two minutes, and writes nothing. Compare ratios, and only with the same machine.
"""

import argparse
import datetime
import importlib
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import harness
from harness import Outcome, Samples, Table

NAMES = (
    "convert_cost",
    "edge_start",
    "edge_memory",
    "round_trip",
    "streaming",
    "spooling",
    "calibration_cost",
    "preprocessing_guess",
    "video_decoding",
    "partitioning",
    "split_or_not",
    "sharing",
    "early_sending",
    "profile_accuracy",
    "streams",
    "replay",
    "policies",
    "moving",
    "dead_link",
    "slow_start",
    "durability",
    "workers",
    "chain",
    "ray_engine",
    "slow_worker",
    "fairness",
    "transport_throughput",
    "direct_links",
    "paho_paths",
)
# Only where they are named: they take long, and more of the machine than the others leave.
LONG = ("fleet", "several", "placing", "scraping", "big_models", "camera_box")
KNOWN = (*NAMES, *LONG)
HERE = Path(__file__).parent
_SCALES = {
    "s": (1000.0, "ms"),
    "MiB": (1.0, "MiB"),
    "MB": (1.0, "MB"),
    "1/s": (1.0, "1/s"),
    "": (1.0, ""),
    "%": (100.0, "%"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the benchmarks; see the top of each file for what it measures.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"any of {', '.join(KNOWN)}; default: {', '.join(NAMES)}"
    )
    parser.add_argument("--quick", action="store_true", help="few runs, and no results written")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(KNOWN):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(KNOWN)}")
    found: dict[str, list[Outcome | Table]] = {}
    with tempfile.TemporaryDirectory(prefix="tflsplit-bench-") as folder:
        for name in arguments.names or NAMES:
            print(f"== {name}", flush=True)
            try:
                found[name] = importlib.import_module(name).run(Path(folder), is_quick=arguments.quick)
            except harness.SkippedError as reason:
                print(f"skipped: {reason}", flush=True)
                continue
            for entry in found[name]:
                print(_line(entry) if isinstance(entry, Outcome) else "\n".join(_table(entry)), flush=True)
            if not arguments.quick:  # now: a run that is ended keeps what it has measured
                _write({name: found[name]})


def _line(outcome: Outcome) -> str:
    target = ""
    if outcome.target is not None:
        target = f", {'at least' if outcome.is_floor else 'at most'} {outcome.target:g}: {outcome.verdict}"
    return f"{outcome.what}: {_shown(outcome.ours)} / {_shown(outcome.rival)} = {outcome.ratio:.3f}{target}"


def _shown(samples: Samples) -> str:
    factor, unit = _SCALES[samples.unit]
    if samples.unit == "s" and samples.median >= 1.0:
        factor, unit = 1.0, "s"
    spread = f" ± {samples.iqr * factor / 2:.2g}" if len(samples.values) > 1 else ""
    return f"{samples.median * factor:.4g}{spread} {unit}".rstrip()


def _write(found: dict[str, list[Outcome | Table]]) -> None:
    """Keeps what was measured before by benchmarks that did not run now, with its own date and machine."""
    path = HERE / "results.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    run = {"date": datetime.date.today().isoformat(), "machine": harness.machine()}
    kept |= {name: run | {"entries": [_as_json(entry) for entry in found[name]]} for name in found}
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    (HERE / "RESULTS.md").write_text("\n".join(_report(kept)) + "\n")


def _report(kept: dict[str, dict]) -> list[str]:
    lines = [
        "# What was measured",
        "",
        "Written by `make bench`; each benchmark is described at the top of its file.",
        "",
    ]
    lines += [
        "Times are medians ± half the distance between the quartiles. A ratio is the median of the ratios of each"
    ]
    lines += ["round where both took turns. Compare ratios, and only with the same machine.", ""]
    for name in (name for name in KNOWN if name in kept):
        lines += [f"## {name}", "", *_described(importlib.import_module(name).__doc__), ""]
        entries = [_from_json(entry) for entry in kept[name]["entries"]]
        lines += _outcome_rows([entry for entry in entries if isinstance(entry, Outcome)])
        for table in (entry for entry in entries if isinstance(entry, Table)):
            lines += _table(table)
        lines += ["", f"{kept[name]['date']}: " + "; ".join(map(": ".join, kept[name]["machine"].items())), ""]
    return lines[:-1]


def _described(docstring: str | None) -> list[str]:
    return (docstring or "").strip().splitlines()


def _outcome_rows(outcomes: list[Outcome]) -> list[str]:
    if not outcomes:
        return []
    rows = ["| | measured | against | runs | ratio | target | |", "|---|---|---|---|---|---|---|"]
    for outcome in outcomes:
        target = "" if outcome.target is None else f"{'≥' if outcome.is_floor else '≤'} {outcome.target:g}"
        verdict = "**falls short**" if outcome.verdict == "falls short" else outcome.verdict
        ours, rival = (f"{samples.name}: {_shown(samples)}" for samples in (outcome.ours, outcome.rival))
        cells = (outcome.what, ours, rival, len(outcome.ours.values), f"{outcome.ratio:.3f}", target, verdict)
        rows.append(f"| {' | '.join(map(str, cells))} |")
    notes = [outcome.note for outcome in outcomes if outcome.note]
    return rows + [line for note in notes for line in ("", note)]


def _table(table: Table) -> list[str]:
    rows = [f"| {' | '.join(cells)} |" for cells in (table.columns, ["---"] * len(table.columns), *table.rows)]
    return ["", f"**{table.title}**", "", *rows, *(("", table.note) if table.note else ())]


def _as_json(entry: Outcome | Table) -> dict[str, object]:
    if isinstance(entry, Table):
        return {"kind": "table"} | asdict(entry)
    return {"kind": "outcome", "ratio": entry.ratio, "verdict": entry.verdict} | asdict(entry)


def _from_json(fields: dict) -> Outcome | Table:
    if fields["kind"] == "table":
        return Table(fields["title"], tuple(fields["columns"]), tuple(map(tuple, fields["rows"])), fields["note"])
    ours, rival = (
        Samples(samples["name"], samples["unit"], tuple(samples["values"]))
        for samples in (fields["ours"], fields["rival"])
    )
    return Outcome(fields["what"], ours, rival, fields["target"], fields["is_floor"], fields["note"])


if __name__ == "__main__":
    main()
