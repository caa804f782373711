"""Addresses of direct links, and what is no such address."""

import pytest

from broker.transport import address as broker_address
from broker.transport.address import Address
from broker.zenoh import address
from broker.zenoh.address import Meeting
from tflsplit import errors


@pytest.mark.parametrize(
    ("url", "meeting"),
    [
        ("zenoh://pi1", Meeting(at=(Address("pi1", 7447),))),
        ("zenoh://pi1:1,[fe80::1]:2", Meeting(at=(Address("pi1", 1), Address("fe80::1", 2)))),
        ("zenohs://pi1", Meeting(at=(Address("pi1", 7447, tls=True),), is_tls=True)),
        ("zenoh://?listen=10.0.0.1:5", Meeting(listens=(Address("10.0.0.1", 5),))),
        ("zenoh://?listen=:5", Meeting(listens=(Address("0.0.0.0", 5),))),
        (
            "zenoh://pi1?listen=a,b:2&discover",
            Meeting((Address("pi1", 7447),), (Address("a", 7447), Address("b", 2)), discovers=True),
        ),
        ("zenoh://224.0.0.224:7446", Meeting(group=Address("224.0.0.224", 7446), discovers=True)),
    ],
)
def test_an_address_says_where_members_meet(url, meeting):
    assert broker_address.is_direct(url)
    assert address.parse(url) == meeting


def test_a_box_is_a_folder(tmp_path):
    assert address.parse("box:///run/a%20b").folder.as_posix() == "/run/a b"
    assert str(address.parse("box:///run/plant1")) == "box:///run/plant1"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("zenoh://", "needs somebody to connect to, or an address to listen at"),
        ("zenoh://?discover", "needs somebody to connect to"),
        ("zenoh://a:0", "expected zenoh://host"),
        ("zenoh://a:x", "Port could not be cast"),
        ("zenoh://a/b", "expected zenoh://host"),
        ("zenohs://me@a", "no user here; members show a certificate"),
        ("zenoh://fe80::1", "an IPv6 address stands in brackets"),
        ("zenoh://a?lisen=:1", "no option 'lisen'; there are listen="),
        ("zenoh://a?discover=no", "no option 'discover'"),
        ("zenoh://?listen=224.0.0.224:1", "nobody listens there"),
        ("zenoh://224.0.0.1:1,224.0.0.2:1", "one multicast group at most"),
        ("box://run", "expected an absolute path"),
        ("box:///" + "x" * 120, "choose a shorter one"),
        ("tcp://a", "expected zenoh://host"),
    ],
)
def test_anything_else_is_refused_in_one_line(url, reason):
    with pytest.raises(errors.SettingsError, match=reason) as refused:
        address.parse(url)
    assert "\n" not in str(refused.value)


def test_what_needs_a_broker_says_so():
    with pytest.raises(errors.SettingsError, match=r"zenoh://pi1: this needs a broker \(mqtt://…\)"):
        broker_address.parse("zenoh://pi1")
    assert not broker_address.is_direct("mqtt://pi1")
    assert not broker_address.is_direct(None)


def test_a_folder_that_others_may_enter_is_refused(tmp_path):
    address.check_folder(tmp_path / "made")
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700
    tmp_path.chmod(0o755)
    with pytest.raises(errors.SettingsError, match="others of this machine may enter it; chmod 700"):
        address.check_folder(tmp_path)
