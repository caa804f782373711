"""`tflsplit predict` and `tflsplit.predict`: the answers of a deployment, in one process."""

import json

import numpy as np
import pytest
import tiny_models
from command_line import run
from PIL import Image

import tflsplit
from broker.transport.memory import MemoryBroker
from tflsplit import errors

INPUTS = np.random.default_rng(0).integers(-128, 128, (6, 4), dtype=np.int8)


@pytest.mark.parametrize("cut", ["input", "op000", "output", None])
def test_answers_are_those_of_a_deployment(tiny_package, cut):
    network, results = MemoryBroker(), []
    with (
        tflsplit.Cloud(tiny_package, network, deployment="d"),
        tflsplit.Edge(tiny_package, network, deployment="d", device="n", cut=cut) as edge,
    ):
        edge.run([INPUTS], on_result=results.append)

    found = tflsplit.predict(tiny_package, [INPUTS], cut=cut)

    assert [(each.label, each.score, each.answer.values) for each in found] == [
        (each.label, each.score, each.values) for each in results
    ]


def test_inputs_of_a_stateful_package_are_one_stream(tmp_path):
    package = tiny_models.write_package(tmp_path / "m", tiny_models.remembering_model(), is_stateful=True)
    network, results = MemoryBroker(), []
    shape = package.manifest.inputs[0].shape[1:]
    inputs = np.random.default_rng(1).integers(-128, 128, (5, *shape), dtype=np.int8)
    with (
        tflsplit.Cloud(package, network, deployment="d"),
        tflsplit.Edge(package, network, deployment="d", device="n") as edge,
    ):
        edge.run([inputs], on_result=results.append)

    assert [each.answer.values for each in tflsplit.predict(package, inputs)] == [each.values for each in results]


def test_each_input_is_named_in_a_line(tiny_package, tmp_path):
    np.save(tmp_path / "a b.npy", INPUTS[:2])
    code, said, _ = run("predict", tiny_package.path, tmp_path / "a b.npy", tmp_path / "a b.npy")
    assert code == 0
    lines = said.splitlines()
    assert [line.split("]: ")[0] for line in lines] == [f"{tmp_path}/a b.npy[{number}" for number in (0, 1, 0, 1)]
    code, said, _ = run("predict", tiny_package.path, tmp_path / "a b.npy", "--json", "--top", "1")
    told = [json.loads(line) for line in said.splitlines()]
    assert [each["input"] for each in told] == [f"{tmp_path}/a b.npy[{number}]" for number in (0, 1)]
    assert {len(each["top"]) for each in told} <= {0, 1}


def test_what_cannot_be_answered_is_refused(tiny_package, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    np.save(tmp_path / "x.npy", INPUTS)
    for words, said in (
        ((tmp_path / "x.png",), "takes no picture"),
        ((tmp_path / "none.png",), "no such file"),
        ((tmp_path / "x.npy", "--cut", "op999"), "no cut or layer"),
        ((tmp_path / "x.npy", "--masks", tmp_path / "m"), "does not segment"),
    ):
        code, _, refused = run("predict", tiny_package.path, *words)
        assert (code, said in refused) == (1, True), refused
    with pytest.raises(errors.SettingsError, match="top 0"):
        tflsplit.predict(tiny_package, INPUTS, top=0)
