"""What an edge knows of the clouds of its deployment."""

import logging

import pytest

from broker.messages import announcements, topics
from broker.transport.protocol import Message
from edge_runtime.delivery import clouds

SERVES = Message(
    topics.topic("d", "cloud", topics.Kind.SERVES),
    announcements.Announcement(1, (("ab", "m"),)).as_json(),
    retained=True,
)


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_that_no_cloud_is_present_is_said_once_with_the_deployment(caplog):
    seen = clouds.Clouds()
    for now_s in range(20):
        seen.look(float(now_s), "plant1", waits=True)
    (said,) = warnings_of(caplog)

    assert said.startswith("no cloud is present")
    assert said.endswith("deployment=plant1")


@pytest.mark.parametrize("waits", [True, False])
def test_who_is_answered_offline_or_has_sent_nothing_is_told_nothing(caplog, waits):
    seen = clouds.Clouds()
    for now_s in range(20):
        seen.look(float(now_s), "plant1", waits=waits and now_s % 3 != 2)

    assert warnings_of(caplog) == []


def test_where_a_cloud_announces_itself_nothing_is_said(caplog):
    seen = clouds.Clouds()
    seen.take(SERVES)
    for now_s in range(20):
        seen.look(float(now_s), "plant1", waits=True)

    assert warnings_of(caplog) == []
