"""docs/measurements/bottlenecks.md against the code that wrote it: what can be computed again without a measurement."""

import importlib.util
import sys

import pytest

from tests import conftest

SCRIPT = conftest.CHECKOUT / "benchmarks" / "bottlenecks.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="no benchmarks here: they are in the repository only")
PAGE = (conftest.CHECKOUT / "docs" / "measurements" / "bottlenecks.md").read_text("utf-8")


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location(
        "bottlenecks_benchmark", conftest.CHECKOUT / "benchmarks/bottlenecks.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def row(beginning):
    return next(cells(line) for line in PAGE.splitlines() if line.startswith(f"| {beginning} |"))


def test_the_shares_of_the_notebook_are_what_its_times_give(benchmark):
    lines = list(benchmark.table_of_shares({"notebook": benchmark.NOTEBOOK}))

    assert len(lines) == 2 + 2 * len(benchmark.ACCOUNTINGS)
    assert [line for line in lines if line not in PAGE.splitlines()] == []


def test_the_shares_of_this_machine_follow_from_the_times_beside_them(benchmark):
    """Those are rounded to a tenth of a millisecond, so a cell may change its winner, here and there."""
    heads, tails = row("head"), row("tail")
    header = next(cells(line) for line in PAGE.splitlines() if line.startswith("| | whole |"))
    shares = [float(cell.removeprefix("c = ")) for cell in header[2:]]
    pairs = dict(zip(shares, zip(map(float, heads[2:]), map(float, tails[2:]), strict=True), strict=True))
    times = benchmark.Times(float(heads[1]), float(tails[1]), pairs)
    machines = {f"{slower}x": times.slowed(slower) for slower in benchmark.SLOWER}
    for line in list(benchmark.table_of_shares(machines))[2:]:
        counted, machine, ends, *found = cells(line)
        said = next(cells(each) for each in PAGE.splitlines() if each.startswith(f"| {counted} | {machine} | {ends} |"))
        for again, written in zip(found[:3], said[3:6], strict=True):
            assert abs(int(again.removesuffix(" %")) - int(written.removesuffix(" %"))) <= 4, (line, said)


def test_the_smallest_model_has_the_bottlenecks_that_stand_there(benchmark):
    pytest.importorskip("keras")
    model = benchmark.built("EfficientNetB0")
    lines = list(benchmark.table_of_models({"EfficientNetB0": (model.input_shape[1], benchmark.blocks_of(model))}))

    assert lines[-1] in PAGE.splitlines()
    assert cells(lines[-1])[3] == str(benchmark.PUBLISHED["EfficientNetB0"])
