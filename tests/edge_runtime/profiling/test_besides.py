"""What an edge does for a frame besides, from a run of its own loop against a process that answers."""

import dataclasses

import tflsplit
from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.profiling import besides
from tflsplit.package import verify
from tflsplit.timings import profiles
from tflsplit.timings.profiles import Besides


def test_a_profile_knows_what_an_edge_does_besides_and_keeps_it(tiny_package, tmp_path):
    file = tmp_path / "edge.json"
    found = tflsplit.profile(tiny_package.path, "edge", file, budget=0.1, precision=0.5).besides

    assert 0 <= found.own_s <= found.all_s < 0.1
    assert found.all_s > 0
    assert found.switch_s is not None
    assert profiles.read(file).besides == found
    assert tflsplit.profile(tiny_package.path, "cloud", budget=0.1, precision=0.5).besides is None


def test_other_threads_cost_the_head_nothing_where_they_have_a_core():
    found = Besides(0.001, 0.003, cores=2)

    assert (found.of_frame_s(1), found.of_frame_s(2)) == (0.001, 0.003)
    assert dataclasses.replace(found, cores=1).of_frame_s(1) == 0.003


def test_a_change_of_model_costs_what_heads_take_longer_by_turns(tiny_package):
    """By a clock of the test's own, on a device that loads a model before another one's inference."""
    now_s, last = [0.0], [None]

    class Loading(Cpu):
        def open(self, model, *, name):
            opened = super().open(model, name=name)

            class Model:
                outputs = opened.outputs

                def run(self, *arrays):
                    now_s[0] += 1.0 + (3.0 if last[0] is not self else 0.0)
                    last[0] = self
                    return opened.run(*arrays)

                def close(self):
                    opened.close()

            return Model()

    inputs = [tuple(each) for each in verify.random_samples(tiny_package.manifest.inputs, 1)]
    assert besides.switch_s(Loading(), tiny_package, tiny_package.cuts, inputs, lambda: now_s[0]) == 3.0
