"""`tflsplit bundle`: what one machine needs of a package."""

from pathlib import Path

import click

from tflsplit import bundle, errors
from tflsplit.api import planfile as api_planfile
from tflsplit.chains import planfile as chains_planfile
from tflsplit.cli.options import planfile as options_planfile
from tflsplit.cli.output import screen
from tflsplit.package.manifest import Role


@click.command()
@options_planfile.argument
@click.option("--plan", "plan_path", required=True, type=click.Path(path_type=Path), help="The plan to run.")
@click.option("--role", required=True, help="Which machine it is for: edge or cloud, or a stage of a chain's plan.")
@click.option(
    "-o", "--output", "destination", required=True, type=click.Path(path_type=Path), help="Directory to make."
)
@click.option("--force", "replaces_existing", is_flag=True, help="Replace an existing package or bundle.")
@click.option("--json", "is_json", is_flag=True, help="Print what was written as JSON.")
def command(
    pkg: Path | None, *, plan_path: Path, role: str, destination: Path, replaces_existing: bool, is_json: bool
) -> None:
    """Write what a plan's edge or cloud needs of the package, and no more: no tail's weights at the edge.

    A bundle is a package without what that side never runs. It keeps the digest, so its frames are the package's. A
    machine in the middle of a chain gets the slice between its two cuts.

    \b
    Python: tflsplit.bundle.write(path, package, role, cuts)
    """
    if chains_planfile.is_one(plan_path):
        chain = chains_planfile.read(plan_path)
        whole = api_planfile.package_of(pkg, chain, plan_path)
        written = bundle.write_share(destination, whole, chain, role, replaces_existing=replaces_existing)
        told = f"{chain.share(role).start} to {chain.share(role).stop}"
    else:
        whole, made = api_planfile.with_plan(pkg, plan_path)
        if role not in ("edge", "cloud"):
            raise errors.SettingsError(f"--role {role}: {plan_path} is a plan of two machines, edge and cloud")
        written = bundle.write(
            destination, whole, Role(role), (whole.cut(made.cut),), replaces_existing=replaces_existing
        )
        told = made.cut
    sizes = {name: file.bytes for name, file in written.manifest.files.items()}
    if is_json:
        screen.as_json({"path": str(destination), "role": role, "cut": told, "digest": written.digest, "files": sizes})
        return
    click.echo(f"{destination}: {role} bundle of {told}, digest {written.digest[:16]}")
    for name, count in sizes.items():
        click.echo(f"  {name}  {count:,} B")
