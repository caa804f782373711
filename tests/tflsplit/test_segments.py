"""Segments between candidate cuts give bit for bit what the heads and tails of these cuts give."""

import numpy as np
import pytest
import tiny_models

from tflsplit import errors, segments
from tflsplit.graph.interpreter import Interpreter


def inputs_of(package, count=3):
    made = np.random.default_rng(5)
    return [
        tuple(
            made.integers(-128, 128, spec.shape, dtype=np.int16).astype(spec.dtype) for spec in package.manifest.inputs
        )
        for _ in range(count)
    ]


def check(package, candidates):
    """Every candidate's head, and every way on from it, against its own slices."""
    first, last = package.cuts[0], package.cuts[-1]
    with segments.Segments(package, candidates) as chain:
        for arrays in inputs_of(package):
            for cut in candidates:
                boundary = chain.run(arrays, first, cut)
                with Interpreter(package.head_bytes(cut)) as head:
                    expected = head.run(*arrays) if cut.position else arrays
                with Interpreter(package.integer_tail_bytes(cut)) as tail:
                    answer = tail.run(*expected) if cut.position < last.position else expected
                assert all(map(np.array_equal, boundary, expected))
                assert all(map(np.array_equal, chain.run(boundary, cut, last), answer))


def test_every_cut_of_the_tiny_model_is_its_own_head_and_tail(tiny_package):
    check(tiny_package, tiny_package.cuts)


def test_a_model_whose_boundaries_are_several_tensors_too(tmp_path):
    made = tiny_models.write_package(tmp_path / "skip.tflsplit", tiny_models.residual_model())

    assert any(len(cut.boundary) > 1 for cut in made.cuts)
    check(made, made.cuts)


def test_a_public_model_at_its_useful_cuts(tmp_path, shared_data):
    model = shared_data / "tf2_mobilenet_v2_1.0_224_ptq.tflite"
    made = tiny_models.write_package(tmp_path / "public.tflsplit", model.read_bytes(), preprocessing=None)
    useful = [cut for cut in made.cuts if cut.is_useful]

    assert len(useful) > 3
    check(made, sorted({made.cuts[0], *useful, made.cuts[-1]}, key=lambda cut: cut.position))


def test_what_is_no_candidate_or_lies_backwards_is_refused(tiny_package):
    first, second, *_, last = tiny_package.cuts
    with segments.Segments(tiny_package, (first, last)) as chain:
        with pytest.raises(errors.CutError, match=r"op000 is none of the candidates \(input, output\)"):
            chain.run((), first, second)
        with pytest.raises(errors.CutError, match="nothing runs backwards"):
            chain.run((), last, first)
