"""`tflsplit bundle`: the part of a package that one machine needs."""

from pathlib import Path

import click

from tflsplit import bundle, errors
from tflsplit.api import adapting
from tflsplit.api import planfile as api_planfile
from tflsplit.chains import planfile as chains_planfile
from tflsplit.cli import cut_names
from tflsplit.cli.options import planfile as options_planfile
from tflsplit.cli.output import examples, screen
from tflsplit.graph.cuts import Cut
from tflsplit.package import reading, writing
from tflsplit.package.manifest import Role
from tflsplit.package.reading import Package


@click.command(
    epilog=examples.epilog(
        "tflsplit bundle --plan plan.json --role edge -o edge.tflsplit",
        "tflsplit bundle model.tflsplit --role edge --cut op012 -o edge.tflsplit",
    )
)
@options_planfile.argument
@click.option(
    "--plan",
    "plan_path",
    type=click.Path(path_type=Path),
    help="File written by `tflsplit plan -o`. It names the cut and, where PKG is left out, the package.",
)
@click.option(
    "--cut",
    "names",
    shell_complete=cut_names.complete,
    multiple=True,
    metavar="CUT",
    help="Without --plan: the cut, by id or layer. Repeat it for a machine that is to run several.",
)
@click.option(
    "--adapt",
    is_flag=True,
    help="With --plan: for edges and clouds that --adapt, all that the plan's candidates need.",
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
    pkg: Path | None,
    *,
    plan_path: Path | None,
    names: tuple[str, ...],
    adapt: bool,
    role: str,
    destination: Path,
    replaces_existing: bool,
    is_json: bool,
) -> None:
    """Copy the part of a package that one machine needs.

    An edge bundle, for example, holds no weights of the tail. A bundle keeps the digest of its package, so edges and
    clouds with bundles and with whole packages work together. A machine in the middle of a chain gets the part of the
    model between its two cuts.
    """
    if plan_path is not None and names:
        raise errors.SettingsError("--plan and --cut both name the cut; give one of them")
    if adapt and plan_path is None:
        raise errors.SettingsError("--adapt: a cut moves among the candidates of a plan: give --plan")
    writing.check_destination(destination, replaces_existing=replaces_existing)
    if plan_path is not None and chains_planfile.is_one(plan_path):
        if adapt:
            raise errors.SettingsError(f"--adapt: {plan_path} is the plan of a chain, whose cuts stay")
        chain = chains_planfile.read(plan_path)
        whole = api_planfile.package_of(pkg, chain, plan_path)
        written = bundle.write_share(destination, whole, chain, role, replaces_existing=replaces_existing)
        shown = f"{chain.share(role).start} to {chain.share(role).stop}"
    else:
        whole, cuts = _cuts(pkg, plan_path, names, adapts=adapt)
        if role not in ("edge", "cloud"):
            raise errors.SettingsError(f"--role {role}: expected edge or cloud; only the plan of a chain has stages")
        written = bundle.write(destination, whole, Role(role), cuts, moves=adapt, replaces_existing=replaces_existing)
        shown = ", ".join(cut.id for cut in cuts)
    _print(destination, written, role, shown, is_json=is_json)


def _cuts(
    pkg: Path | None, plan_path: Path | None, names: tuple[str, ...], *, adapts: bool
) -> tuple[Package, list[Cut]]:
    if plan_path is not None:
        whole, made = api_planfile.with_plan(pkg, plan_path)
        return whole, adapting.cuts(whole, made) if adapts else [whole.cut(made.cut)]
    if pkg is None or not names:
        raise errors.SettingsError("which cut? give --plan FILE, or PKG and --cut; `tflsplit inspect PKG` lists cuts")
    whole = reading.open_package(pkg)
    return whole, list({cut.id: cut for cut in map(whole.cut, names)}.values())


def _print(destination: Path, written: Package, role: str, cuts: str, *, is_json: bool) -> None:
    sizes = {name: file.bytes for name, file in written.manifest.files.items()}
    if is_json:
        screen.as_json({"path": str(destination), "role": role, "cut": cuts, "digest": written.digest, "files": sizes})
        return
    screen.write(f"{destination}: {role} bundle of {cuts}, digest {written.digest[:16]}")
    for name, count in sizes.items():
        screen.write(f"  {name}  {count:,} B")
