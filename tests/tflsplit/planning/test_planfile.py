"""Plan files: what is written is read, and what does not fit is refused in one line."""

import dataclasses
import json
import os

import invented
import pytest
from command_line import run

from tflsplit import errors
from tflsplit.package import reading, writing
from tflsplit.planning import pipeline, planfile
from tflsplit.planning.decision import Goal
from tflsplit.planning.scenario import Scenario, Workload
from tflsplit.timings import presets
from tflsplit.timings import profiles as timings_profiles
from tflsplit.timings.profiles import Side


@pytest.fixture
def profiles(tiny_package, tmp_path):
    """Paths of an edge's and a cloud's profile of the tiny package, with invented times."""
    paths = {}
    for name, made in (
        ("edge", invented.edge(tiny_package.cuts, (0.0, 1.0, 2.0, 3.0), preprocess=0.5)),
        ("cloud", invented.cloud(tiny_package.cuts, (0.3, 0.2, 0.1, 0.0))),
    ):
        paths[name] = tmp_path / f"{name}.json"
        paths[name].write_text(timings_profiles.render(dataclasses.replace(made, package=tiny_package.digest)))
    return paths


@pytest.fixture
def outcome(tiny_package, profiles):
    return pipeline.make(
        tiny_package,
        pipeline.read_profile(profiles["edge"], tiny_package, Side.EDGE),
        pipeline.read_profile(profiles["cloud"], tiny_package, Side.CLOUD),
        Scenario(presets.named("wifi"), Workload(rate_fps=10.0, window=4)),
        Goal(),
    )


def planned(tiny_package, profiles, *more):
    sides = ("--edge", profiles["edge"], "--cloud", profiles["cloud"])
    return run("plan", tiny_package.path, *sides, *more)


def test_what_is_written_is_read(outcome, tmp_path):
    made = pipeline.plan_of(outcome, tmp_path)
    (tmp_path / "plan.json").write_text(planfile.render(made))

    assert planfile.read(tmp_path / "plan.json") == made
    assert planfile.render(planfile.read(tmp_path / "plan.json")) == planfile.render(made)


def test_a_plan_says_what_to_run_for_what_and_what_came_second(outcome, tiny_package, tmp_path):
    made = pipeline.plan_of(outcome, tmp_path)

    assert (made.package_digest, made.package_path) == (tiny_package.digest, "tiny.tflsplit")
    assert (made.cut, made.rate_fps, made.window) == (outcome.decision.choice.cost.candidate.cut.id, 10.0, 4)
    assert made.expected["latency_ms"]["p50"] > 0
    assert made.runner_up["why_not"]
    assert made.devices["edge"]["name"] == "the edge"


def test_json_has_the_keys_that_programs_read(tiny_package, profiles):
    code, out, _ = planned(tiny_package, profiles, "--bandwidth", "5Mbit", "--rtt", "40ms", "--json")
    told = json.loads(out)

    assert code == 0
    assert {"choice", "objective", "candidates", "pareto", "do_not_split", "break_even"} <= set(told)
    assert {
        *("cut", "layer", "feasible", "dominated_by", "latency_ms", "throughput_fps", "payload_bytes"),
        *("bytes_per_day", "edge_memory_bytes", "parts_ms", "why_not"),
    } <= set(told["candidates"][0])
    assert told["choice"] in [entry["cut"] for entry in told["candidates"]]


def test_nothing_meets_the_constraints_is_exit_code_1_with_all_reasons(tiny_package, profiles, tmp_path):
    out_path = tmp_path / "plan.json"
    code, out, line = planned(
        tiny_package, profiles, "--link", "nb-iot", "--max-latency", "1ms", "--json", "-o", out_path
    )
    told = json.loads(out)

    assert code == 1
    assert told["choice"] is None
    assert all(entry["failed"] == ["max_latency"] for entry in told["candidates"])
    assert told["nearest_miss"] in [entry["cut"] for entry in told["candidates"]]
    assert not out_path.exists()
    assert line.startswith("nothing meets the constraints; nearest is")


def test_a_plan_runs_where_its_package_is_and_is_bundled(tiny_package, profiles, tmp_path):
    made = tmp_path / "plan.json"
    assert planned(tiny_package, profiles, "--link", "wifi", "--input-codecs", "int8", "-o", made)[0] == 0
    code, out, _ = run("bundle", "--plan", made, "--role", "cloud", "-o", tmp_path / "cloud.tflsplit", "--json")

    assert (code, json.loads(out)["digest"]) == (0, tiny_package.digest)
    assert reading.open_package(tmp_path / "cloud.tflsplit").digest == tiny_package.digest


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--link", "6g"), "presets are nb-iot"),
        (("--link", "wfii"), "did you mean 'wifi'?"),
        (("--link", "4g", "--rtt", "1ms"), "both describe the link"),
        ((), "no link: give link FILE"),
        (("--bandwidth", "0Mbit", "--rtt", "1ms"), "carries nothing"),
        (("--link", "4g", "--input-codecs", "png"), "write raw, int8 or jpeg:QUALITY"),
        (("--link", "4g", "--idle-watts", "2"), "belong together"),
        (("--link", "4g", "--min-depth", "layer99"), "no cut or layer 'layer99'"),
        (("--link", "4g", "--objective", "price"), "--price-per-gb"),
    ],
)
def test_options_that_cannot_be_used_are_refused_in_one_line(tiny_package, profiles, more, said):
    code, _, line = planned(tiny_package, profiles, *more)

    assert code == 1
    assert said in line


def test_profiles_of_another_package_side_schema_or_too_few_runs_are_refused(tiny_package, profiles):
    fields = json.loads(profiles["edge"].read_text())

    def refused(**changed):
        profiles["edge"].write_text(json.dumps(fields | changed))
        code, _, line = planned(tiny_package, profiles, "--link", "4g")
        assert code == 1
        return line

    short = json.loads(json.dumps(fields["cuts"]))
    short[1]["run"]["samples_s"] = [0.001]
    assert "measured for package 000000" in refused(package="0" * 64)
    assert "a profile of the cloud, expected the edge's" in refused(side="cloud")
    assert "profile of schema 99, this tflsplit reads" in refused(schema=99)
    assert "at least 5 needed" in refused(cuts=short)


@pytest.fixture
def chained(profiles):
    """The options for a chain of the two."""
    return ("--stage", f"pi={profiles['edge']}", "--stage", f"srv={profiles['cloud']}")


def test_stages_in_the_wrong_order_are_refused(tiny_package, chained):
    code, _, line = run("plan", tiny_package.path, *chained[2:], *chained[:2], "--link", "4g")

    assert code == 1
    assert "list the stages from the device to the cloud" in line


def test_a_chain_is_partitioned_explained_and_compared(tiny_package, chained):
    code, out, _ = run("plan", tiny_package.path, *chained, "--link", "ethernet", "--json")
    told = json.loads(out)

    assert code == 0
    # Less than a millisecond in the cloud, 3 ms here: the input goes over.
    pieces = told["partition"]["pieces"]
    assert [(piece["stage"], piece["from"] == piece["to"]) for piece in pieces] == [("pi", True), ("srv", False)]
    assert set(told["rivals"]) == {"parameter_count", "bisection"}
    assert told["explanation"]["latency"]["baseline"] == "srv"


def test_a_pin_keeps_a_layer_on_its_stage(tiny_package, chained):
    code, out, _ = run("plan", tiny_package.path, *chained, "--link", "ethernet", "--pin", "pi=op001", "--json")

    assert code == 0
    assert json.loads(out)["choice"] == ["op001"]


def test_a_plan_for_another_package_is_refused_by_name(outcome, residual_model, tmp_path):
    import tiny_models

    other = writing.write(
        tmp_path / "other.tflsplit", tiny_models.describe(residual_model, labels=("a",)), residual_model, ()
    )
    made = pipeline.plan_of(outcome, tmp_path)
    with pytest.raises(errors.DataError, match=f"a plan for package {made.package_digest[:16]}.*this one is"):
        planfile.check_fits(made, other.digest, path=tmp_path / "plan.json")


def test_a_plan_whose_package_is_not_here_says_so(outcome, tmp_path):
    made = dataclasses.replace(pipeline.plan_of(outcome, tmp_path), package_path="gone.tflsplit")
    with pytest.raises(errors.DataError, match=r"is not at .*gone\.tflsplit; name the package"):
        planfile.package_of(made, tmp_path / "plan.json")


def test_a_package_below_a_folder_that_is_no_text_is_named_from_within_only(outcome, tmp_path):
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    moved = dataclasses.replace(outcome.package, path=odd / "ünï.tflsplit")

    assert planfile.naming(moved, odd)["package_path"] == "ünï.tflsplit"
    with pytest.raises(errors.SettingsError, match="write the plan beside the package"):
        planfile.naming(moved, tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no json", "not a plan file of tflsplit, which is JSON"),
        ('{"kind": "link", "schema": 1}', "not a plan file"),
        ('{"kind": "plan", "schema": 9}', "plan of schema 9"),
        ('{"kind": "plan", "schema": 1}', "damaged plan"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path, text, said):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(errors.DataError, match=said):
        planfile.read(tmp_path / "plan.json")


@pytest.mark.parametrize("place", ["/etc", "a\0b", "x" * 300, "x/" * 3000, "", "\ud800", 5])
def test_a_plan_does_not_name_a_place_of_the_machine(outcome, tmp_path, place):
    fields = dataclasses.asdict(pipeline.plan_of(outcome, tmp_path)) | {"package_path": place}
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"schema": 1, "kind": "plan", **fields}))

    with pytest.raises(errors.DataError, match=r"plan\.json: "):
        planfile.read(path)


def test_a_plan_lists_where_an_edge_may_cut_and_what_that_costs(outcome, tmp_path):
    found = {each["cut"]: each for each in pipeline.plan_of(outcome, tmp_path).candidates}

    assert set(found) >= {"input", "output"}
    assert (found["output"]["edge_s"], found["output"]["head_s"]) == pytest.approx((0.0035, 0.003))
    assert found["input"]["cloud_s"] == pytest.approx(0.0003)


def test_what_a_bound_forbids_for_ever_is_no_candidate(tiny_package, profiles, tmp_path):
    planned(tiny_package, profiles, "--link", "wifi", "--min-depth", "op001", "-o", tmp_path / "plan.json")
    found = planfile.read(tmp_path / "plan.json").candidates

    assert "input" not in {each["cut"] for each in found}


def test_a_plan_of_an_older_version_is_read_and_has_no_candidates(outcome, tmp_path):
    fields = json.loads(planfile.render(pipeline.plan_of(outcome, tmp_path)))
    del fields["candidates"]
    (tmp_path / "plan.json").write_text(json.dumps(fields))

    assert planfile.read(tmp_path / "plan.json").candidates == ()
