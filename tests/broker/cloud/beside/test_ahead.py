"""Tails that are opened before their first frames: one at a time, as many as stay open, and told when they are."""

import contextlib
import logging

import pytest
import tiny_models

from broker.cloud import engine, tail
from broker.cloud.beside import ahead
from tflsplit import errors


@pytest.fixture
def steps(tmp_path):
    return tiny_models.write_package(tmp_path / "steps.tflsplit", tiny_models.steps_model(10))


@pytest.fixture
def inline(steps):
    with contextlib.closing(engine.Inline.of(steps)) as made:
        yield made


def opening_of(inline):
    told = []
    return ahead.Ahead(inline, lambda package, cut, is_open: told.append((cut.id, is_open))), told


def test_each_is_opened_once_however_often_it_is_named(inline, steps):
    opening, told = opening_of(inline)
    for cut in (*steps.cuts[:2], steps.cuts[0]):
        opening.want(steps, cut)
    for left in (1, 0, 0):
        opening.open_next()
        assert len(opening) == left

    assert told == [("op000", True), ("input", True)]  # from the end on


def test_the_one_that_was_named_longest_ago_makes_room(inline, steps, monkeypatch):
    monkeypatch.setattr(tail, "KEPT", 2)
    opening, told = opening_of(inline)
    first, second, third = steps.cuts[:3]
    for cut in (first, second, first, third):
        opening.want(steps, cut)
        opening.open_next()

    assert told == [(first.id, True), (second.id, True), (second.id, False), (third.id, True)]


def test_one_that_cannot_be_opened_is_not_told_and_the_log_says_why(inline, steps, monkeypatch, caplog):
    def fails(self, cut):
        raise errors.PackageError("for a test")

    monkeypatch.setattr(tail.Tails, "open", fails)
    caplog.set_level(logging.WARNING, "broker.cloud")
    opening, told = opening_of(inline)
    opening.want(steps, steps.cuts[1])
    opening.open_next()

    assert not told
    assert "tail not opened before its first frame cut=op000" in caplog.text
