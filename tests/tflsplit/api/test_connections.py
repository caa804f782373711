"""Who connects, where neither a deployment nor a name is given."""

import pytest

from broker.transport import credentials
from broker.transport.credentials import Role
from tflsplit import errors
from tflsplit.api import connections


@pytest.fixture
def folder(tmp_path):
    described = credentials.describe(["mqtts://cam1@h"], "plant1", "cam1", "device", "secret")
    (tmp_path / credentials.DESCRIPTION).write_bytes(described)
    (tmp_path / credentials.PASSWORD).write_text("secret\n")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ((None, None), ("plant1", "cam1")),
        (("plant2", None), ("plant2", "cam1")),  # which `reached` refuses
        ((None, "cam2"), ("plant1", "cam2")),
    ],
)
def test_what_is_not_given_is_what_the_credentials_say(folder, given, found):
    assert connections.speaker(*given, "device", str(folder)) == found


def test_a_name_that_is_not_theirs_is_refused(folder):
    with pytest.raises(errors.SettingsError, match="are those of 'cam1' in deployment 'plant1', not of 'cam2'"):
        connections.reached(None, folder, connections.speaker(None, "cam2", "device", folder), Role.DEVICE)


@pytest.mark.parametrize(("given", "missing"), [((None, "n"), "deployment"), (("d", None), "device")])
def test_without_credentials_both_are_needed(given, missing):
    with pytest.raises(errors.SettingsError, match=f"^{missing} is not given"):
        connections.speaker(*given, "device", None)
