"""A chain's plan: from the command line to a file, its page, and what two machines can run of it."""

import dataclasses
import json
from xml.etree import ElementTree

import invented
import numpy as np
import pytest
from command_line import run

from tflsplit import errors
from tflsplit.chains import pipeline
from tflsplit.chains import planfile as chains_planfile
from tflsplit.chains.pipeline import Goal
from tflsplit.cli.options import planfile as options_planfile
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import reading, verify
from tflsplit.placement import placement, running
from tflsplit.placement import planfile as placement_planfile
from tflsplit.placement.rewriting.network import Network
from tflsplit.planning.decision import Objective
from tflsplit.report.chain import charts
from tflsplit.report.chain import page as chain_page
from tflsplit.timings import presets
from tflsplit.timings import profiles as timings_profiles

# A slow camera, a gateway five times as fast, a server ten times as fast as that.
TIMES_MS = {"pi": (0.0, 50.0, 100.0, 150.0), "gateway": (0.0, 10.0, 20.0, 30.0), "server": (3.0, 2.0, 1.0, 0.0)}


@pytest.fixture
def profiles(tiny_package):
    made = {}
    for name, times in TIMES_MS.items():
        one = invented.cloud(tiny_package.cuts, times) if name == "server" else invented.edge(tiny_package.cuts, times)
        made[name] = dataclasses.replace(one, package=tiny_package.digest)
    return made


@pytest.fixture
def files(profiles, tmp_path):
    for name, made in profiles.items():
        (tmp_path / f"{name}.json").write_text(timings_profiles.render(made))
    return [word for name in profiles for word in ("--stage", f"{name}={tmp_path / name}.json")]


def chain_of_three(tiny_package, profiles, **goal):
    links = (presets.named("wifi"), presets.named("ethernet"))
    return pipeline.make(tiny_package, profiles, links, Goal(**goal))


@pytest.fixture
def write_plan(tiny_package, profiles, tmp_path):
    """Plans the chain of three with a goal, and writes the file."""

    def write(**goal):
        made = pipeline.plan_of(chain_of_three(tiny_package, profiles, **goal), tmp_path)
        (tmp_path / "plan.json").write_text(chains_planfile.render(made))
        return made, tmp_path / "plan.json"

    return write


def test_what_is_written_is_read(write_plan):
    made, path = write_plan(uses_all=True)

    assert chains_planfile.is_one(path)
    assert chains_planfile.render(chains_planfile.read(path)) == chains_planfile.render(made)


def test_a_chain_is_written_as_a_placement_that_gives_what_the_whole_gives(tiny_package, files, tmp_path):
    pieces = tmp_path / "pieces"
    words = ("plan", tiny_package.path, *files, "--link", "ethernet", "--use-all", "--pieces", pieces)
    code, _, said = run(*words)
    assert (code, run(*words)[0]) == (0, 1), said
    plan, network = placement_planfile.read(pieces / "placement.json"), Network(tiny_package.graph)
    placed = plan.placement()
    placement.check(network, placed)
    assert plan.machines == ("pi", "gateway", "server")
    assert [[bool(made) for made in stage.makes].index(True) for stage in placed.stages] == [0, 1, 2]
    assert (placed.source, placed.sink) == (0, 2)
    scheduled = placement.schedule(network, placed)
    assert scheduled.bytes_exchanged == plan.expected["bytes_exchanged"]
    assert all((pieces / name / f"stage{number:02d}.tflite").exists() for number, name in enumerate(plan.machines))
    with Interpreter(tiny_package.model_bytes()) as whole:
        (sample,) = verify.random_samples(whole.inputs, 1)
        (expected,), (found,) = whole.run(*sample), running.run(network, placed, scheduled, sample)
    assert np.array_equal(expected, found)


def test_a_stage_whose_name_is_no_folder_gets_no_pieces(tiny_package, files, tmp_path):
    named = [word.replace("pi=", "../pi=") for word in files]
    code, _, said = run("plan", tiny_package.path, *named, "--link", "4g", "--pieces", tmp_path / "pieces")
    assert code == 1
    assert "name is '../pi'" in said


def test_a_chain_is_planned_to_a_file_and_a_page(tiny_package, files, tmp_path):
    out, page = tmp_path / "plan.json", tmp_path / "page.html"
    code, said, _ = run("plan", tiny_package.path, *files, "--link", "ethernet", "--json", "-o", out, "--report", page)
    told, made = json.loads(said), chains_planfile.read(out)

    assert code == 0
    assert [share.name for share in made.stages] == ["pi", "gateway", "server"]
    assert [share.start for share in made.stages if share.runs][1:] == told["choice"]
    assert (made.stages[0].start, made.stages[-1].stop) == ("input", "output")
    assert made.expected["latency_ms"] == told["partition"]["latency_ms"]
    assert made.runner_up["why_not"]
    assert made.constraints == {"use_all": False, "pins": {}, "memory_bytes": {}, "fps": None}
    assert all(f"<td>{share.name}: pieces</td>" in page.read_text() for share in made.stages)


def test_more_than_two_machines_are_planned_and_not_run(write_plan):
    made, _ = write_plan(uses_all=True)
    instead = made.two_machines

    with pytest.raises(
        errors.SettingsError, match=r"the plan needs 3 machines \(pi input to .*edge and cloud are two; run"
    ):
        made.as_plan()
    # Where not all stages have to take part, the server alone is best of what two machines can do.
    assert (instead["edge"], instead["cloud"], instead["cut"]) == ("pi", "server", "input")


def test_a_chain_that_leaves_the_middle_out_runs_as_any_plan(tiny_package, write_plan):
    made, path = write_plan(pins=(("pi", "op000"),), fps=5.0)
    opened, plan = options_planfile.opened(None, path)

    assert [share.runs for share in made.stages] == [True, False, True]
    assert (opened.digest, plan.cut, plan.input_codec, plan.rate_fps) == (tiny_package.digest, "op000", None, 5.0)


def test_all_on_the_first_machine_is_the_cut_output(tiny_package, profiles, tmp_path):
    slow = (presets.named("nb-iot"), presets.named("nb-iot"))
    only = pipeline.make(tiny_package, profiles, slow, Goal(pins=(("pi", "op000"), ("pi", "output"))))
    plan = pipeline.plan_of(only, tmp_path).as_plan()

    assert (plan.cut, plan.input_codec) == ("output", None)


def test_a_rate_that_no_partition_keeps_up_with_names_the_nearest(tiny_package, profiles):
    with pytest.raises(errors.SettingsError, match=r"keeps up with 5000 frames/s; the nearest, .*: .* does \d"):
        chain_of_three(tiny_package, profiles, fps=5000.0)


def test_runners_up_of_a_throughput_plan_are_ranked_by_their_slowest_stage(tiny_package, profiles):
    found = chain_of_three(tiny_package, profiles, objective=Objective.THROUGHPUT).outcome.found

    assert [made.slowest_s for made in found] == sorted(made.slowest_s for made in found)
    assert len({made.pieces for made in found}) == len(found)


def test_each_chart_is_one_well_formed_drawing(tiny_package, profiles):
    outcome = chain_of_three(tiny_package, profiles, uses_all=True).outcome

    for svg in (charts.latency(outcome), charts.busy(outcome)):
        assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"


def test_the_page_shows_the_gain_and_the_rivals(tiny_package, profiles):
    text = chain_page.render(chain_of_three(tiny_package, profiles, uses_all=True))

    for words in ("libcoral, bisection", "Coral, equal parameters", "faster silicon", "do not split", "no stage"):
        assert (words in text) == (words != "do not split")
    assert "<script" not in text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--fps", "0"), "rate of 0.0 frames a second: give more than 0"),
        (("-o", "/no/such/folder/plan.json"), "there is no folder /no/such/folder"),
        (("--max-latency", "5ms"), "a chain of --stage is planned without --max-latency"),
        (("--objective", "price"), "planned for latency or throughput"),
        (("--pin", "attic=op000"), "no stage 'attic': the stages are pi, gateway, server"),
        (("--memory", "pi=much"), "memory 'much': write a number of bytes"),
        (("--memory", "pi=0"), "memory of 0 bytes on pi: give more than 0"),
        (("--hop", "wifi"), "3 stages have 2 links between, 1 given"),
    ],
)
def test_what_a_chain_does_not_take_is_refused_in_one_line(tiny_package, files, more, said):
    code, _, line = run("plan", tiny_package.path, *files, "--link", "wifi", *more)

    assert code == 1
    assert said in line


def test_options_of_a_chain_without_stages_are_refused(tiny_package):
    code, _, line = run("plan", tiny_package.path, "--link", "wifi", "--use-all")

    assert code == 1
    assert "--use-all: for a chain" in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"kind": "chain plan", "schema": 9}', "chain plan of schema 9"),
        ('{"kind": "chain plan", "schema": 1}', "damaged chain plan"),
    ],
)
def test_a_file_that_is_no_chain_plan_is_refused(tmp_path, text, said):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(errors.DataError, match=said):
        chains_planfile.read(tmp_path / "plan.json")


def test_each_machine_gets_its_slice_and_the_slices_are_the_model(tiny_package, profiles, write_plan, tmp_path):
    _, plan_path = write_plan(uses_all=True)
    (sample,) = verify.random_samples(tiny_package.manifest.inputs, 1)
    arrays = sample
    for name in profiles:
        code, said, _ = run("bundle", "--plan", plan_path, "--role", name, "-o", tmp_path / name, "--json")
        opened = reading.open_package(tmp_path / name)
        (model,) = [file for file in opened.manifest.files if file.endswith(".tflite")]
        with Interpreter((opened.path / model).read_bytes()) as piece:
            arrays = piece.run(*arrays)

        assert (code, json.loads(said)["digest"]) == (0, tiny_package.digest)

    with Interpreter(tiny_package.model_bytes()) as whole:
        assert [array.tolist() for array in arrays] == [array.tolist() for array in whole.run(*sample)]


def test_a_stage_with_nothing_to_do_or_no_such_stage_gets_no_bundle(write_plan, tmp_path):
    _, plan_path = write_plan(pins=(("pi", "op000"),))

    for name, said in (
        ("gateway", "has nothing to do in this plan"),
        ("attic", "no stage 'attic'; the plan's are pi,"),
    ):
        code, _, line = run("bundle", "--plan", plan_path, "--role", name, "-o", tmp_path / name)
        assert (code, said in line) == (1, True)
        assert not (tmp_path / name).exists()
