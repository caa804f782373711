"""`tflsplit bundle`: the part of a package that one machine needs."""

from pathlib import Path

import click

from tflsplit import bundle, errors
from tflsplit.api import planfile as api_planfile
from tflsplit.chains import planfile as chains_planfile
from tflsplit.cli.options import planfile as options_planfile
from tflsplit.cli.output import examples, screen
from tflsplit.package.manifest import Role


@click.command(epilog=examples.epilog("tflsplit bundle --plan plan.json --role edge -o edge.tflsplit"))
@options_planfile.argument
@click.option(
    "--plan",
    "plan_path",
    required=True,
    type=click.Path(path_type=Path),
    help="File written by `tflsplit plan -o`. It names the cut and, where PKG is left out, the package.",
)
@click.option(
    "--role", required=True, help="The machine that the bundle is for: edge or cloud, or a stage of a chain's plan."
)
@click.option(
    "-o",
    "--output",
    "destination",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder to write the bundle to.",
)
@click.option("--force", "replaces_existing", is_flag=True, help="Replace the bundle or package at -o if there is one.")
@click.option("--json", "is_json", is_flag=True, help="Print the list of written files as JSON.")
def command(
    pkg: Path | None, *, plan_path: Path, role: str, destination: Path, replaces_existing: bool, is_json: bool
) -> None:
    """Copy the part of a package that one machine needs.

    An edge bundle, for example, holds no weights of the tail. A bundle keeps the digest of its package, so edges and
    clouds with bundles and with whole packages work together. A machine in the middle of a chain gets the part of the
    model between its two cuts.

    \b
    Python: tflsplit.bundle.write(path, package, role, cuts)
    """
    if chains_planfile.is_one(plan_path):
        chain = chains_planfile.read(plan_path)
        whole = api_planfile.package_of(pkg, chain, plan_path)
        written = bundle.write_share(destination, whole, chain, role, replaces_existing=replaces_existing)
        cuts = f"{chain.share(role).start} to {chain.share(role).stop}"
    else:
        whole, made = api_planfile.with_plan(pkg, plan_path)
        if role not in ("edge", "cloud"):
            raise errors.SettingsError(f"--role {role}: {plan_path} is a plan of two machines, edge and cloud")
        written = bundle.write(
            destination, whole, Role(role), (whole.cut(made.cut),), replaces_existing=replaces_existing
        )
        cuts = made.cut
    sizes = {name: file.bytes for name, file in written.manifest.files.items()}
    if is_json:
        screen.as_json({"path": str(destination), "role": role, "cut": cuts, "digest": written.digest, "files": sizes})
        return
    screen.write(f"{destination}: {role} bundle of {cuts}, digest {written.digest[:16]}")
    for name, count in sizes.items():
        screen.write(f"  {name}  {count:,} B")
