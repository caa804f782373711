"""Heads for several inputs at once: each row is what it is alone, or the batch is refused by name."""

import numpy as np
import pytest
import tiny_models
from ai_edge_litert import schema_py_generated as schema

from edge_runtime.accelerators import cpu
from edge_runtime.accelerators.delegate import Delegate
from edge_runtime.head import Head
from tflsplit import errors
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import verify


@pytest.mark.parametrize("batch", range(1, 9))
def test_every_row_is_what_it_is_alone_and_a_part_is_filled_up(tiny_package, batch):
    samples = verify.random_samples(tiny_package.manifest.inputs, batch, seed=5)
    for cut in tiny_package.cuts:
        with Head(tiny_package, cut) as one, Head(tiny_package, cut, batch=batch) as several:
            alone = [one.run(sample) for sample in samples]
            for count in range(1, batch + 1):
                together = several.run(tuple(np.concatenate(each) for each in zip(*samples[:count], strict=True)))
                rows = [tuple(array[row : row + 1] for array in together) for row in range(count)]
                assert verify.are_equal(alone[:count], rows)


def with_shape(shape):
    """A RESHAPE to a constant shape, between two sums."""
    made = tiny_models.Builder()
    x = made.tensor("x", (1, 4))
    a = made.add(x, x, "a", (1, 4))
    wanted = made.tensor("shape", (len(shape),), scale=None, data=np.array(shape, np.int32), kind="INT32")
    b = made.tensor("b", tuple(abs(extent) if extent != -1 else 1 for extent in shape), scale=0.2)
    options = schema.ReshapeOptionsT()
    options.newShape = list(shape)
    made.operator("RESHAPE", (a, wanted), (b,), options, options_type="ReshapeOptions")
    c = made.add(b, b, "c", made.tensors[b].shape, scale=0.4)
    return made.build([x], [c])


def test_a_head_whose_shape_is_fixed_is_refused_by_name(tmp_path):
    package = tiny_models.write_package(tmp_path / "fixed.tflsplit", with_shape((1, 2, 2)))

    with Head(package, "op000", batch=3) as before:  # ends before it
        assert before.run((np.zeros((3, 4), np.int8),))[0].shape == (3, 4)
    with pytest.raises(errors.SettingsError, match=r"a batch of 3: .*op001.*leave the batch out, or take another cut"):
        Head(package, "op001", batch=3)


def test_a_head_that_gives_other_bits_in_a_batch_is_refused_by_name(tiny_package, monkeypatch):
    run = Interpreter.run

    def shifted(self, *arrays):
        return tuple(np.roll(each, 1, 0) for each in run(self, *arrays))

    monkeypatch.setattr(Interpreter, "run", shifted)

    with pytest.raises(errors.SettingsError, match="a batch of 4: the head of op001 gives other bits"):
        Head(tiny_package, "op001", batch=4)


def test_an_accelerator_takes_one_input_at_a_time(tiny_package):
    with pytest.raises(errors.SettingsError, match="a batch of 2 on accelerator delegate"):
        Head(tiny_package, "op001", accelerator=Delegate("/usr/lib/none.so"), batch=2)


def test_a_batch_runs_on_the_threads_that_were_asked_for(tiny_package):
    with Head(tiny_package, "op001", accelerator=cpu.Cpu(threads=2), batch=2) as several:
        assert several.run((np.zeros((2, 4), np.int8),))[0].shape == (2, 4)
