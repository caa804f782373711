"""What doctor says of the certificate and key that this machine shows."""

import datetime

import pytest

from broker.deploy import authority
from broker.links import identity
from broker.transport.address import Credentials
from tflsplit.findings import State

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


@pytest.fixture
def issue(tmp_path):
    """Files of a certificate of `cam1` that begins that many days from now."""

    def make(*, begins=0, days=1000, name="cam1", for_what=authority.issue_client):
        began = NOW + begins * DAY
        who = name if for_what is authority.issue_client else (name,)
        pair = for_what(authority.make("plant1", began - DAY), who, began, days=days)
        made = Credentials(certificate=tmp_path / "client.crt", key=tmp_path / "client.key")
        made.certificate.write_bytes(pair.certificate)
        made.key.touch(0o600)
        made.key.write_bytes(pair.key)
        return made

    return make


@pytest.mark.parametrize(
    ("wanted", "state", "detail", "remedy"),
    [
        ({}, State.OK, "of 'cam1', until ", ""),
        ({"begins": 3}, State.WRONG, "client.crt begins ", "set-ntp true; if it is right, where it was made"),
        ({"begins": -20, "days": 10}, State.WRONG, "client.crt ended ", "tflsplit broker rotate DIR cam1, and copy"),
        ({"days": 5}, State.INFO, "client.crt of 'cam1' ends in 4 days", "tflsplit broker rotate DIR cam1, and copy"),
        ({"name": "cam2"}, State.WRONG, "is of 'cam2', its folder of 'cam1'", "tflsplit broker rotate DIR cam1"),
        ({"for_what": authority.issue_server}, State.WRONG, "unsuitable certificate purpose", "rotate DIR cam1"),
    ],
)  # fmt: skip
def test_a_certificate_is_looked_at_as_the_broker_will(issue, wanted, state, detail, remedy):
    (found,) = identity.findings(issue(**wanted), "cam1")

    assert (found.name, found.state) == ("certificate", state)
    assert detail in found.detail
    assert remedy in found.remedy


def test_a_certificate_that_ends_soon_is_told_from_every_other(issue):
    assert "ends in 4 days" in identity.ending(issue(days=5), "cam1").detail
    assert [identity.ending(issue(**wanted), "cam1") for wanted in ({}, {"begins": -20, "days": 10})] == [None, None]
    assert identity.ending(Credentials(password="secret"), "cam1") is None


def test_the_name_counts_only_where_it_is_known(issue):
    (found,) = identity.findings(issue(name="cam2"), None)

    assert found.state is State.OK


def test_files_that_do_not_belong_together_or_are_none_are_said(issue, tmp_path):
    kept = issue().key.read_bytes()
    other = issue()
    other.key.write_bytes(kept)
    assert "KEY_VALUES_MISMATCH" in identity.findings(other, "cam1")[0].detail
    other.certificate.write_text("none")
    assert identity.findings(other, "cam1")[0].state is State.WRONG
    other.certificate.unlink()
    assert "No such file" in identity.findings(other, "cam1")[0].detail


def test_a_key_that_every_user_can_read_is_said(issue):
    open_to_all = issue()
    open_to_all.key.chmod(0o644)
    certificate, key = identity.findings(open_to_all, "cam1")

    assert certificate.state is State.OK
    assert (key.name, key.state, key.remedy) == ("key", State.WRONG, f"chmod 600 {open_to_all.key}")


def test_who_shows_a_password_or_nothing_has_no_certificate_to_look_at():
    assert identity.findings(None, None) == identity.findings(Credentials("secret"), None) == ()


@pytest.mark.parametrize(("days", "count"), [(5, 1), (31, 0)])
def test_a_brokers_certificate_is_told_once_it_ends_soon(days, count):
    shown = {"notBefore": "Jan  1 00:00:00 2026 GMT", "notAfter": "Feb 15 00:00:00 2026 GMT"}
    end = datetime.datetime(2026, 2, 15, tzinfo=datetime.timezone.utc)
    found = identity.broker_certificate(shown, now_s=(end - days * DAY).timestamp())

    assert len(found) == count
    assert all("ends in 5 days (2026-02-15 00:00)" in each.detail for each in found)
    assert identity.broker_certificate(None) == ()
