"""All policies over one trace: what is printed, and the figures that the moving cut has to reach."""

import pathlib

import pytest

from tests import conftest
from tests.tflsplit.switching import tables
from tflsplit import errors
from tflsplit.switching import comparison, hedge, traces
from tflsplit.switching.controller import Tuning
from tflsplit.switching.goal import Goal, Wish
from tflsplit.switching.simulation import Setting, World

MADE = sorted((conftest.CHECKOUT / "examples" / "traces").glob("*.csv"))
RECORDED = sorted((conftest.SHARED_DATA / "traces").glob("*.up"))
# EfficientNet-B0 at 224 px as a public notebook measured it (ms at the edge and in the cloud; int8 bytes), with and
# without the input as a JPEG of 12 kB.
MEASURED = (
    ("input", 0.0, 150_528, 33.4),
    ("block2", 10.96, 75_264, 28.34),
    ("block4", 21.21, 31_360, 25.12),
    ("block6", 29.82, 15_680, 20.55),
    ("block12", 63.08, 9_408, 9.59),
    ("output", 115.1, 0, 0.0),
)


def efficientnet(*, jpeg):
    rows = [("input:jpeg:75", 2.0, 12_000, 33.4), *MEASURED] if jpeg else MEASURED
    return [
        tables.Choice(name, edge / 1e3, size * 1.04 + 200 if size else 0.0, cloud / 1e3, (115.1 - edge) / 1e3)
        for name, edge, size, cloud in rows
    ]


def cells(paths):
    for path in paths:
        for jpeg in (False, True):
            for slow_edge in (1.0, 4.0):
                yield World(traces.read(path), Setting(slow_edge=slow_edge)), efficientnet(jpeg=jpeg)


def played(paths, goal, tuning):
    return [comparison.compare(world, choices, goal, tuning, ()) for world, choices in cells(paths)]


def mean(values):
    return sum(values) / len(values)


def tell(found):
    """The figures of docs/switching.md, shown by `pytest -rP`."""
    for name in ("adaptive_over_oracle", "adaptive_over_best_static"):
        values = [getattr(each, name) for each in found]
        print(f"{name}: {mean(values):.3f} in the mean of {len(values)} cells, {max(values):.3f} in the worst")


@pytest.mark.skipif(not RECORDED, reason="no recorded traces here: set TFLSPLIT_TEST_DATA")
def test_a_moving_cut_is_near_the_oracle_and_beats_the_plan_on_recorded_links():
    found = played(RECORDED, Goal(), Tuning(hedge=hedge.DEFAULT))
    tell(found)
    over_oracle = [each.adaptive_over_oracle for each in found]
    over_planned = [each.policies["adaptive"].mean_ms / each.policies["planned_static"].mean_ms for each in found]

    assert mean(over_oracle) <= 1.025
    assert max(over_oracle) <= 1.08
    assert max(each.adaptive_over_best_static for each in found) <= 1.04
    assert mean(over_planned) < 1.0


def test_so_it_is_on_the_traces_that_come_along():
    assert len(MADE) == 3
    found = played(MADE, Goal(), Tuning(hedge=hedge.DEFAULT))
    tell(found)

    assert mean([each.adaptive_over_oracle for each in found]) <= 1.025
    assert max(each.adaptive_over_oracle for each in found) <= 1.08
    assert max(each.adaptive_over_best_static for each in found) <= 1.04


@pytest.mark.skipif(not RECORDED, reason="no recorded traces here: set TFLSPLIT_TEST_DATA")
def test_where_p95_is_the_wish_it_is_near_the_best_cut_that_stays():
    found = played([*RECORDED, *MADE], Goal(Wish.P95), Tuning(hedge=hedge.DEFAULT))
    ratios = [each.policies["adaptive"].p95_ms / each.policies["best_static"].p95_ms for each in found]

    print(f"p95 over the best staying cut's: {mean(ratios):.3f} in the mean, {max(ratios):.3f} in the worst")
    assert mean(ratios) <= 1.02
    assert max(ratios) <= 1.1


def test_the_traces_that_come_along_are_what_their_script_writes(tmp_path):
    script = pathlib.Path(conftest.CHECKOUT / "examples" / "traces" / "make.py")
    names = {"__name__": "made", "__file__": str(tmp_path / "make.py")}
    exec(compile(script.read_text(), str(script), "exec"), names)
    names["main"]()

    assert {path.name: (tmp_path / path.name).read_text() for path in MADE} == {
        path.name: path.read_text() for path in MADE
    }


def test_everything_is_in_the_json():
    world = World(tables.link((5, 30.0), (5, 0.3), (5, 30.0)), Setting())
    found = comparison.compare(world, tables.choices(), Goal(), Tuning(hedge=hedge.DEFAULT))
    fields = found.as_json()

    assert list(fields["policies"]) == [*comparison.LIMITS, *comparison.makers(Goal(), Tuning())]
    ours = fields["policies"]["adaptive"]
    assert sum(ours["cut_share"].values()) == pytest.approx(1.0)
    assert (ours["lost"], ours["wrong"]) == (0, 0)
    assert fields["frames"] == ours["frames"] > 0
    assert fields["switches"] == len(fields["switch_reasons"]) > 0
    assert {each["reason"] for each in fields["switch_reasons"]} <= {"link", "server", "device"}
    assert fields["adaptive_over_oracle"] == ours["mean_ms"] / fields["policies"]["oracle"]["mean_ms"]


def test_a_tick_that_finds_the_device_busy_counts_as_the_frame_that_keeps_it_busy():
    world = World(tables.link((10, 1.0)), Setting(fps=10))
    found = comparison.compare(world, tables.choices(), Goal(), Tuning(), ()).statics["input"]

    assert found.frames + found.skipped == pytest.approx(100, abs=14)
    assert found.skipped > found.frames


def test_where_nothing_can_move_it_is_said():
    with pytest.raises(errors.SettingsError, match="nothing can move: the only cut that is ever the best is output"):
        comparison.compare(World(tables.link((5, 8.0)), Setting()), tables.choices()[-1:], Goal(), Tuning())
