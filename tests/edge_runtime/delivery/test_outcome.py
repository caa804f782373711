"""What a run that left frames unanswered is told."""

import dataclasses

import pytest

from broker.transport.protocol import Drop
from edge_runtime.delivery import outcome
from edge_runtime.delivery.settings import Delivery, Settings
from edge_runtime.delivery.summary import Summary
from tflsplit import errors

SETTINGS = Settings(deployment="d", device="n", boot=1)


def test_frames_without_an_answer_ask_for_a_cloud():
    with pytest.raises(errors.PeerError, match=r"2 of 3 frames had no answer .*; is a cloud of deployment 'd' running"):
        outcome.check(Summary(frames=3, results=1), SETTINGS, is_stopped=False)


def test_a_device_whose_messages_the_broker_refused_is_told_so():
    """A revoked one stays connected, without any right."""
    summary = Summary(frames=3, results=1)
    summary.link.dropped[Drop.REFUSED] = 7

    with pytest.raises(errors.PeerError, match=r"the broker refused 7 messages: may this device still write"):
        outcome.check(summary, SETTINGS, is_stopped=False)


def test_frames_that_a_damaged_spool_lost_are_no_success():
    summary = Summary(frames=1, replayed=4, results=3)
    summary.give_up("damaged", 2)

    with pytest.raises(errors.DeviceError, match=r"2 of 5 frames were lost with a damaged spool; the log says which"):
        outcome.check(summary, SETTINGS, is_stopped=False)


def test_an_edge_that_never_could_send_is_no_success():
    flapping, offline = Summary(), Summary()
    flapping.link.reconnects = 5
    offline.dropped["offline"] = 9

    with pytest.raises(errors.PeerError, match=r"no frame was accepted, since the broker hung up 5 times"):
        outcome.check(flapping, SETTINGS, is_stopped=True)
    with pytest.raises(errors.PeerError, match=r"none of 9 inputs was sent: the broker was away"):
        outcome.check(offline, dataclasses.replace(SETTINGS, delivery=Delivery.LATEST), is_stopped=True)


def test_a_run_whose_frames_are_all_answered_is_well():
    outcome.check(Summary(frames=3, results=3), SETTINGS, is_stopped=False)
