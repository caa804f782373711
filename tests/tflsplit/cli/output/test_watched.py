"""What the table of a fleet says of its devices."""

import pytest
import talk

from broker.messages.presence import Status
from broker.messages.topics import Kind
from tflsplit.cli.output import watched

BEGAN_MS, SAID_MS = 1_700_000_000_000, 1_700_003_600_000  # 22:13 and 23:13
STATUSES = {
    "online": (Status("online", 7, 1, None, BEGAN_MS, SAID_MS), "2023-11-14 22:13"),
    "ended": (Status("offline", 7, 1, "closed", BEGAN_MS, SAID_MS), "2023-11-14 23:13"),
    # The will was written when the connection began.
    "lost": (Status("offline", 7, 1, "lost", BEGAN_MS, SAID_MS), "after 2023-11-14 23:13"),
    "without a time": (Status("offline", 7, 1, "lost"), None),
}


@pytest.mark.parametrize("case", STATUSES)
def test_since_when_a_device_is_as_it_is_is_said_as_far_as_it_is_known(case):
    status, said = STATUSES[case]
    heard = talk.Heard()
    for kind, payload in ((Kind.STATUS, status.as_json()), (Kind.BIRTH, talk.birth())):
        heard.tell("cam1", kind, payload)
    cells = dict(zip((column.title for column in watched.FLEET), watched.fleet(heard.device("cam1")), strict=True))

    assert (cells["state"], cells["since"]) == (status.state, said)
