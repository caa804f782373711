"""`tflsplit compile`: compiles heads of a package for the Edge TPU with Google's compiler."""

from pathlib import Path

import click

from tflsplit import errors
from tflsplit.cli import cut_names
from tflsplit.cli.options import units
from tflsplit.cli.output import edgetpu, examples, screen
from tflsplit.graph.cuts import Cut
from tflsplit.package import reading
from tflsplit.package.manifest import Compilation


@click.command(
    epilog=examples.epilog(
        "tflsplit compile model.tflsplit",
        "tflsplit compile model.tflsplit --cuts op012 --compiler ./edgetpu_compiler",
    )
)
@click.argument("pkg", type=click.Path(path_type=Path))
@click.option(
    "--cuts",
    "cut_names",
    shell_complete=cut_names.complete,
    default="written",
    show_default=True,
    metavar="ID,…",
    help="Cuts whose heads are compiled: written (those with files in the package, and the whole model), useful, all, "
    "or ids and layers with commas between them.",
)
@click.option(
    "--compiler",
    "compiler_command",
    metavar="COMMAND",
    help="Path of edgetpu_compiler, or a command that runs it, for example 'docker run --rm -v {dir}:{dir} -w {dir} "
    "IMAGE edgetpu_compiler'. {dir} stands for the folder with the files. Default: edgetpu_compiler on PATH.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=units.time(least="1s"),
    default="3m",
    show_default=True,
    help="Time that one run of the compiler may take.",
)
@click.option(
    "--together",
    is_flag=True,
    help="Compile all heads in one run, so that they share the on-chip memory. The first head gets its share first.",
)
@click.option(
    "--forget",
    "forgets",
    is_flag=True,
    help="Compile every head again. Default: results of earlier runs are used, failures too.",
)
@click.option("--json", "is_json", is_flag=True, help="Print the outcome of each head as JSON.")
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
    """Compile the heads of a package for the Edge TPU.

    The compiled heads are added to the package PKG, which keeps its digest. A head that fails is tried once more; then
    the reason is stored in the package, and the other heads go on. Without a compiler each head is marked as not
    compiled; copy the package to a computer with the compiler and run this command there. Exit code 1 if no head was
    compiled.
    """
    from converters.edgetpu import compiler, heads

    opened = reading.open_package(pkg)
    chosen = heads.chosen_cuts(opened, cut_names)
    settings = heads.Settings(timeout_s=timeout_s, together=together, forgets=forgets)
    done: dict[str, Compilation] = {}
    with screen.progress("compile", len(chosen)) as step:

        def on_head(cut: Cut, compilation: Compilation) -> None:
            done[cut.id] = compilation
            step(description=cut.id)

        made = heads.compile_heads(opened, chosen, compiler.find(compiler_command), settings, on_head=on_head)
    if is_json:
        screen.as_json(
            {
                "package": str(pkg),
                "digest": made.digest,
                "heads": [
                    {"cut": cut.id, "head_edgetpu": made.file(cut, "head_edgetpu"), **done[cut.id].as_json()}
                    for cut in chosen
                ],
            }
        )
    else:
        for cut, compilation in done.items():
            screen.write(f"head of {cut}: {edgetpu.in_words(compilation)}")
    compiled = sum(compilation.status == "compiled" for compilation in done.values())
    remedy = "give --compiler, or copy the package to a computer that has edgetpu_compiler and compile it there"
    is_without = any(compilation.status == "not compiled" for compilation in done.values())
    if not compiled:
        raise errors.DeviceError(f"{pkg}: 0 of {len(done)} heads compiled" + (f"; {remedy}" if is_without else ""))
    if not is_json:
        screen.write(f"{pkg}: {compiled} of {len(done)} compiled")
