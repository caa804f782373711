"""The proof runs each package in the way that it serves: frame by frame, or as one stream."""

import numpy as np
import pytest
import tiny_models

from tflsplit import errors
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import manifest, reading, verify

MODEL = tiny_models.remembering_model()


def samples(package, count=12):
    return verify.random_samples(package.manifest.inputs, count)


@pytest.fixture(params=[False, True], ids=["each alone", "stateful"])
def written(request, tmp_path):
    return tiny_models.write_package(tmp_path / "m.tflsplit", MODEL, is_stateful=request.param)


def test_every_cut_is_proven_in_the_way_that_it_serves(written):
    report = verify.verify(written, written.cuts, samples(written))

    assert report.holds
    assert (report.is_stream, report.as_json()["stream"]) == (written.manifest.is_stateful,) * 2
    assert ("12 steps" if report.is_stream else "12 samples") in repr(report)


def test_a_half_that_forgets_is_found(tmp_path, monkeypatch):
    written = tiny_models.write_package(tmp_path / "m.tflsplit", MODEL, is_stateful=True)
    step = Interpreter.step
    monkeypatch.setattr(Interpreter, "step", lambda opened, state, *arrays: step(opened, None, *arrays))
    report = verify.verify(written, written.cuts, samples(written))

    assert {found.cut for found in report.mismatches} == {cut.id for cut in written.cuts}


def test_the_order_of_samples_changes_nothing_but_in_a_stream(written):
    given = samples(written)
    with Interpreter(MODEL) as opened:
        forth, back = (
            [
                opened.run(*each, goes_on=written.manifest.is_stateful and place > 0)[0].tolist()
                for place, each in enumerate(order)
            ]
            for order in (given, given[::-1])
        )

    assert (forth == back[::-1]) is not written.manifest.is_stateful
    assert verify.verify(written, written.cuts, given[::-1]).holds


def test_a_stateful_package_is_another_one(tmp_path):
    alone, stateful = (
        tiny_models.write_package(tmp_path / f"{is_stateful}.tflsplit", MODEL, is_stateful=is_stateful)
        for is_stateful in (False, True)
    )

    assert alone.digest != stateful.digest
    assert reading.open_package(stateful.path).manifest.is_stateful
    assert "stateful" not in (alone.path / reading.MANIFEST).read_text()
    text = (stateful.path / reading.MANIFEST).read_text()
    with pytest.raises(errors.PackageError, match=r"was changed|damaged"):
        manifest.parse(text.replace('"stateful": true', '"stateful": false'), name="m")


def test_cuts_have_the_state_of_their_side(written):
    graph = written.graph
    names = [written.graph.tensors[index].name for index, _ in graph.variables]
    assert names == ["a_state", "c_state"]
    assert np.prod(graph.variables[0][1].shape) == 12
