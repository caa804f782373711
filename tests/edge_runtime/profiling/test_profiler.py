"""Profiles of tiny models, and runs that were killed. Clocks are invented: no timing decides a test."""

import itertools
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from waiting import wait_for

from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.profiling import profiler
from edge_runtime.sources import frames
from tflsplit import errors
from tflsplit.timings import profiles
from tflsplit.timings.profiles import Side

SETTINGS = profiler.Settings(budget_s=1e6)


def task(package, side=Side.EDGE, **changes):
    return profiler.Task(package, side, Cpu(), **changes)


def ticking(step_s=0.001):
    """Every reading is `step_s` after the one before."""
    return itertools.count(0.0, step_s).__next__


def run(given, journal, settings=SETTINGS, **options):
    return profiler.profile(given, journal, settings, clock=ticking(), **options)


@pytest.mark.parametrize("side", Side)
def test_every_cut_is_timed_on_either_side(tiny_package, tmp_path, side):
    made = run(task(tiny_package, side), tmp_path / "journal")

    assert [entry.cut for entry in made.cuts] == [cut.id for cut in tiny_package.cuts]
    assert all(entry.run.runs >= profiles.FEWEST_RUNS for entry in made.cuts)
    assert all(entry.run.p50_s == pytest.approx(0.001) for entry in made.cuts[1:])
    assert (made.package, made.side, made.accelerator) == (tiny_package.digest, side, "cpu")
    assert (made.preprocess is not None) == (side is Side.EDGE)


def test_the_head_of_the_input_takes_no_time(tiny_package, tmp_path):
    made = run(task(tiny_package), tmp_path / "journal")

    assert (made.cuts[0].run.p50_s, made.cuts[0].memory_bytes) == (0.0, 0)


def test_coded_sizes_are_those_of_the_payload_without_headers(tiny_package, tmp_path):
    made = run(task(tiny_package), tmp_path / "journal")

    assert [entry.coded_bytes for entry in made.cuts] == [cut.payload_bytes for cut in tiny_package.cuts]


def test_random_inputs_are_said_to_be_random_and_given_ones_are_used(tiny_package, tmp_path):
    assert "random" in run(task(tiny_package), tmp_path / "a").notes[0]
    taken = []

    def rows():
        for value in range(8):
            taken.append(value)
            yield (np.full((1, 4), value, np.int8),)

    source = frames.Source(rows, tuple, is_live=False)

    assert run(task(tiny_package, source=source), tmp_path / "b").notes == ()
    assert taken


def test_a_profile_survives_its_file(tiny_package, tmp_path):
    made = run(task(tiny_package), tmp_path / "journal")
    path = tmp_path / "edge.json"
    path.write_text(profiles.render(made))

    assert profiles.read(path) == made


def test_cuts_take_turns(tiny_package, tmp_path):
    measured = []
    run(task(tiny_package), tmp_path / "journal", on_measurement=measured.append)
    ids = [cut.id for cut in tiny_package.cuts]

    # The ends go first, to learn what a round costs; then rounds forth and back.
    assert measured[:10] == [ids[0], ids[-1], *ids, *reversed(ids)][:10]


def test_a_budget_that_is_too_small_leaves_cuts_to_be_estimated_and_says_so(tiny_package, tmp_path):
    made = run(task(tiny_package), tmp_path / "journal", profiler.Settings(budget_s=1e-6))

    assert [entry.run.origin.value for entry in made.cuts] == ["measured", "estimated", "estimated", "measured"]
    assert "2 of 4 cuts timed" in made.notes[1]


def test_measurements_that_a_journal_holds_are_not_made_again(tiny_package, tmp_path):
    journal = tmp_path / "journal"
    first = run(task(tiny_package), journal)
    lines = journal.read_text()
    again = run(task(tiny_package), journal)

    assert journal.read_text() == lines
    assert again.cuts == first.cuts


def test_a_run_that_goes_on_times_no_more_cuts_than_the_one_before_could_afford(tiny_package, tmp_path):
    journal = tmp_path / "journal"
    small = profiler.Settings(budget_s=1e-6)
    first = run(task(tiny_package), journal, small)

    assert run(task(tiny_package), journal, small).cuts == first.cuts


def test_a_line_that_was_cut_off_is_dropped_and_its_measurement_made_again(tiny_package, tmp_path):
    journal = tmp_path / "journal"
    run(task(tiny_package), journal)
    whole = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(whole[:-1]) + whole[-1][:20])
    run(task(tiny_package), journal)

    assert len(journal.read_text().splitlines()) == len(whole)
    assert [json.loads(line) for line in journal.read_text().splitlines()]


def test_a_journal_of_another_run_is_refused(tiny_package, tmp_path):
    journal = tmp_path / "journal"
    run(task(tiny_package), journal)

    with pytest.raises(errors.DataError, match="left by another run"):
        run(task(tiny_package, Side.CLOUD), journal)


def test_a_damaged_journal_is_refused(tiny_package, tmp_path):
    journal = tmp_path / "journal"
    journal.write_text("{}\n[\n")

    with pytest.raises(errors.DataError):
        run(task(tiny_package), journal)


@pytest.mark.chaos
def test_a_killed_run_goes_on_where_it_was(tiny_package, tmp_path):
    target = tmp_path / "edge.json"
    command = [sys.executable, "-c", "from tflsplit.cli.main import main; main()", "profile", str(tiny_package.path)]
    command += ["--side", "edge", "-o", str(target)]
    # Nothing is ever known this closely: it would go on until killed.
    endless = subprocess.Popen([*command, "--precision", "1e-12", "--budget", "1e6"], stderr=subprocess.DEVNULL)
    journal = target.with_name("edge.json.partial")

    def has_measured():
        assert endless.poll() is None
        return journal.exists() and journal.read_text().count("\n") > 30

    wait_for(has_measured)
    endless.send_signal(signal.SIGKILL)
    endless.wait()
    held = journal.read_text().count("\n") - 1
    subprocess.run([*command, "--precision", "0.9"], check=True, stdout=subprocess.DEVNULL)
    made = profiles.read(target)

    assert not journal.exists()
    assert sum(entry.run.runs for entry in made.cuts) >= held * profiles.FEWEST_RUNS


@pytest.mark.parametrize("changes", [{"budget_s": 0.0}, {"precision": 0.0}, {"precision": 1.0}])
def test_settings_that_cannot_be_used_are_refused(changes):
    with pytest.raises(errors.SettingsError):
        profiler.Settings(**changes)
