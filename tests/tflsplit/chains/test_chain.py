"""Chains that cannot be."""

import pytest

from tflsplit import errors
from tflsplit.chains.chain import Chain, Hop, Stage


def test_two_stages_of_one_name_are_refused():
    stage = Stage("tpu", (0.0, 1.0))
    with pytest.raises(errors.SettingsError, match="tpu, tpu: each needs a name of its own"):
        Chain(("a", "b"), (0.0, 0.0), (0.0, 0.0), (stage, stage))


def test_a_hop_that_carries_nothing_is_refused():
    with pytest.raises(errors.SettingsError, match="carries nothing"):
        Hop(0.0, 0.0)
