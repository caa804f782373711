"""A right model is off by rounding where kernels differ, a wrong one by more: at its own operator, or at the end."""

import dataclasses

import numpy as np
import pytest
import tiny_models

from tflsplit import bundle, errors
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter, Kernels
from tflsplit.kernels.classes import KernelClass
from tflsplit.package import golden, judging, reading
from tflsplit.package.judging import Verdict
from tflsplit.package.manifest import Role

ABACUS = KernelClass("abacus 1.0", "wood", False, {"ADD/int8": "00000001"})


@pytest.fixture
def edge(tmp_path):
    whole = tiny_models.write_package(tmp_path / "w.tflsplit", deep_model())
    return bundle.write(tmp_path / "e.tflsplit", whole, Role.EDGE, (whole.cuts[-2],))


def deep_model(layers=12, width=24):
    """Dense layers one behind the other, in which rounding adds up."""
    source = np.random.default_rng(3)
    builder = tiny_models.Builder()
    first = last = builder.tensor("x", (1, width))
    for layer in range(layers):
        weights = source.integers(-40, 41, (width, width), dtype=np.int8)
        constant = builder.tensor(f"w{layer}", (width, width), scale=0.01, data=weights)
        last = builder.dense(last, constant, f"y{layer}", width, scale=0.1)
    return builder.build((first,), (last,))


def judged(edge, model=None, *, made_on=ABACUS, kernels=Kernels.SERVING):
    """The verdict on a head, or on another model in its place, as a machine of another class gives it."""
    cut = edge.cuts[-2]
    kept = golden.read(edge, cut)
    data = edge.head_bytes(cut) if model is None else model
    swapped = Swapped(edge.path, edge.manifest, data)
    with Interpreter(data, kernels=kernels) as head:
        return judging.judge(
            lambda given: head.run(*given), swapped, cut, dataclasses.replace(kept, made_on=made_on or kept.made_on)
        )


class Swapped(reading.Package):
    """A bundle whose head is another model than its samples are of."""

    def __init__(self, path, manifest, data):
        super().__init__(path, manifest)
        object.__setattr__(self, "data", data)

    def head_bytes(self, cut):
        return self.data


def with_wrong_channel(model, operator, change):
    graph = flatgraph.read(model)
    weights = flatgraph.constant(graph, graph.operators[operator].inputs[1])
    before = weights.tobytes()
    wrong = weights.copy()
    wrong[5] = change(wrong[5])
    assert model.count(before) == 1
    return model.replace(before, wrong.tobytes())


def test_the_same_model_is_equal_and_any_other_is_wrong_on_a_machine_of_its_class(edge):
    head = edge.head_bytes(edge.cuts[-2])

    assert judged(edge, made_on=None).verdict is Verdict.EQUAL
    found = judged(edge, with_wrong_channel(head, 4, lambda row: row // 2), made_on=None)
    assert found.verdict is Verdict.WRONG
    assert found.parts_at == "op004 (FULLY_CONNECTED)"
    assert "every bit has to agree" in str(found)


@pytest.mark.parametrize("kernels", [Kernels.BUILTIN, Kernels.REFERENCE])
def test_a_right_model_passes_with_other_kernels(edge, kernels):
    assert judged(edge, kernels=kernels).verdict is not Verdict.WRONG


@pytest.mark.parametrize("operator", [0, 4, 9])
@pytest.mark.parametrize(
    "change",
    [lambda row: -row, lambda row: row * 0, lambda row: row // 2, lambda row: row[::-1]],
    ids=["negated", "zero", "halved", "reversed"],
)
def test_one_wrong_channel_is_found_at_its_operator(edge, operator, change):
    found = judged(edge, with_wrong_channel(edge.head_bytes(edge.cuts[-2]), operator, change), kernels=Kernels.BUILTIN)

    assert found.verdict is Verdict.WRONG
    assert f"op{operator:03d} (FULLY_CONNECTED) alone is off by" in found.because


def test_without_versions_of_other_kernels_another_computation_is_still_found(edge):
    cut = edge.cuts[-2]
    kept = dataclasses.replace(golden.read(edge, cut), made_on=None, others=(), operators=(), alone=())
    with Interpreter(edge.head_bytes(cut)) as head:
        right = judging.judge(lambda given: tuple(each ^ 1 for each in head.run(*given)), edge, cut, kept)
        wrong = judging.judge(lambda given: tuple(-each for each in head.run(*given)), edge, cut, kept)

    assert right.verdict is Verdict.ROUNDED
    assert wrong.verdict is Verdict.WRONG
    assert "dB, less than 12" in wrong.because


def test_at_the_start_one_sample_is_run_at_least_and_the_birth_gets_the_verdict(edge, monkeypatch):
    monkeypatch.setattr(judging, "_START_S", 0.0)
    cut = edge.cuts[-2]
    with Interpreter(edge.head_bytes(cut)) as head:
        told = judging.at_start(lambda given: head.run(*given), edge, cut, is_cpu=True)
        wrong = judging.at_start(lambda given: tuple(-each for each in head.run(*given)), edge, cut, is_cpu=True)

    assert told["verdict"] == "equal"
    assert told["samples"] == 1
    assert (told["cut"], told["package"]) == (cut.id, edge.digest)
    assert wrong["verdict"] == "wrong"
    assert judging.at_start(lambda given: given, edge, edge.cuts[0], is_cpu=True) is None


def test_a_bundle_without_samples_says_what_to_do(tmp_path):
    whole = tiny_models.write_package(tmp_path / "w.tflsplit", tiny_models.residual_model())
    cloud = bundle.write(tmp_path / "c.tflsplit", whole, Role.CLOUD, (whole.cut("op000"),))

    with pytest.raises(errors.PackageError, match="without golden samples of all; compare it with a record"):
        judging.of_bundle(cloud, "all")
