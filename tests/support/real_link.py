"""Links of the kernel for tests that run as root."""

import pytest

from broker.links import namespace
from broker.local import server
from tflsplit import errors


def skip_where_impossible():
    """A delay included: that is what a kernel without netem needs TUN for."""
    try:
        with namespace.shaped(rate_bps=1e9, delay_s=0.001):
            pass
    except errors.DeviceError as reason:
        pytest.skip(str(reason))
    if server.mosquitto_path() is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")
