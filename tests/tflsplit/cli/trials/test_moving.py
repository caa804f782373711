"""`tflsplit replay --trace` with real processes. No figure of time decides, except that nothing beats its link."""

import json
import math
import subprocess
import sys
import types

import numpy as np
import pytest
from click.testing import CliRunner

from broker.local import server
from broker.messages import results
from edge_runtime.delivery.observer import OwnAnswer, Settled, Why
from tflsplit import errors
from tflsplit.cli.commands import replay as replay_command
from tflsplit.cli.trials import replay_run
from tflsplit.cli.trials.moving import device, task
from tflsplit.package import outputs
from tflsplit.switching.choices import Choice, Present
from tflsplit.switching.controller import Switch
from tflsplit.timings import profiles as timings_profiles
from tflsplit.timings.profiles import CutTiming, Profile, Side, Timing

TRACE = "time_s,rate_bps,rtt_s,loss,load\n0,8000000,0.02,0,0.5\n0.5,100000,0.02,0.02,0\n1,8000000,0.02,0,0\n"
# Milliseconds of each cut at the edge and in the cloud.
EDGE_MS, CLOUD_MS = (0.1, 20, 40, 60), (3, 2, 1, 0.1)


@pytest.fixture
def given(tiny_package, tmp_path):
    """Words for the command: a package, stated profiles and a trace of a second and a half."""
    words = [str(tiny_package.path)]
    for side, milliseconds in ((Side.EDGE, EDGE_MS), (Side.CLOUD, CLOUD_MS)):
        coding = Timing((0.0001,) * 5)
        cuts = tuple(
            CutTiming(cut.id, Timing((each / 1e3,) * 5), coding, float(cut.payload_bytes), 0.0, 0)
            for cut, each in zip(tiny_package.cuts, milliseconds, strict=True)
        )
        made = Profile(tiny_package.digest, "tiny", side, "cpu", {}, cuts, coding if side is Side.EDGE else None)
        path = tmp_path / f"{side.value}.json"
        path.write_text(timings_profiles.render(made))
        words += [f"--{side.value}", str(path)]
    (tmp_path / "link.csv").write_text(TRACE)
    return [*words, "--trace", str(tmp_path / "link.csv")]


def test_each_policy_runs_and_no_result_is_lost_or_another_than_the_whole_model_s(given, tmp_path):
    if server.mosquitto_path() is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")
    page = tmp_path / "page.html"
    words = (
        "--policy",
        "static,sciot",
        "--slow-edge",
        "4",
        "--duration",
        "1.2s",
        "--hedge",
        "0",
        "--report",
        str(page),
        "--json",
    )
    command = [sys.executable, "-m", "tflsplit.cli.main", "replay", *given, *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    fields = json.loads(done.stdout)

    assert list(fields["policies"]) == ["oracle", "best_static", "planned_static", "adaptive", "sciot"]
    assert "output" in fields["static"]
    for cut, outcome in fields["static"].items():
        assert outcome["cut_share"] == {cut: 1.0}
        assert cut == "output" or outcome["mean_ms"] >= 20
    ran = [*fields["static"].values(), fields["policies"]["adaptive"], fields["policies"]["sciot"]]
    assert all((each["lost"], each["wrong"]) == (0, 0) for each in ran)
    # Its first frame goes to the cloud, and is overdue at once.
    assert fields["policies"]["adaptive"]["hedged"] > 0
    assert all(each["hedged"] == 0 for each in ran if each is not fields["policies"]["adaptive"])
    assert all(1 <= each["frames"] <= 12 for each in ran)
    assert fields["switches"] == len(fields["switch_reasons"])
    assert "Real processes" in page.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--cuts", "all"), "--cuts is about cuts without --trace"),
        (("--bandwidth", "5Mbit"), "--bandwidth is about cuts without --trace"),
        (("--policy", "fastest"), "policy 'fastest'"),
        (("--hedge", "-1"), "hedge of -1"),
        (("--fps", "0"), "fps of 0"),
        (("--source", "/no/such/inputs.npy"), "there is no such file or folder"),
    ],
)
def test_what_can_be_known_before_is_refused_before_anything_is_measured(given, monkeypatch, words, said):
    monkeypatch.setattr(replay_run, "profile_of", lambda *_: pytest.fail("it began to measure"))
    refused = CliRunner().invoke(replay_command.command, [*given, *words]).exception

    assert isinstance(refused, errors.TflsplitError)
    assert said in str(refused)


@pytest.mark.parametrize("words", [("--fps", "5"), ("--policy", "static"), ("--report", "r.html"), ("--no-probes",)])
def test_what_is_about_a_trace_is_refused_without_one(tiny_package, words):
    refused = CliRunner().invoke(replay_command.command, [str(tiny_package.path), *words]).exception

    assert isinstance(refused, errors.SettingsError)
    assert f"{words[0]} is about a link that changes: give --trace as well" in str(refused)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("0,1000\n2,1000\n1,1000\n", "line 4: 1 s comes after 2 s"),
        ("0,1000\n\n2,1000\n", "line 3: empty, a gap in the trace"),
        ("0,0\n1,0\n", "its rate is 0 all the time"),
    ],
)
def test_a_trace_that_cannot_be_played_is_refused_with_its_line(given, tmp_path, monkeypatch, rows, said):
    monkeypatch.setattr(replay_run, "profile_of", lambda *_: pytest.fail("it began to measure"))
    (tmp_path / "link.csv").write_text("time_s,rate_bps\n" + rows)
    refused = CliRunner().invoke(replay_command.command, given).exception

    assert isinstance(refused, errors.DataError)
    assert said in str(refused)


def settled(sequence, read):
    """A result that says what was read of outputs."""
    times = results.Times(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    top = tuple(results.Score(*each) for each in read.top)
    answer = results.Result("n", 7, sequence, "op000", "9f", times, top=top, values=read.values)
    return Settled(7, sequence, "9f", "op000", answer, 0, 0.0, 0, 0, 0.1, 1, 0.1)


def test_a_judge_sees_a_result_that_is_not_the_whole_model_s(tiny_package):
    told = tiny_package.manifest
    (spec,) = told.outputs
    rows = [(np.full(spec.shape, value, spec.dtype),) for value in (3, 9)]
    out = {number: task.Frame(0.0, "op000", 100.0, math.nan, 0.01) for number in range(4)}
    mover = types.SimpleNamespace(end=lambda sequence: out.pop(sequence, None))
    judge = device.Judge(tiny_package, rows, mover)
    first, second = (outputs.read(told.results, row, told.labels, told.meanings) for row in rows)
    for sequence, read in enumerate((first, second, first)):
        judge.settled(settled(sequence, read))
    assert judge.wrong == 0
    judge.settled(settled(3, first))

    assert judge.wrong == 1
    assert not out
    assert [frame.latency_s for frame in judge.played] == [0.1] * 4


def test_an_answer_of_the_device_ends_a_frame_that_is_hedged_and_is_looked_at_as_any_other(tiny_package):
    told = tiny_package.manifest
    rows = [(np.full(told.outputs[0].shape, value, told.outputs[0].dtype),) for value in (3, 9)]
    out = {number: task.Frame(0.0, "op000", 100.0, math.nan, 0.01) for number in range(2)}
    judge = device.Judge(tiny_package, rows, types.SimpleNamespace(end=lambda sequence: out.pop(sequence, None)))
    first, second = (outputs.read(told.results, row, told.labels, told.meanings) for row in rows)
    for sequence, read in ((0, first), (1, first)):
        judge.answered(OwnAnswer(settled(sequence, read).answer, Why.OVERDUE, "op000", 0, 0.01, 0.05, True))
        judge.settled(settled(sequence, second))  # the cloud's comes late: it ends nothing any more

    assert [(frame.latency_s, frame.is_hedged) for frame in judge.played] == [(0.05, True)] * 2
    assert judge.wrong == 1


def test_what_a_device_is_told_and_tells_passes_through_json():
    choices = (Choice("input", 0.0, 10.0, 0.1, math.inf), Choice("output", 0.1, 0.0, 0.0, 0.0))
    wanted = task.Task("p", choices, Present(1e-6, 0.04), "output", "mean", True, 4.0, 10.0, 1.5, "s", "o", "d", "n")
    told = task.Told((task.Frame(0.1, "input", 10.0, 0.2, 0.1, 0.05),), (Switch(0.1, "a", "b", "link"),), 4.0, 1, 2)

    assert task.Task.from_json(json.loads(json.dumps(wanted.as_json()))) == wanted
    assert task.Told.from_json(json.loads(json.dumps(told.as_json()))) == told
