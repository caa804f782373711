"""What tests of a device that answers share."""

import contextlib

import pytest


@pytest.fixture
def stack():
    with contextlib.ExitStack() as opened:
        yield opened
