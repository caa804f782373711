"""`tflsplit bundle`: what one machine needs of a package."""

from pathlib import Path

import click

from tflsplit import bundle
from tflsplit.cli import output, planned
from tflsplit.manifest import Role


@click.command()
@planned.argument
@click.option("--plan", "plan_path", required=True, type=click.Path(path_type=Path), help="The plan to run.")
@click.option("--role", required=True, type=click.Choice(("edge", "cloud")), help="Which machine it is for.")
@click.option(
    "-o", "--output", "destination", required=True, type=click.Path(path_type=Path), help="Directory to make."
)
@click.option("--force", "replaces_existing", is_flag=True, help="Replace an existing package or bundle.")
@click.option("--json", "is_json", is_flag=True, help="Print what was written as JSON.")
def command(
    pkg: Path | None, *, plan_path: Path, role: str, destination: Path, replaces_existing: bool, is_json: bool
) -> None:
    """Write what a plan's edge or cloud needs of the package, and no more: no tail's weights at the edge.

    A bundle is a package without what that side never runs. It keeps the digest, so its frames are the package's.

    \b
    Python: tflsplit.bundle.write(path, package, role, cuts)
    """
    whole, made = planned.with_plan(pkg, plan_path)
    cut = whole.cut(made.cut)
    written = bundle.write(destination, whole, Role(role), (cut,), replaces_existing=replaces_existing)
    sizes = {name: file.bytes for name, file in written.manifest.files.items()}
    if is_json:
        output.as_json(
            {"path": str(destination), "role": role, "cut": cut.id, "digest": written.digest, "files": sizes}
        )
        return
    click.echo(f"{destination}: {role} bundle of {cut.id}, digest {written.digest[:16]}")
    for name, count in sizes.items():
        click.echo(f"  {name}  {count:,} B")
