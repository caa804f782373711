"""The tables of every command, at widths that terminals have and through a pipe, with the longest names there are."""

import collections
import dataclasses
import pathlib
import re
import sys

import click
import numpy as np
import pytest
import talk
from click.testing import CliRunner

from broker.messages import presence, topics
from broker.rollout import statefile
from broker.rollout.terms import Terms
from tflsplit import text
from tflsplit.api.seeing import evaluating
from tflsplit.cli import main
from tflsplit.cli.commands import demo, fleet, probe, replay, watch
from tflsplit.cli.commands.broker import listing
from tflsplit.cli.commands.seeing import evaluate
from tflsplit.cli.output import moves, screen, tables
from tflsplit.cli.output.tables import Column, Kind
from tflsplit.cli.trials import demonstration, replay_run
from tflsplit.cli.trials.emulation import comparison as comparison_of_machines
from tflsplit.cli.trials.emulation import printing
from tflsplit.evaluation import scores
from tflsplit.placement import machines
from tflsplit.placement.cost import Costs
from tflsplit.switching import comparison, traces
from tflsplit.switching.choices import Choice
from tflsplit.switching.controller import Tuning
from tflsplit.switching.goal import Goal
from tflsplit.switching.simulation import Setting, World
from tflsplit.timings import presets

SOURCES = pathlib.Path(screen.__file__).parents[1]
# A name as the converter joins them when it fuses layers of a public MobileNetV2.
LONG = ";".join(
    f"StatefulPartitionedCall/MobileNetV2/expanded_conv_{number}/project/Conv2D" for number in (14, 15, 16, 7)
)
WIDTHS = (40, 60, 80, 120)


@dataclasses.dataclass
class Shown:
    module: str
    columns: list
    rows: list


@pytest.fixture
def recorded(monkeypatch):
    """The tables that were printed, instead of printing them."""
    found = []

    def record(title, columns, rows):
        described = [Column(each) if isinstance(each, str) else each for each in columns]
        found.append(Shown(sys._getframe(1).f_globals["__name__"], described, list(rows)))

    monkeypatch.setattr(screen, "table", record)
    return found


def typed(*words):
    done = CliRunner().invoke(main.cli, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def print_all(package, folder):
    """Runs or calls everything that prints a table."""
    profiles = {side: folder / f"{side}.json" for side in ("edge", "cloud")}
    for side, file in profiles.items():
        typed("profile", package.path, "--side", side, "-o", file, "--budget", "0.1", "--precision", "0.5")
    typed("inspect", package.path, "--target", "coral")
    typed("inspect", package.path, "--errors")
    pair = ("--edge", profiles["edge"], "--cloud", profiles["cloud"])
    typed("plan", package.path, *pair, "--link", "wifi")
    stages = ("--stage", f"edge={profiles['edge']}", "--stage", f"cloud={profiles['cloud']}")
    typed("plan", package.path, *stages, "--link", "wifi")
    typed("distribute", package.path, "--devices", 2)
    np.save(folder / "inputs.npy", np.zeros((1, 4), np.int8))
    (folder / "edge.toml").write_text(
        f'[edge]\npackage = "{package.path}"\nbroker = "mqtt://localhost"\ndeployment = "d"\ndevice = "{"e" * 60}"\n'
        f'source = "{folder / "inputs.npy"}"\n'
    )
    typed("config", "check", folder / "edge.toml")
    identities = [("cam1", "device", None), ("e" * 60, "device", 1_900_000_000)]
    listing._print("d", "mqtts://localhost:8883", identities)
    listing._print(
        "d", "mqtts://localhost:8883", identities, {"e" * 60: presence.parse(talk.status("offline", reason="lost"))}
    )
    link = traces.of_rates("link", [(0.0, 2e7, traces.Conditions()), (5.0, 2e5, traces.Conditions())], 10.0)
    choices = [Choice("input:jpeg:75", 0.0, 150_528.0, 0.01, 0.1), Choice("output", 0.1, 0.0, 0.0, 0.0)]
    moves.write(comparison.compare(World(link, Setting()), choices, Goal(), Tuning()))
    probe._print(presets.named("wifi"))
    row = replay_run.Row("input:jpeg:75", LONG, 150_528, 1.0, 2.0, 1.5, 2.5, 30)
    replay._print(replay_run.Report(presets.named("wifi"), presets.named("wifi"), (row, row), row))
    way = comparison_of_machines.Row(
        Costs(1.5, 1.2, 93_528_963, (10**9, 1), (1, 1), (10**8, 1), 0.0), 1.4, 0.71, 0.83, 12, 0, 3, 0.3, {"m1": 10**8}
    )
    ways = {"this placement": way, "output_channels": way, "one_machine": way}
    printing.write(comparison_of_machines.Emulated("net", machines.even(2, 3.4e9, 1e8), 1, ways))
    figures = {"p50": 123.456, "p95": 1234.567, "p99": 12345.678}
    shares = {"float": 1.0, "int8": 1.0, "split": 1.0}
    summary = {"latency_ms": figures, "parts_ms": {"head": figures}}
    sizes = (150_528, 1_000_000, 10_000, 75)
    names = ("mosquitto", "real", summary)
    found = scores.of_labels([LONG] * 1000 + ["b"] * 20, ["b"] * 1000 + ["b"] * 19 + [LONG])
    ways = tuple(evaluating.Way(name, found) for name in ("float", "int8", "float tail at op012", "jpeg:90"))
    evaluate._print(evaluating.Report(1020, ways, (("--resize crop", 0.9),), ()))
    numbers = (evaluating.Way("int8", scores.of_numbers(np.arange(6.0).reshape(3, 2), np.ones((3, 2)))),)
    evaluate._print(evaluating.Report(3, numbers, (), ()))
    heard = talk.Heard()
    for name in ("cam1", "e" * 60):
        said = {"status": talk.status(), "birth": talk.birth(), "results": talk.result()}
        for kind, payload in said.items():
            heard.tell(name, topics.Kind(kind), payload)
        heard.tell(
            name,
            topics.Kind.TELEMETRY,
            talk.told(why="no answer came for 12 s although frames wait: does a cloud run?"),
        )
    told = heard.as_json(1001.0)
    watch._show(told)
    fleet._show(told, told["of_devices"])
    demo._print(demonstration.Report(360, 360, 0, 1.0, shares, "op012", LONG, *sizes, *names))


@pytest.fixture
def all_tables(recorded, tiny_package, tmp_path, monkeypatch):
    from edge_runtime.monitoring import breakdown, frame_trace

    print_all(tiny_package, tmp_path)
    figures = {"p50": 1.0, "p95": 2.0, "p99": 12345.678}
    found = {"frames": 1, "dominant": {"head": 1}, "parts_ms": {"head": figures}, "total_ms": figures}
    monkeypatch.setattr(frame_trace, "read", lambda file: [{}])
    monkeypatch.setattr(breakdown, "summarise", lambda lines: found)
    (tmp_path / "trace.jsonl").touch()
    typed("trace", tmp_path / "trace.jsonl")
    plan = statefile.Plan("shop", "9f" * 32, True, None, None, None, Terms())
    with statefile.create(tmp_path / "state", plan, ["cam1", "e" * 60]) as state:
        for entry in state.entries.values():
            entry.state, entry.phase, entry.cut = statefile.State.UNHEALTHY, 1, "op012"
            entry.said, entry.reason = (
                "installed",
                "its median latency is 60.7 ms, and was 20.4 ms: more than 1.5 times",
            )
        state.save(state.entries.values())
    typed("rollout", "status", tmp_path / "state")
    return recorded


def with_long_names(shown):
    """Each name in place of which a longer one might stand, as that."""
    rows = [
        [LONG if column.kind is Kind.NAME and cell else cell for column, cell in zip(shown.columns, row, strict=True)]
        for row in shown.rows
    ]
    return shown.columns, rows


def cells_of(lines):
    return collections.Counter(cell for line in lines for cell in re.split(r"\s{2,}", line.strip()))


def whole_cells(columns, rows, kinds, left_out=()):
    """What must stand on the screen as it is."""
    cells = (
        tables._shown(cell)
        for row in rows
        for column, cell in zip(columns, row, strict=True)
        if column.kind in kinds and column.title not in left_out
    )
    return collections.Counter(cell for cell in cells if cell)


def test_every_table_of_every_command_keeps_its_numbers_at_every_width(all_tables):
    printing = {
        f"tflsplit.cli.{file.relative_to(SOURCES).with_suffix('').as_posix().replace('/', '.')}"
        for file in SOURCES.rglob("*.py")
        if "screen.table(" in file.read_text("utf-8")
    }
    assert {shown.module for shown in all_tables} == printing
    for shown in all_tables:
        columns, rows = with_long_names(shown)
        for width in WIDTHS:
            made = tables.lay_out(columns, rows, width)

            missing = whole_cells(columns, rows, {Kind.WHOLE}, made.left_out) - cells_of(made.lines)
            assert not missing, (shown.module, width, made.lines)
            assert max(map(text.columns, made.lines)) <= width, (shown.module, width)
        piped = tables.lay_out(columns, rows, None)
        assert not piped.left_out
        assert not whole_cells(columns, rows, set(Kind)) - cells_of(piped.lines)


def test_a_number_that_is_cut_would_be_found():
    columns, rows = (Column("payload"), Column("layer", Kind.NAME)), [(150_528, LONG)]
    lines = [line.replace("150,528", "150,5") for line in tables.lay_out(columns, rows, 40).lines]

    assert whole_cells(columns, rows, {Kind.WHOLE}) - cells_of(lines)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("model", ["tf2_mobilenet_v2_1.0_224_ptq", "mobilenet_v1_0.25_128_quant"])
def test_the_cuts_of_public_models_at_every_width(recorded, shared_data, model, width):
    typed("inspect", shared_data / f"{model}.tflite")
    (shown,) = recorded
    made = tables.lay_out(shown.columns, shown.rows, width)

    assert not whole_cells(shown.columns, shown.rows, {Kind.WHOLE}, made.left_out) - cells_of(made.lines)
    assert max(map(text.columns, made.lines)) <= width
    assert "cut" not in made.left_out


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_two_layers_of_a_public_model_look_alike(recorded, shared_data, width):
    typed("inspect", shared_data / "tf2_mobilenet_v2_1.0_224_ptq.tflite")
    (shown,) = recorded
    place = [column.title for column in shown.columns].index("after layer")
    names = [str(row[place]) for row in shown.rows if row[place]]
    lines = tables.lay_out((shown.columns[place],), [(name,) for name in names], width - 24).lines

    assert len(set(lines[2:])) == len(set(names))


COLUMNS = (
    Column("cut"),
    Column("after layer", Kind.NAME),
    Column("payload B"),
    Column("tensors", rank=2),
    Column("useful", rank=1),
)
ROW = ("op012", LONG, 150_528, 1, "yes")


@pytest.mark.parametrize(
    ("width", "left_out"),
    [(None, ()), (80, ()), (49, ()), (46, ("tensors",)), (37, ("tensors", "useful")), (20, ("tensors", "useful"))],
)
def test_what_matters_least_is_left_out_first(width, left_out):
    assert tables.lay_out(COLUMNS, [ROW], width).left_out == left_out


def test_where_nothing_else_helps_a_row_is_a_block():
    block = ("cut          op012", f"after layer  {text.shortened(LONG, 16)}", "payload B    150,528")

    assert tables.lay_out(COLUMNS, [ROW, ROW], 29).lines == (*block, "", *block)


def test_a_note_goes_on_in_the_next_line_and_a_table_may_be_empty():
    columns = (Column("cut"), Column("why not", Kind.NOTE))
    lines = tables.lay_out(columns, [("op001", "behind the pick, and not by little")], 24).lines

    assert [line.strip() for line in lines[2:]] == ["op001  behind the pick,", "and not by little"]
    assert tables.lay_out(columns, [], 24).lines == ("cut  why not", "────────────")


def test_the_points_of_fractions_stand_below_each_other():
    lines = tables.lay_out((Column("p50"),), [(62.01,), (12345.678,), (7.0,)], 40).lines

    assert lines[2:] == ("    62.010", "12,345.678", "     7.000")


def test_terminal_escapes_in_cells_are_shown():
    assert "\\x1b[2J" in tables.lay_out((Column("name", Kind.NAME),), [("\x1b[2J",)], None).lines[-1]


@pytest.mark.parametrize(
    ("is_terminal", "is_wide", "cut"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_only_a_terminal_cuts_and_wide_forbids_it(monkeypatch, capsys, is_terminal, is_wide, cut):
    monkeypatch.setenv("COLUMNS", "44")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal, raising=False)
    shown = click.Command("shown", callback=lambda: screen.table("a title", COLUMNS, [ROW]))
    screen.wide_option(shown)
    shown.main(["--wide"] if is_wide else [], standalone_mode=False)
    out = capsys.readouterr().out

    assert (LONG not in out) == cut
    assert ("--wide shows all" in out) == cut


@pytest.mark.parametrize("is_terminal", [True, False])
def test_prose_is_broken_between_words_at_a_terminal_only(monkeypatch, capsys, is_terminal):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal, raising=False)
    words = "the best split is so near that `a command with words that is copied` stays whole"
    screen.write(words)
    screen.verbatim(words)
    *lines, last = capsys.readouterr().out.splitlines()

    assert " ".join(lines) == last == words
    assert [len(line) <= 40 or "`" in line for line in lines] == [True] * len(lines)
    assert (len(lines) > 1) == is_terminal


def test_numbers_stay_aligned_beside_missing_and_endless_ones():
    lines = tables.lay_out(
        (Column("cut"), Column("SQNR dB")), [("a", "31.9"), ("b", None), ("c", "equal"), ("d", "∞")], None
    ).lines
    assert [line[5:] for line in lines[2:]] == ["   31.9", "", "  equal", "      ∞"]
