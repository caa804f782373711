"""Cuts as a shell completes them: the ids and layers of the package that is typed already."""

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from tflsplit import errors


def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Of a list with commas, its last. Nothing where no package can be read: a shell shows no refusals."""
    from tflsplit.package import reading

    before, comma, begun = incomplete.rpartition(",")
    # What stands before an option without its value yet is not parsed.
    for word in (*context.args, context.params.get("pkg")):
        if word is not None:
            try:
                cuts = reading.open_package(Path(word)).cuts
            except errors.TflsplitError:
                continue
            names = [(cut.id, cut.layer) for cut in cuts]
            named = [(cut_id, layer) for cut_id, layer in names if cut_id.startswith(begun)]
            named += [(layer, cut_id) for cut_id, layer in names if layer and begun and layer.startswith(begun)]
            return [CompletionItem(f"{before}{comma}{name}", help=told) for name, told in named]
    return []
