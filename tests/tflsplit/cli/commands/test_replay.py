"""`tflsplit replay` with real processes. No figure of time decides, except that nothing is faster than its link."""

import contextlib
import json
import pathlib
import signal
import socket
import subprocess
import sys

import pytest
import real_link
import waiting
from click.testing import CliRunner

from broker.local import server
from tflsplit import errors
from tflsplit.cli.commands import replay as replay_command
from tflsplit.cli.trials import replay_run, replay_stage
from tflsplit.package import reading as packages
from tflsplit.planning import pipeline, planfile
from tflsplit.timings import profiles as timings_profiles
from tflsplit.timings.links import Link
from tflsplit.timings.profiles import CutTiming, Origin, Profile, Side, Timing


@pytest.fixture(autouse=True)
def _with_mosquitto():
    if server.mosquitto_path() is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")


def invented(package, side, path):
    """A profile in which every cut takes a millisecond."""
    steady = Timing((0.001,) * 5)
    cuts = tuple(CutTiming(cut.id, steady, steady, float(cut.payload_bytes), 0.0, 0) for cut in package.cuts)
    made = Profile(package.digest, "tiny", side, "cpu", {}, cuts, steady if side is Side.EDGE else None)
    path.write_text(timings_profiles.render(made))
    return str(path)


def test_every_cut_is_run_and_set_against_its_prediction(tiny_package, tmp_path):
    profiles = ["--edge", invented(tiny_package, Side.EDGE, tmp_path / "e.json")]
    profiles += ["--cloud", invented(tiny_package, Side.CLOUD, tmp_path / "c.json")]
    command = [sys.executable, "-m", "tflsplit.cli.main", "replay", str(tiny_package.path), *profiles]
    command += ["--bandwidth", "50Mbit", "--rtt", "20ms", "--cuts", "all", "--frames", "5", "--json"]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert [row["cut"] for row in report["cuts"]] == [cut.id for cut in tiny_package.cuts]
    assert all(row["measured_ms"]["p50"] >= 20 for row in report["cuts"])
    assert all(row["predicted_ms"]["p50"] >= 20 for row in report["cuts"])
    assert report["link"]["stated"] == {"bandwidth_bps": 50e6, "rtt_s": 0.02, "loss": 0.0}
    assert report["link"]["measured"]["rtt_s"] >= 0.02
    assert report["link"]["measured"]["lost_packets"] == 0
    assert report["regret"] >= 0


def test_a_relay_loses_nothing_and_so_refuses_to_and_says_what_can(tiny_package, tmp_path):
    lossy = Link("radio", Origin.STATED, 1e6, 0.01, loss=0.01)

    with (
        pytest.raises(errors.SettingsError, match="--shaping namespace, which needs root, or without --loss"),
        replay_stage.stage(tiny_package, lossy, tmp_path),
    ):
        pass


def row(cut, predicted_s, measured_s):
    return replay_run.Row(cut.id, None, 0, predicted_s, predicted_s, measured_s, measured_s, 5)


def test_regret_is_what_the_pick_costs_over_the_best(tiny_package):
    cuts = tiny_package.cuts
    link = Link("x", Origin.STATED, 1e6, 0.01)
    rows = (row(cuts[0], 1.0, 1.1), row(cuts[1], 1.2, 1.0), row(cuts[2], 3.0, 3.0))
    report = replay_run.Report(link, link, rows, rows[0])

    assert report.best.id == cuts[1].id
    assert report.regret == pytest.approx(0.1)
    assert report.rows[0].error == pytest.approx(1 / 1.1 - 1)


@pytest.mark.sweep
def test_the_input_is_replayed_raw_and_as_jpeg_too(digits, tmp_path):
    command = [sys.executable, "-m", "tflsplit.cli.main", "replay", str(digits), "--frames", "5", "--json"]
    command += ["--source", str(digits.parent / "test.npy"), "--bandwidth", "5Mbit", "--rtt", "40ms"]
    package = packages.open_package(digits)
    command += ["--edge", invented(package, Side.EDGE, tmp_path / "e.json")]
    command += ["--cloud", invented(package, Side.CLOUD, tmp_path / "c.json")]
    chosen = [*command, "--cuts", "input:raw,input:jpeg:60,input"]
    rows = json.loads(subprocess.run(chosen, check=True, capture_output=True, text=True).stdout)["cuts"]

    assert [row["cut"] for row in rows] == ["input:raw", "input:jpeg:60", "input"]
    assert rows[0]["payload_bytes"] == 1024
    assert all(min(row["measured_ms"]["p50"], row["predicted_ms"]["p50"]) >= 40 for row in rows)


def test_pixels_are_not_replayed_where_there_are_none(tiny_package, tmp_path):
    profiles = ["--edge", invented(tiny_package, Side.EDGE, tmp_path / "e.json")]
    profiles += ["--cloud", invented(tiny_package, Side.CLOUD, tmp_path / "c.json")]
    command = [sys.executable, "-m", "tflsplit.cli.main", "replay", str(tiny_package.path), *profiles]
    command += ["--bandwidth", "50Mbit", "--rtt", "0ms", "--cuts", "input:raw"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert done.returncode == 1
    assert "input:raw: the package takes no pictures" in done.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--cuts", "op000,nowhere"), "no cut or layer 'nowhere'"),
        (("--cuts", "input:raw"), "the package takes no pictures"),
        (("--cuts", "input:gif"), "gif"),
        (("--loss", "1%"), "a relay of TCP loses nothing"),
        (("--source", "/no/such/inputs.npy"), "there is no such file or folder"),
    ],
)
def test_what_can_be_known_before_is_refused_before_anything_is_measured(tiny_package, monkeypatch, options, reason):
    def measure(*_):
        pytest.fail("it began to measure")

    monkeypatch.setattr(replay_run, "profile_of", measure)
    words = [str(tiny_package.path), "--bandwidth", "5Mbit", "--rtt", "40ms", *options]
    refused = CliRunner().invoke(replay_command.command, words).exception

    assert isinstance(refused, errors.TflsplitError)
    assert reason in str(refused)


@pytest.fixture
def _with_namespaces():
    real_link.skip_where_impossible()


def over_namespaces(package, folder, *options):
    profiles = ["--edge", invented(package, Side.EDGE, folder / "e.json")]
    profiles += ["--cloud", invented(package, Side.CLOUD, folder / "c.json")]
    link = ["--bandwidth", "5Mbit", "--rtt", "40ms", "--loss", "1%", "--shaping", "namespace"]
    return [sys.executable, "-m", "tflsplit.cli.main", "replay", str(package.path), *profiles, *link, *options]


@pytest.mark.usefixtures("_with_namespaces")
def test_the_kernel_s_tcp_is_replayed_over_a_link_that_loses_packets(digits, tmp_path):
    options = ("--source", str(digits.parent / "test.npy"), "--cuts", "input,output", "--frames", "10", "--json")
    command = over_namespaces(packages.open_package(digits), tmp_path, *options)
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert [row["cut"] for row in report["cuts"]] == ["input", "output"]
    assert all(min(row["measured_ms"]["p50"], row["predicted_ms"]["p50"]) >= 40 for row in report["cuts"])
    assert report["link"]["stated"] == {"bandwidth_bps": 5e6, "rtt_s": 0.04, "loss": 0.01}
    assert report["link"]["measured"]["lost_packets"] > 0


def those_who_name(text):
    """The processes whose command lines do; those that ended and wait for their parent have none."""
    found = set()
    for place in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if text.encode() in place.read_bytes():
                found.add(int(place.parent.name))
    return found


def children_of(process):
    place = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return {int(word) for word in place.read_text().split()}


def links_up():
    return {name for _, name in socket.if_nameindex() if name.startswith("tfs")}


@pytest.mark.usefixtures("_with_namespaces")
@pytest.mark.parametrize("signalled", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_replay_that_is_ended(signalled, tiny_package, tmp_path):
    before = links_up()
    with subprocess.Popen(
        over_namespaces(tiny_package, tmp_path, "--cuts", "all"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as replay:
        try:
            waiting.wait_for(lambda: len(children_of(replay) & those_who_name("tflsplit.cli.main\0probe")) == 2)
            # Both ends of the probe, and the cloud.
            waiting.wait_for(lambda: len(children_of(replay) & those_who_name("tflsplit.cli.main")) == 3)
            started = children_of(replay) & those_who_name("tflsplit.cli.main")
            links = links_up() - before  # and perhaps another's, which goes as well
            assert links
        finally:
            replay.send_signal(signalled)

    waiting.wait_for(lambda: not links & links_up() and not started & those_who_name("tflsplit.cli.main"))


def test_a_plan_s_link_is_replayed_with_its_loss(tiny_package):
    link = {"name": "radio", "bandwidth_bps": 1e6, "rtt_s": 0.1, "loss": 0.02}
    made = planfile.Plan(tiny_package.digest, "tiny", "tiny.tflsplit", "output", None, None, None, 1, "", link=link)

    assert pipeline.link_of(made) == Link("radio", Origin.STATED, 1e6, 0.1, 0.02, source="the plan")
