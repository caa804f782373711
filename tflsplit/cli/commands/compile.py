"""`tflsplit compile`: heads of a package for the Edge TPU, by Google's compiler."""

from pathlib import Path

import click

from tflsplit import errors
from tflsplit.cli.output import edgetpu, screen
from tflsplit.graph.cuts import Cut
from tflsplit.package import reading
from tflsplit.package.manifest import Compilation


@click.command()
@click.argument("pkg", type=click.Path(path_type=Path))
@click.option(
    "--cuts",
    "cut_names",
    default="written",
    show_default=True,
    metavar="ID,…",
    help="written (of every pair in the package, and the whole model), useful, all, or ids and layers with commas.",
)
@click.option(
    "--compiler",
    "compiler_command",
    metavar="COMMAND",
    help="Path of edgetpu_compiler, or a command that runs it, as 'docker run --rm -v {dir}:{dir} -w {dir} IMAGE "
    "edgetpu_compiler'; {dir} is where the files are. Default: edgetpu_compiler on PATH.",
)
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=1), default=180.0, show_default=True, help="Seconds a run."
)
@click.option("--together", is_flag=True, help="Compile the heads in one run: they share the on-chip memory, in order.")
@click.option("--forget", "forgets", is_flag=True, help="Compile again what is remembered, failures included.")
@click.option("--json", "is_json", is_flag=True, help="Print what became of each head as JSON.")
def command(
    pkg: Path,
    *,
    cut_names: str,
    compiler_command: str | None,
    timeout_s: float,
    together: bool,
    forgets: bool,
    is_json: bool,
) -> None:
    """Compile heads for the Edge TPU and put them into the package, here or on another computer.

    The package keeps its digest and opens wherever this stops. A head that fails is tried once more, its reason is
    kept, and the others go on; without a compiler each is marked as not compiled. Exit code 1 if no head was compiled.

    \b
    Python: converters.edgetpu.heads.compile_heads(package, cuts, compiler.find(command), settings)
    """
    from converters.edgetpu import compiler, heads

    opened = reading.open_package(pkg)
    chosen = heads.chosen_cuts(opened, cut_names)
    settings = heads.Settings(timeout_s=timeout_s, together=together, forgets=forgets)
    told: dict[str, Compilation] = {}
    with screen.progress("compile", len(chosen)) as step:

        def on_head(cut: Cut, compilation: Compilation) -> None:
            told[cut.id] = compilation
            step(description=cut.id)

        made = heads.compile_heads(opened, chosen, compiler.find(compiler_command), settings, on_head=on_head)
    if is_json:
        screen.as_json(
            {
                "package": str(pkg),
                "digest": made.digest,
                "heads": [
                    {"cut": cut.id, "head_edgetpu": made.file(cut, "head_edgetpu"), **told[cut.id].as_json()}
                    for cut in chosen
                ],
            }
        )
    else:
        for cut, compilation in told.items():
            click.echo(f"head of {cut}: {edgetpu.in_words(compilation)}")
    compiled = sum(compilation.status == "compiled" for compilation in told.values())
    remedy = "give --compiler, or copy the package to a computer that has edgetpu_compiler and compile it there"
    is_without = any(compilation.status == "not compiled" for compilation in told.values())
    if not compiled:
        raise errors.DeviceError(f"{pkg}: 0 of {len(told)} heads compiled" + (f"; {remedy}" if is_without else ""))
    if not is_json:
        click.echo(f"{pkg}: {compiled} of {len(told)} compiled")
