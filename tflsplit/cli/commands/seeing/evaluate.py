"""`tflsplit evaluate`: how many answers of a package are right, and why not more."""

from collections.abc import Sequence
from pathlib import Path

import click

from tflsplit import text
from tflsplit.api.seeing import evaluating
from tflsplit.api.seeing.evaluating import Report, Way
from tflsplit.cli.output import examples, screen
from tflsplit.cli.output.tables import Column, Kind
from tflsplit.coding import jpeg
from tflsplit.evaluation.scores import Classified, Regressed

_MOST_CONFUSIONS = 10
_MOST_CAUSES = 3


@click.command(
    epilog=examples.epilog(
        "tflsplit evaluate model.tflsplit test/", "tflsplit evaluate model.tflsplit test.npz --model model.h5 --json"
    )
)
@click.argument("pkg", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="The model file that the package was made of, to show what float gives. Default: the package's own float "
    "model, if it was converted with --tail float32.",
)
@click.option(
    "--jpeg",
    "qualities",
    multiple=True,
    type=click.IntRange(jpeg.QUALITIES[0], jpeg.QUALITIES[-1]),
    metavar="QUALITY",
    default=evaluating.QUALITIES,
    show_default=True,
    help="Show also what pictures sent as JPEG of this quality give. Repeatable.",
)
@screen.wide_option
@click.option("--json", "is_json", is_flag=True, help="Print the report as JSON.")
def command(pkg: Path, data: Path, *, model: Path | None, qualities: tuple[int, ...], is_json: bool) -> None:
    """Count right answers on DATA, whose truth is known.

    DATA is a folder with a folder of pictures for each class, an .npz with an array `labels` beside the inputs, or a
    .csv: in each row a picture's name or the input's numbers, and behind them the class, or what is regressed.

    Where another preprocessing or naming of classes is clearly more right on the same samples, it is named: scaling,
    channel order, resizing and labels are what most often goes wrong.

    \b
    Python: tflsplit.evaluate("model.tflsplit", "test/")
    """
    with screen.progress("evaluate", None) as step:
        report = evaluating.evaluate(pkg, data, model=model, jpeg_qualities=qualities, on_step=step)
    if is_json:
        screen.as_json(report.as_json())
        return
    _print(report)


def _print(report: Report) -> None:
    of_classes = [(way.name, way.found) for way in report.ways if isinstance(way.found, Classified)]
    if of_classes:
        _print_classes(report, of_classes)
    else:
        _print_numbers(report.ways, report.samples)
    for remark in report.remarks:
        screen.write(remark)
    for change, reached in report.causes[:_MOST_CAUSES]:
        gives = f"{reached:.1%} right" if of_classes else f"a mean error of {reached:.4g}"
        screen.write(f"likely cause: {change} gives {gives} on the same samples; convert the model again with it")


def _print_classes(report: Report, ways: Sequence[tuple[str, Classified]]) -> None:
    rows = [(name, found.right, f"{found.accuracy:.1%}") for name, found in ways]
    counted = text.counted(report.samples, "sample")
    screen.table(f"{counted}, right answers", ["computed as", "right", "accuracy"], rows)
    columns = [
        Column("class", Kind.NAME),
        Column("samples"),
        *(Column(name, rank=n) for n, (name, _) in enumerate(ways)),
    ]
    classes = ways[0][1].of_classes
    by_class = [
        (name, samples, *(f"{found.of_classes[name][0] / samples:.0%}" for _, found in ways))
        for name, (_, samples) in classes.items()
    ]
    screen.table("right by class", columns, by_class)
    (int8,) = (found for name, found in ways if name == "int8")
    if int8.confusions:
        shown = int8.confusions[:_MOST_CONFUSIONS]
        screen.table(
            "most frequent confusions in int8",
            [Column("class", Kind.NAME), Column("taken for", Kind.NAME), Column("times")],
            shown,
        )


def _print_numbers(ways: Sequence[Way], samples: int) -> None:
    rows = [
        (way.name, place, f"{error:.4g}", "" if r2 is None else f"{r2:.4f}")
        for way in ways
        if isinstance(way.found, Regressed)
        for place, (error, r2) in enumerate(zip(way.found.mae, way.found.r2, strict=True))
    ]
    columns = ["computed as", "number", "mean absolute error", "R²"]
    screen.table(f"{text.counted(samples, 'sample')}, errors of each number", columns, rows)
