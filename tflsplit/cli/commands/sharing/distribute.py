"""`tflsplit distribute`: shares one model over several machines."""

from pathlib import Path

import click

from tflsplit.api import distributing
from tflsplit.cli.options import units
from tflsplit.cli.output import examples, screen, shares
from tflsplit.placement.searching.search import Objective


@click.command(
    epilog=examples.epilog(
        "tflsplit distribute model.tflsplit --devices 4 --bandwidth 100Mbit -o shared",
        "tflsplit distribute model.tflsplit --machines pis.toml \\\n--objective throughput --report shared.html",
    )
)
@click.argument("pkg", type=click.Path(path_type=Path))
@click.option(
    "--machines", type=click.Path(path_type=Path), help="TOML file that describes the machines and their links."
)
@click.option("--devices", type=click.IntRange(1, 64), help="So many machines alike, instead of a file.")
@click.option(
    "--speed",
    type=float,
    default=3.4e9,
    show_default=True,
    help="Multiply-accumulates a second of each of --devices.",
)
@click.option("--bandwidth", type=units.RATE, default="100Mbit", show_default=True, help="Of each link of --devices.")
@click.option("--delay", type=units.TIME, default="0s", show_default=True, help="Of an exchange between --devices.")
@click.option("--shared", is_flag=True, help="The --devices share one medium, as on Wi-Fi, instead of a link each.")
@click.option("--max-memory", type=units.SIZE, help="Weights and features that each machine may hold.")
@click.option(
    "--objective",
    type=click.Choice([each.value for each in Objective]),
    default=Objective.LATENCY.value,
    show_default=True,
    help="What is made as small as it can be, or as large for throughput.",
)
@click.option(
    "--allow-inexact",
    is_flag=True,
    help="Share the model even where results would not be the whole's bit for bit, and say by how much they differ.",
)
@click.option(
    "-o", "--output", "destination", type=click.Path(path_type=Path), help="Write plan and pieces to this folder."
)
@click.option("--report", type=click.Path(path_type=Path), help="Write a page with charts to this HTML file.")
@click.option("--force", "replaces_existing", is_flag=True, help="Replace what -o and --report name if it is there.")
@screen.wide_option
@click.option("--json", "is_json", is_flag=True, help="Print everything as JSON.")
def command(
    pkg: Path,
    *,
    machines: Path | None,
    devices: int | None,
    speed: float,
    bandwidth: float,
    delay: float,
    shared: bool,
    max_memory: float | None,
    objective: str,
    allow_inexact: bool,
    destination: Path | None,
    report: Path | None,
    replaces_existing: bool,
    is_json: bool,
) -> None:
    """Share one model over several machines.

    Each machine gets a part of the rows, of the channels or of both, layer by layer, so that the result is what the
    whole model gives, bit for bit; that is proved here on random inputs. Simple schemes and one machine alone are
    scored beside it, and one machine is the answer where it is the best.

    \b
    Python: tflsplit.distribute("model.tflsplit", devices=4, bandwidth="100Mbit")
    """
    for taken in (destination, report):
        distributing.check_free(taken, replaces_existing=replaces_existing)
    found = distributing.distribute(
        pkg,
        machines=machines,
        devices=devices,
        speed=speed,
        bandwidth=bandwidth,
        delay=delay,
        shared=shared,
        max_memory=max_memory,
        objective=objective,
        allow_inexact=allow_inexact,
    )
    if destination is not None:
        distributing.write(found, pkg, destination, force=replaces_existing)
    if report is not None:
        distributing.write_report(found, pkg, report, force=replaces_existing)
    if is_json:
        screen.as_json(found.as_json())
    else:
        shares.write(found)
