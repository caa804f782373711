"""`tflsplit inspect --errors`: where int8 loses. And which cuts are shown."""

import json

import lossy_models
import numpy as np
import pytest
import tiny_models
from command_line import run

from tflsplit.package import writing


@pytest.fixture
def coarse(tmp_path):
    return tiny_models.write_package(tmp_path / "coarse.tflsplit", lossy_models.coarse_model())


def test_the_worst_operator_stands_first_and_both_figures_are_explained(coarse, tmp_path):
    np.save(tmp_path / "inputs.npy", np.random.default_rng(0).uniform(-10, 10, (20, 400)).astype(np.float32))
    code, said, _ = run("inspect", coarse.path, "--errors", tmp_path / "inputs.npy")
    lines = said.splitlines()
    assert code == 0
    assert lines[0] == "tiny: SQNR of each operator against float, worst first"
    assert lines[3].split()[:2] == ["1", "ADD"]
    assert lines[3].split()[-1] == "b"
    assert "measured on 20 samples (samples from " in said
    assert "against the same operators in float on the int8 weights" in said
    assert "alone: the operator by itself in int8, on float inputs" in said


def test_without_samples_those_of_the_package_or_random_ones_measure(coarse, tmp_path):
    assert "measured on 8 samples (random inputs, which say little)" in run("inspect", coarse.path, "--errors")[1]


def test_as_json_with_what_is_mixed_and_as_a_file_for_model_explorer(tmp_path):
    made = tiny_models.write_package(tmp_path / "m.tflsplit", lossy_models.mixing_model(), labels=())
    file = tmp_path / "nodes.json"
    code, said, _ = run("inspect", made.path, "--errors", "4", "--model-explorer", file, "--json")
    told = json.loads(said)["errors"]
    assert code == 0
    assert (told["against"], told["samples"]) == ("dequantised weights", 4)
    assert (told["mixed"]["operator"], told["mixed"]["cut"]) == (1, "input")
    assert told["mixed"]["groups"][1]["ranges"] == [[4, 5]]
    assert set(json.loads(file.read_text())["main"]["results"]) == {"0", "1"}
    assert (
        "op001 (CONCATENATION) gives columns of different size one scale"
        in run("inspect", made.path, "--errors", "4")[1]
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--model-explorer", "nodes.json"), "--model-explorer shows errors; give --errors with it"),
        (("--errors", "--model-explorer", "taken.json"), "taken.json exists already; give another name, or --force"),
        (("--errors", "nowhere.npy"), "nowhere.npy"),
        (("--errors", "0"), "samples: 0 inputs prove nothing; give at least 1"),
    ],
)
def test_what_is_refused(coarse, tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.json").touch()
    code, _, refusal = run("inspect", coarse.path, *words)
    assert code == 1
    assert expected in refusal


@pytest.fixture
def stepwise(tmp_path):
    """Forty time steps, and no pair written."""
    model = tiny_models.steps_model(40)
    return writing.write(tmp_path / "steps.tflsplit", tiny_models.describe(model, labels=()), model, ())


def test_cuts_between_many_time_steps_are_counted_and_shown_when_asked_for(stepwise):
    _, said, _ = run("inspect", stepwise.path)
    told, of_all = (json.loads(run("inspect", stepwise.path, "--json", *more)[1]) for more in ((), ("--all-cuts",)))

    assert "30 cuts between time steps: --all-cuts shows them" in said
    assert (len(told["cuts"]), told["cuts_not_listed"]) == (11, 30)
    assert (len(of_all["cuts"]), of_all["cuts_not_listed"]) == (41, 0)
    assert "between time steps" not in run("inspect", stepwise.path, "--all-cuts")[1]


@pytest.mark.parametrize(("words", "checked"), [((), 11), (("--cuts", "all"), 41), (("--cuts", "op003"), 1)])
def test_verify_proves_the_listed_cuts_and_any_other(stepwise, words, checked):
    code, said, _ = run("verify", stepwise.path, "--samples", "2", *words, "--json")

    assert code == 0
    assert json.loads(said)["cuts_checked"] == checked
