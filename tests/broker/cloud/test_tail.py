"""The tails of a package: one behind the other where its model can be split, each equal to the tail that is sliced."""

import numpy as np
import pytest
import tiny_models

from broker.cloud import batching, tail
from broker.cloud.mapped_files import TailFiles
from tflsplit import bundle, errors
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import verify


@pytest.fixture
def opened(request):
    def begin(package, **options):
        made = tail.Tails(package, **options)
        request.addfinalizer(made.close)
        return made

    return begin


@pytest.fixture
def steps(tmp_path):
    """Ten operators, and up to ten tensors at a cut."""
    return tiny_models.write_package(tmp_path / "steps.tflsplit", tiny_models.steps_model(10))


def check(tails, cuts):
    """Each tail against its own slice."""
    for cut in cuts:
        with Interpreter(tails.package.tail_bytes(cut)) as sliced:
            frames = verify.random_samples(sliced.inputs, 3, seed=cut.position)
            expected = [sliced.run(*frame) for frame in frames]
        for found in (tails.run_all(cut, frames), [tails.run(cut, frame) for frame in frames]):
            for one, other in zip(found, expected, strict=True):
                assert all(map(np.array_equal, one, other))


def spans(tails):
    """Which parts of the model are open."""
    cuts = [cut.id for cut in tails._opened._cuts]
    assert len(tails._opened._loaded) == len(cuts)
    return cuts


@pytest.mark.parametrize("order", [lambda cuts: cuts, lambda cuts: cuts[::-1], lambda cuts: cuts[::2] + cuts[1::2]])
@pytest.mark.parametrize("in_files", [True, False])
def test_every_tail_in_any_order_of_opening(opened, steps, tmp_path, order, in_files):
    tails = opened(steps, files=TailFiles(tmp_path) if in_files else None)
    cuts = order(steps.cuts)
    check(tails, cuts)

    assert spans(tails) == [cut.id for cut in steps.cuts]
    check(tails, cuts)


def test_a_single_tail_is_one_model(opened, steps):
    tails = opened(steps)
    check(tails, [steps.cuts[4]] * 2)

    assert len(tails._opened.since(4)) == 1


def test_the_tail_that_was_used_longest_ago_makes_room_and_comes_again(opened, steps, monkeypatch):
    monkeypatch.setattr(tail, "KEPT", 3)
    tails = opened(steps)
    first, second, third, fourth = (steps.cuts[place] for place in (5, 2, 8, 6))
    check(tails, [first, second, third, first])
    check(tails, [fourth])
    assert spans(tails) == [first.id, fourth.id, third.id]  # the second was used longest ago, and began the chain
    check(tails, [second])
    assert spans(tails) == [second.id, first.id, fourth.id]  # the third ended it

    check(tails, [first, second, third, fourth])


def test_what_cannot_be_opened_leaves_the_others_open(opened, steps, monkeypatch):
    tails = opened(steps)
    check(tails, [steps.cuts[5]])

    def fails(package, cut, what, found):
        raise errors.PackageError("for a test")

    with monkeypatch.context() as broken:
        broken.setattr(verify, "check_boundary", fails)
        with pytest.raises(errors.PackageError, match="for a test"):
            tails.open(steps.cuts[3])
    assert spans(tails) == [steps.cuts[5].id]
    check(tails, [steps.cuts[5], steps.cuts[3]])


def test_a_bundle_without_the_whole_model_has_its_tails_apart(opened, steps, tmp_path):
    cuts = (steps.cuts[3], steps.cuts[7])
    made = bundle.write(tmp_path / "cloud.tflsplit", steps, "cloud", cuts)
    tails = opened(made)
    check(tails, cuts)

    assert [len(tails._opened.since(cut.position)) for cut in cuts] == [1, 1]


def test_a_bundle_with_the_tail_of_the_input_splits_it(opened, steps, tmp_path):
    made = bundle.write(tmp_path / "cloud.tflsplit", steps, "cloud", (steps.cuts[0], steps.cuts[7]))
    tails = opened(made)
    check(tails, [made.cuts[0], made.cuts[7]])

    assert spans(tails) == ["input", steps.cuts[7].id]


def test_batches_go_through_every_segment(opened, steps, monkeypatch):
    monkeypatch.setattr(batching, "_timed", lambda *_: (1.0, 2.5))
    tails = opened(steps, wants_batches=True)
    check(tails, [steps.cuts[0], steps.cuts[4]])
    assert tails.batches_from(0) == tails.batches_from(4) == 3
    assert tails.batches_from(5) == 0  # not open

    calls = []
    run = batching.Batch.run
    monkeypatch.setattr(batching.Batch, "run", lambda self, frames: calls.append(len(frames)) or run(self, frames))
    with Interpreter(steps.tail_bytes(steps.cuts[0])) as sliced:
        tails.run_all(steps.cuts[0], verify.random_samples(sliced.inputs, batching.SIZE + 2))
    assert calls == [8, 8]  # two segments, and the two frames left over alone
