"""`plan` with `gate_samples`: each figure is what NumPy makes of the models' answers."""

import json
import math

import numpy as np
import pytest
import scored_models
from click.testing import CliRunner
from invented_plans import profile
from scored_models import INPUTS, scores

import tflsplit
from tflsplit import bundle, errors
from tflsplit.cli import main
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.meanings import Meaning
from tflsplit.planning.tradeoff import STEPS
from tflsplit.timings import profiles
from tflsplit.timings.profiles import Side

AUDIT = 0.01


@pytest.fixture
def scored(tmp_path):
    return scored_models.package(tmp_path)


@pytest.fixture
def float_scored(tmp_path):
    return scored_models.float_package(tmp_path)


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def planned(package, samples, **words):
    sides = {side.value: profile(package, side, 0.01) for side in (Side.EDGE, Side.CLOUD)}
    return tflsplit.plan(package, **sides, bandwidth="1Mbit", rtt="20ms", gate_samples=samples, **words)


def of_cloud(package, cut):
    """The classes that the float tail names."""
    with Interpreter(package.head_bytes(cut)) as head, Interpreter(package.tail_bytes(cut)) as tail:
        return np.array([tail.run(*head.run(row[None]))[0].ravel().argmax() for row in INPUTS])


def test_shares_bytes_and_accuracy_are_what_the_answers_give(float_scored, tmp_path):
    truth = np.random.default_rng(1).integers(0, 4, len(INPUTS))
    outcome = planned(float_scored, saved(tmp_path / "s.npz", x=INPUTS, labels=truth))
    gate, by_id = outcome.gate, {each.id: each.cost for each in outcome.decision.judged}
    best, here = scores(float_scored)
    there = of_cloud(float_scored, float_scored.cut(gate.cut))

    assert (gate.samples, gate.measure, gate.has_other_tail) == (len(INPUTS), "accuracy", True)
    assert set(STEPS) <= {point.score for point in gate.points}
    for point in gate.points:
        sure = best > point.score
        sent = 1 - sure.mean() + AUDIT * sure.mean()
        assert (point.here, point.sent) == pytest.approx((sure.mean(), sent))
        assert point.right == pytest.approx((np.where(sure, here, there) == truth).mean())
        bytes_each = by_id[gate.cut].bytes_per_frame, by_id["output"].bytes_per_frame
        assert point.bytes_per_frame == pytest.approx(np.dot(bytes_each, (sent, 1 - sent)))


def test_every_score_that_gets_more_right_than_lower_ones_is_there_and_no_other(float_scored, tmp_path):
    _, here = scores(float_scored)
    gate = planned(float_scored, saved(tmp_path / "s.npz", x=INPUTS, y=here)).gate
    best, _ = scores(float_scored)
    there, right = of_cloud(float_scored, float_scored.cut(gate.cut)), {}
    for value in [0.0, *np.unique(best)]:
        right[value] = (np.where(best > value, here, there) == here).mean()
    reached = np.maximum.accumulate(list(right.values()))

    useful = [point.right for point in gate.points if point.is_useful]
    assert useful == pytest.approx(np.unique(reached))
    assert {point.score for point in gate.points if not point.is_useful} <= set(STEPS)


def test_without_classes_it_is_agreement_with_the_cloud(float_scored, tmp_path):
    np.save(tmp_path / "s.npy", INPUTS)
    gate = planned(float_scored, tmp_path / "s.npy").gate
    best, here = scores(float_scored)
    there = of_cloud(float_scored, float_scored.cut(gate.cut))

    assert gate.measure == "agreement"
    for point in gate.points:
        assert point.right == pytest.approx(((best <= point.score) | (here == there)).mean())


def test_an_int8_tail_changes_no_answer_and_the_plan_says_so(scored, tmp_path):
    outcome = planned(scored, saved(tmp_path / "s.npz", x=INPUTS))

    assert {point.right for point in outcome.gate.points} == {1.0}
    assert not outcome.gate.has_other_tail


def test_the_mean_is_the_whole_model_here_and_the_way_of_the_doubtful(scored, tmp_path):
    outcome = planned(scored, saved(tmp_path / "s.npz", x=INPUTS))
    by_id = {each.id: each.cost for each in outcome.decision.judged}
    whole_s = sum(by_id["output"].parts[name].mean_s for name in ("preprocess", "head"))
    way = ("encode", "wire", "broker", "decode", "tail", "result")
    way_s = sum(by_id[outcome.gate.cut].parts[name].mean_s for name in way)

    for point in outcome.gate.points:
        assert point.mean_s == pytest.approx(whole_s + (1 - point.here) * way_s)


def test_at_a_rate_only_what_is_sent_waits_for_the_link(scored, tmp_path):
    samples = saved(tmp_path / "s.npz", x=INPUTS)
    slow = planned(scored, samples, fps=20, devices=1).gate
    none = planned(scored, samples).gate

    for paced, alone in zip(slow.points, none.points, strict=True):
        assert alone.mean_s <= paced.mean_s < math.inf
    assert slow.points[-1].mean_s > none.points[-1].mean_s


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"labels": np.full(len(INPUTS), 4)}, "'4' is no class of the model"),
        ({"labels": np.zeros(len(INPUTS))}, "as its number or its label"),
        ({"labels": np.zeros(3, int)}, "3 classes beside 200 samples"),
        ({"labels": np.full(len(INPUTS), "cat")}, "'cat' is no class of the model"),
    ],
)
def test_wrong_classes_are_refused(scored, tmp_path, arrays, says):
    with pytest.raises(errors.DataError, match=says):
        planned(scored, saved(tmp_path / "s.npz", x=INPUTS, **arrays))


def test_a_model_without_scores_and_a_bundle_are_refused(scored, tmp_path):
    samples = saved(tmp_path / "s.npz", x=INPUTS)
    plain = scored_models.package(tmp_path, "plain", meanings=(Meaning.VALUES,))
    with pytest.raises(errors.SettingsError, match="no scores of classes"):
        planned(plain, samples)
    part = bundle.write(tmp_path / "part.tflsplit", scored, "edge", ("op000",))
    with pytest.raises(errors.TflsplitError, match="whole model"):
        planned(part, samples)


def test_the_command_prints_it_within_80_columns_and_as_json(float_scored, tmp_path):
    pytest.importorskip("matplotlib")
    samples, page = saved(tmp_path / "s.npz", x=INPUTS), tmp_path / "p.html"
    words = ["plan", str(float_scored.path), "--gate-samples", str(samples), "--bandwidth", "1Mbit", "--rtt", "20ms"]
    for side in (Side.EDGE, Side.CLOUD):
        (tmp_path / f"{side.value}.json").write_text(profiles.render(profile(float_scored, side, 0.01)))
        words += [f"--{side.value}", str(tmp_path / f"{side.value}.json")]
    table = CliRunner().invoke(main.cli, [*words, "--report", str(page)], env={"COLUMNS": "80"})
    found = json.loads(CliRunner().invoke(main.cli, [*words, "--json"]).stdout)["gate"]

    assert table.exit_code == 0, table.output
    assert "--answer-here SCORE at" in table.stdout
    rows = [line for line in table.stdout.partition("--answer-here")[2].splitlines() if line.endswith("%")]
    assert len(rows) >= len(STEPS)
    assert max(map(len, rows)) <= 80
    assert [point["score"] for point in found["points"] if point["score"] in STEPS] == list(STEPS)
    assert "A gate at" in page.read_text("utf-8")
