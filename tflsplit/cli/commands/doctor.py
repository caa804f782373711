"""`tflsplit doctor`: what this machine has and lacks for a role, and how to install what is missing."""

import shutil
import sys
import textwrap

import click

from tflsplit import text
from tflsplit.cli.options import connection
from tflsplit.cli.output import diagnosis, examples, screen
from tflsplit.findings import Finding, State

_COLOURS = {State.OK: "green", State.MISSING: "yellow", State.WRONG: "red", State.INFO: "blue"}


@click.command(epilog=examples.epilog("tflsplit doctor", "tflsplit doctor --role edge --broker mqtt://localhost"))
@click.option(
    "--role", type=click.Choice(diagnosis.ROLES), help="What this machine is used for. Default: check for every role."
)
@connection.broker_options
@click.option("--json", "is_json", is_flag=True, help="Print the findings as JSON.")
def command(role: str | None, broker: connection.Broker, is_json: bool) -> None:
    """Check what this machine has and lacks.

    Checked are Python, libraries, interpreter, Edge TPU, clock and, if one is given, the broker. For each problem a
    remedy is printed. Nothing is changed, no device is opened and TensorFlow is not imported.

    Exit code 1 if something that the role needs is missing or wrong. Without --role: if this machine is ready for no
    role.

    \b
    Python: tflsplit.installation, edge_runtime.machine, converters.loading.environment, broker.links.reachability
    """
    found = diagnosis.examine(role, broker)
    if is_json:
        screen.as_json(found.as_json())
    else:
        _print(found)
    sys.exit(0 if found.is_ready else 1)


def _print(found: diagnosis.Diagnosis) -> None:
    # No table of rich: it is not installed at the edge, where this is needed most.
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    name_columns = max(len(finding.name) for finding in found.findings)
    for finding in found.findings:
        for line in _lines(finding, name_columns, columns):
            click.echo(line)
    click.echo(f"\n{_verdict(found)}")


def _lines(finding: Finding, name_columns: int, columns: int) -> list[str]:
    margin = " " * (len("missing") + 2 + name_columns + 2)
    details = textwrap.wrap(text.printable(finding.detail), max(40, columns - len(margin)), break_on_hyphens=False) or [
        ""
    ]
    state = click.style(f"{finding.state.value:7}", fg=_COLOURS[finding.state], bold=finding.is_bad)
    first = f"{state}  {finding.name:{name_columns}}  {details[0]}"
    # A remedy is not wrapped: it is there to be pasted.
    remedy = [
        f"        {'→ ' if number == 0 else '  '}{line}"
        for number, line in enumerate(text.printable(finding.remedy).splitlines())
    ]
    return [first, *(margin + line for line in details[1:]), *remedy]


def _verdict(found: diagnosis.Diagnosis) -> str:
    """One line for each role that was asked about."""
    lacking = found.lacking
    return "\n".join(
        f"{role}: lacks {', '.join(names)}" if names else f"{role}: everything needed is here"
        for role, names in lacking.items()
    )
