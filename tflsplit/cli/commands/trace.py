"""`tflsplit trace`: which step takes the time of a frame."""

import json
from pathlib import Path
from typing import Any

import click

from tflsplit import text
from tflsplit.api import files
from tflsplit.cli.output import examples, screen
from tflsplit.cli.output.tables import Column


@click.command(
    epilog=examples.epilog("tflsplit trace trace.jsonl", "tflsplit trace trace.jsonl --perfetto frames.json")
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--perfetto",
    type=click.Path(path_type=Path),
    metavar="OUT.json",
    help="Also write the frames to this file, which ui.perfetto.dev can open.",
)
@click.option("--force", "replaces_existing", is_flag=True, help="Replace the file of --perfetto if there is one.")
@screen.wide_option
@click.option("--json", "is_json", is_flag=True, help="Print the summary as JSON.")
def command(file: Path, *, perfetto: Path | None, replaces_existing: bool, is_json: bool) -> None:
    """Show which step takes the time of a frame.

    FILE is what `tflsplit edge --trace FILE` wrote. Printed are percentiles of the time of each step, and of how many
    frames it was the longest step.
    """
    from edge_runtime.monitoring import breakdown, frame_trace

    if perfetto is not None:
        files.check_free(perfetto, replaces_existing=replaces_existing)
    lines = list(frame_trace.read(file))
    found: dict[str, Any] = breakdown.summarise(lines)
    if perfetto is not None:
        files.write_whole(perfetto, json.dumps(breakdown.as_perfetto(lines)))
    if is_json:
        screen.as_json(found)
        return
    if not lines:
        screen.write(f"{file}: holds no frame yet; a frame is written when it is answered")
        return
    rows = [(part, *times.values(), found["dominant"].get(part, 0)) for part, times in found["parts_ms"].items()]
    rows.append(("total", *found["total_ms"].values(), ""))
    screen.table(
        f"{file}: milliseconds of {text.counted(found['frames'], 'frame')}",
        ("part", "p50", Column("p95", rank=1), Column("p99", rank=2), Column("longest part of", rank=1)),
        rows,
    )
