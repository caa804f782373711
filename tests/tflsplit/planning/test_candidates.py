"""Candidates with features in fewer bits: there only where loss is allowed, costed by what was measured."""

import dataclasses
import json

import in_bits
import invented
import pytest
from command_line import run

from tflsplit import errors
from tflsplit.api import planning
from tflsplit.planning import pipeline, planfile
from tflsplit.switching import choices
from tflsplit.timings import profiles
from tflsplit.timings.profiles import BitsTiming

LINK = {"bandwidth": "10kbit", "rtt": "10ms"}


@pytest.fixture
def package(tmp_path):
    return in_bits.write_package(tmp_path / "lossy.tflsplit")


def profiled(package, *, has_bits=True):
    made = invented.edge(package.cuts, (0.0, 1.0, 2.0, 3.0)), invented.cloud(package.cuts, (0.3, 0.2, 0.1, 0.0))
    timed = tuple(BitsTiming(bits, invented.steady(0.01 * bits)) for bits in in_bits.AGREEMENT) if has_bits else ()
    return [
        dataclasses.replace(
            side, package=package.digest, cuts=tuple(dataclasses.replace(each, in_bits=timed) for each in side.cuts)
        )
        for side in made
    ]


def planned(package, lossy=None, *, has_bits=True, **more):
    edge, cloud = profiled(package, has_bits=has_bits)
    return planning.plan(package, edge=edge, cloud=cloud, lossy=lossy, **LINK, **more)


def test_without_a_word_nothing_is_lost(package):
    outcome = planned(package)

    assert {each.bits for each in outcome.candidates} == {None}
    assert pipeline.plan_of(outcome, package.path.parent).bits is None


def test_each_number_of_bits_is_costed_by_its_own_bytes_and_times(package):
    by_id = {each.id: each for each in planned(package, "90%").candidates}

    lossless, found = by_id["op000"], by_id["op000:3bit"]
    assert found.payload_bytes == 3 + 1 + 8  # of four features: their bits, the count of levels, the levels
    assert (found.encode.p50_s, found.decode.p50_s) == (pytest.approx(0.00003), pytest.approx(0.00003))
    assert (found.head, found.tail) == (lossless.head, lossless.tail)
    assert not found.is_exact
    assert found.inexact == (
        "in 3 bits agrees with frames without loss in 97.0%, 18.0 dB SQNR, on 40 samples that calibration did not see"
    )
    assert {f"input:{bits}bit" for bits in in_bits.AGREEMENT} <= set(by_id)
    assert not any(name.startswith("output:") for name in by_id)


@pytest.mark.parametrize(
    ("lossy", "allowed"),
    [("", {6, 4}), ("99%", {6, 4}), (0.97, {6, 4, 3}), ("100%", {6}), ("20dB", {6, 4}), ("12 dB", {6, 4, 3, 2})],
)
def test_what_loses_more_than_allowed_is_out_with_the_reason(package, lossy, allowed):
    judged = [each for each in planned(package, lossy).decision.judged if each.cost.candidate.bits]

    assert {each.cost.candidate.bits for each in judged if each.is_feasible} == allowed
    assert all("at least" in each.failures[0].words for each in judged if not each.is_feasible)


def test_a_profile_without_the_times_of_bits_says_to_profile_again(package):
    judged = [each for each in planned(package, "", has_bits=False).decision.judged if each.cost.candidate.bits]

    assert judged
    said = "the profile of the edge and the cloud has no timing of 6 bits; profile again"
    assert judged[0].failures[0].words == said


@pytest.mark.parametrize(
    ("lossy", "said"),
    [
        ("most", "write a share or decibels, as 99%"),
        ("xdB", "write a share or decibels"),
        ("101%", "nothing agrees in more than 100%"),
    ],
)
def test_a_bound_that_is_none_is_refused(package, lossy, said):
    with pytest.raises(errors.SettingsError, match=said):
        planned(package, lossy)


def test_agreement_that_nobody_measured_cannot_be_asked_for(tmp_path):
    package = in_bits.write_package(tmp_path / "p.tflsplit", agreement={4: None})

    with pytest.raises(errors.SettingsError, match=r"agreement was not measured .* bound the error, as 20dB"):
        planned(package, "99%")
    assert any(each.is_feasible for each in planned(package, "").decision.judged if each.cost.candidate.bits)


def test_a_package_without_the_measurement_is_refused(tiny_package):
    with pytest.raises(errors.DataError, match="was not measured; convert it again"):
        planned(tiny_package, "")


def test_exact_and_lossy_exclude_each_other(package):
    with pytest.raises(errors.SettingsError, match="exact require and lossy"):
        planned(package, "", exact="require")


def test_a_plan_says_the_bits_and_an_edge_may_move_among_them(package, tmp_path):
    edge, cloud = profiled(package)
    for name, made in (("edge", edge), ("cloud", cloud)):
        (tmp_path / f"{name}.json").write_text(profiles.render(made))
    sides = ("--edge", tmp_path / "edge.json", "--cloud", tmp_path / "cloud.json")
    words = ("--bandwidth", "10kbit", "--rtt", "1ms", "--lossy", "97%")
    code, out, _ = run("plan", package.path, *sides, *words, "-o", tmp_path / "plan.json", "--json")
    told = json.loads(out)
    made = planfile.read(tmp_path / "plan.json")

    assert code == 0
    entry = next(each for each in told["candidates"] if each["cut"] == "input:3bit")
    assert (entry["bits"], entry["exact"], entry["lossy"]["top1_agreement"]) == (3, False, 0.97)
    assert {(each["cut"], each["bits"]) for each in made.candidates} >= {("input", None), ("input", 3), ("input", 6)}
    assert not any(each["bits"] == 2 for each in made.candidates)
    assert {each.id: (each.cut, each.bits) for each in choices.of_plan(made)}["input:3bit"] == ("input", 3)
    assert planfile.render(made) == (tmp_path / "plan.json").read_text()
