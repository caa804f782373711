"""Operators of a file as a model of their own, by changing three fields of the file."""

import numpy as np
import pytest
import tiny_models

from tflsplit import errors
from tflsplit.graph import cuts, excerpt, flatgraph
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import verify


@pytest.mark.parametrize("name", ["steps", "residual"])
def test_the_two_sides_of_a_cut_compute_what_its_slices_do(name):
    model = tiny_models.steps_model(12) if name == "steps" else tiny_models.residual_model()
    graph = flatgraph.read(model)
    (sample,) = verify.random_samples(graph.specs(graph.inputs), 1)

    for cut in cuts.enumerate_cuts(graph)[1:-1]:
        head = excerpt.operators(model, 0, cut.position, graph.inputs, cut.tensors)
        tail = excerpt.operators(model, cut.position, len(graph.operators), cut.tensors, graph.outputs)
        with Interpreter(cuts.head_bytes(graph, cut)) as sliced, Interpreter(head) as part:
            boundary = part.run(*sample)
            assert part.outputs == sliced.outputs
            assert all(map(np.array_equal, boundary, sliced.run(*sample)))
        with Interpreter(cuts.tail_bytes(graph, cut)) as sliced, Interpreter(tail) as part:
            assert all(map(np.array_equal, part.run(*boundary), sliced.run(*boundary)))


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 2), (0, 1000)])
def test_operators_that_are_not_there_are_refused(start, stop):
    with pytest.raises(errors.ModelError, match=f"no operators {start} to {stop - 1} in "):
        excerpt.operators(tiny_models.steps_model(12), start, stop, (0,), (0,))
