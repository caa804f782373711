"""`tflsplit bundle` with cuts that are named, and everything that is not a choice of one."""

import json

import pytest
from command_line import run

from tflsplit.package import reading


def test_a_bundle_of_named_cuts_needs_no_plan(tiny_package, tmp_path):
    made = tmp_path / "edge.tflsplit"
    code, said, _ = run("bundle", tiny_package.path, "--role", "edge", "--cut", "op000", "--cut", "output", "-o", made)
    assert code == 0
    assert "edge bundle of op000, output" in said
    opened = reading.open_package(made)
    assert opened.digest == tiny_package.digest
    assert sorted(opened.manifest.files) == ["cuts/op000/head.tflite", "golden.npz", "model.tflite"]


def test_a_cut_that_is_named_twice_is_bundled_once(tiny_package, tmp_path):
    words = ("--cut", "op000", "--cut", "op000", "--json")
    code, said, _ = run("bundle", tiny_package.path, "--role", "cloud", *words, "-o", tmp_path / "cloud.tflsplit")
    assert code == 0
    assert json.loads(said)["cut"] == "op000"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--adapt", "--cut", "op000", "--role", "edge"],
            "--adapt: a cut moves among the candidates of a plan: give --plan",
        ),
        (("--role", "edge"), "give --plan FILE, or PKG and --cut"),
        (("--role", "edge", "--cut", "op999"), "op999"),
        (("--role", "gateway", "--cut", "op000"), "expected edge or cloud"),
        (("--role", "edge", "--cut", "op000", "--plan", "p.json"), "--plan and --cut both name the cut"),
    ],
)
def test_what_names_no_cut_or_role_is_refused_and_nothing_is_written(tiny_package, tmp_path, words, said):
    code, _, line = run("bundle", tiny_package.path, *words, "-o", tmp_path / "b.tflsplit")
    assert code == 1
    assert said in line
    assert not (tmp_path / "b.tflsplit").exists()
