"""`tflsplit predict` and `tflsplit.predict`: the answers of a deployment, in one process."""

import dataclasses
import json

import numpy as np
import pytest
import tiny_models
from ai_edge_litert import schema_py_generated as schema
from command_line import run
from PIL import Image

import tflsplit
from broker.transport.memory import MemoryBroker
from tflsplit import errors
from tflsplit.decoding import forms
from tflsplit.decoding.forms import Form
from tflsplit.graph.meanings import Meaning
from tflsplit.inputs import preprocessing, resizing
from tflsplit.inputs.resizing import Resize

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


def points_package(folder, resize):
    """A model that gives the pixels of 8 x 8 as y, x and score of 64 keypoints."""
    made = tiny_models.Builder()
    picture = made.tensor("picture", (1, 8, 8, 3), scale=1 / 255, zero_point=-128)
    middle = made.tensor("middle", (1, 64, 3), scale=1 / 255, zero_point=-128)
    points = made.tensor("points", (1, 1, 64, 3), scale=1 / 255, zero_point=-128)
    for before, after, shape in ((picture, middle, (1, 64, 3)), (middle, points, (1, 1, 64, 3))):
        extents = made.tensor("extents", (len(shape),), scale=None, data=np.array(shape, np.int32), kind="INT32")
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        made.operator("RESHAPE", (before, extents), (after,), options, options_type="ReshapeOptions")
    fitted = dataclasses.replace(preprocessing.NAMED["unit"], resize=resize)
    decoding = forms.usual(Form.POINTS, (0,))
    changes = {"preprocessing": fitted, "decoding": decoding, "labels": (), "meanings": (Meaning.VALUES,)}
    return tiny_models.write_package(folder / "points", made.build((picture,), (points,)), **changes)


@pytest.mark.parametrize(("cut", "batch"), [("input", 1), ("input", 2), ("op000", 1), ("output", 1)])
@pytest.mark.parametrize("resize", list(Resize))
def test_places_are_those_of_the_source_in_a_deployment_too(tmp_path, cut, resize, batch):
    pixels = np.random.default_rng(2).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(pixels).save(tmp_path / "pictures" / "a.png")
    Image.fromarray(pixels.transpose(1, 0, 2)[:30]).save(tmp_path / "pictures" / "b.png")
    package = points_package(tmp_path, resize)
    network, results = MemoryBroker(), []
    with (
        tflsplit.Cloud(package, network, deployment="d"),
        tflsplit.Edge(package, network, deployment="d", device="n", cut=cut, batch=batch) as edge,
    ):
        edge.run(tmp_path / "pictures", on_result=results.append)

    found = [each.answer.found for each in tflsplit.predict(package, tmp_path / "pictures", cut=cut)]
    assert [each.found.as_json() for each in results] == [each.as_json() for each in found]
    shown = np.asarray(resizing.resized(Image.fromarray(pixels), (8, 8), resize)).reshape(-1, 3) / 255
    across, down = {Resize.STRETCH: (1, 1), Resize.CROP: (2, 1), Resize.LETTERBOX: (1, 0.5)}[resize]
    wanted = np.stack(((shown[:, 1] - (1 - across) / 2) / across, (shown[:, 0] - (1 - down) / 2) / down), 1)
    np.testing.assert_allclose([(point.x, point.y) for point in found[0].keypoints], wanted, atol=1e-5)


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
