"""Profiles of frames that hold several inputs. Clocks are invented: no timing decides a test."""

import itertools

import numpy as np
import pytest
import tiny_models
from ai_edge_litert import schema_py_generated as schema

from broker.messages import results
from edge_runtime.accelerators.cpu import Cpu, OnCpu
from edge_runtime.profiling import batches, profiler
from edge_runtime.profiling.overhead import Overhead
from tflsplit import errors
from tflsplit.timings import profiles
from tflsplit.timings.profiles import Side


def run(package, side, tmp_path, batch=4, **changes):
    ticking = itertools.count(0.0, 0.001).__next__
    task = profiler.Task(package, side, Cpu(), batch=batch, **changes)
    return profiler.profile(task, tmp_path / "journal", profiler.Settings(budget_s=1e6), clock=ticking)


def fixed_in_the_middle(tmp_path):
    """`op001` is a RESHAPE to a constant shape."""
    made = tiny_models.Builder()
    x = made.tensor("x", (1, 4))
    a = made.add(x, x, "a", (1, 4))
    wanted = made.tensor("shape", (3,), scale=None, data=np.array((1, 2, 2), np.int32), kind="INT32")
    b = made.tensor("b", (1, 2, 2), scale=0.2)
    options = schema.ReshapeOptionsT()
    options.newShape = [1, 2, 2]
    made.operator("RESHAPE", (a, wanted), (b,), options, options_type="ReshapeOptions")
    c = made.add(b, b, "c", (1, 2, 2), scale=0.4)
    return tiny_models.write_package(tmp_path / "fixed.tflsplit", made.build([x], [c]))


@pytest.mark.parametrize(("side", "rows"), [(Side.EDGE, 4), (Side.CLOUD, 1)])
def test_heads_run_on_all_inputs_at_once_and_tails_on_one_after_another(
    tiny_package, tmp_path, monkeypatch, side, rows
):
    seen = set()
    plain = OnCpu.run

    def counted(self, *arrays):
        seen.add(len(arrays[0]))
        return plain(self, *arrays)

    monkeypatch.setattr(batches, "accepting", lambda package, cuts, batch, heads_on: (tuple(cuts), ()))
    monkeypatch.setattr(OnCpu, "run", counted)
    made = run(tiny_package, side, tmp_path)

    assert seen == {rows}
    assert made.batch == 4
    assert made.pixels == ()


def test_coded_sizes_are_of_all_inputs_and_the_batch_stands_in_the_file(tiny_package, tmp_path):
    made = run(tiny_package, Side.EDGE, tmp_path)
    path = tmp_path / "edge.json"
    path.write_text(profiles.render(made))

    assert [entry.coded_bytes for entry in made.cuts] == [4 * cut.payload_bytes for cut in tiny_package.cuts]
    assert profiles.read(path) == made


def test_a_cut_that_takes_no_batch_is_named_and_left_out(tmp_path):
    package = fixed_in_the_middle(tmp_path)
    made = run(package, Side.EDGE, tmp_path)

    assert [entry.cut for entry in made.cuts] == ["input", "op000"]
    assert [note.split(":")[0] for note in made.notes[1:]] == ["op001 is left out", "output is left out"]
    # A tail runs on one input after another, so it takes any.
    assert len(run(package, Side.CLOUD, tmp_path.parent).cuts) == 4


def test_samples_that_are_too_few_are_told(tiny_package, tmp_path):
    few = [(np.full((1, 4), value, np.int8),) for value in range(3)]

    assert batches.too_few(few, 3) == ()
    assert "3 samples for batches of 4" in batches.too_few(few, 4)[0]
    assert [frame[0][:, 0].tolist() for frame in batches.frames(few, 4, 2)] == [[0, 1, 2, 0], [1, 2, 0, 1]]


def test_each_input_of_a_frame_has_a_result(tiny_package):
    frame = Overhead(tiny_package, tiny_package.cuts[0], batch=3)
    answers = frame.answer(frame.encode((np.zeros((3, 4), np.int8),)), (np.zeros((1, 4), np.int8),))

    assert len(answers) == 3
    assert all(results.parse(each) for each in answers)


def test_a_profile_of_another_batch_does_not_fit(tiny_package, tmp_path):
    made, ids = run(tiny_package, Side.EDGE, tmp_path), [cut.id for cut in tiny_package.cuts]

    profiles.check_fits(made, tiny_package.digest, Side.EDGE, ids, path=tmp_path, batch=4)
    for batch, needed in ((1, "--side edge`"), (8, "--side edge --batch 8`")):
        with pytest.raises(errors.DataError, match=f"with 4 inputs a frame, this needs {batch}; run .*{needed}"):
            profiles.check_fits(made, tiny_package.digest, Side.EDGE, ids, path=tmp_path, batch=batch)
