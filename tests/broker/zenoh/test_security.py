"""Who is let in: members of this deployment, by their certificates; all others are refused in one line."""

import dataclasses
import pathlib
import socket
import ssl

import pytest
import waiting

from broker.transport.address import Credentials
from tflsplit import errors

SOON_S = waiting.WAIT_S


@pytest.fixture
def listener(member, shown, port):
    made = member(f"zenohs://?listen=127.0.0.1:{port}", "m1", credentials=shown("m1"))
    made.subscribe("t")
    return made


def refusal(member, url, proof, **options):
    with pytest.raises(errors.TflsplitError) as refused:
        member(url, "m2", credentials=proof, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", ["m2", "cam1", "cloud"])
def test_a_certificate_of_the_deployment_lets_in(member, shown, port, listener, name):
    other = member(f"zenohs://localhost:{port}", credentials=shown(name))
    other.publish("t", b"hello")
    assert listener.receive(SOON_S).payload == b"hello"
    assert other.flush(SOON_S)


def test_another_deployment_of_the_same_name_is_refused(member, shown, port, listener):
    said = refusal(member, f"zenohs://127.0.0.1:{port}", shown("m2", "theirs"))
    assert "its certificate is not this deployment's" in said


def test_a_certificate_of_another_authority_is_refused_by_who_listens(member, shown, port, listener):
    """It trusts the right authority, and shows what that has not signed."""
    proof = dataclasses.replace(shown("m2", "theirs"), ca=shown("m2").ca)
    assert "it does not accept our certificate" in refusal(member, f"zenohs://127.0.0.1:{port}", proof)


def test_without_a_certificate_nobody_is_let_in(member, shown, port, listener):
    where = f"zenohs://127.0.0.1:{port}"
    for proof in (None, Credentials(ca=shown("m2").ca)):
        assert "both sides show a certificate; give --credentials" in refusal(member, where, proof)
    bare = ssl.create_default_context(cafile=shown("m2").ca)
    bare.check_hostname = False
    with pytest.raises((ssl.SSLError, ConnectionError), match=r"certificate|alert|reset|eof"):
        heard(bare, port)


def heard(context, port):
    """What one says who shows nothing; ConnectionError if that is nothing either."""
    with (
        socket.create_connection(("127.0.0.1", port), SOON_S) as opened,
        context.wrap_socket(opened) as secured,
    ):
        if not (said := secured.recv(1)):
            raise ConnectionError("eof")
        return said


def test_who_speaks_no_tls_is_not_let_in(member, port, listener):
    said = refusal(member, f"zenoh://127.0.0.1:{port}", None, connect_timeout_s=1.0)
    assert "does it want TLS (zenohs://)?" in said


def test_tls_is_not_left_out_where_it_is_asked_for(member, shown, port):
    member(f"zenoh://?listen=127.0.0.1:{port}")
    said = refusal(member, f"zenohs://127.0.0.1:{port}", shown("m2"), connect_timeout_s=1.0)
    assert "it does not speak TLS" in said


def test_a_devices_certificate_may_not_listen(member, shown, port):
    said = refusal(member, f"zenohs://?listen=127.0.0.1:{port}", shown("cam1"))
    assert "unsuitable certificate purpose; whoever listens needs the certificate of a cloud or a worker" in said


def test_certificates_without_tls_are_refused(member, shown, port):
    assert "give it as zenohs://" in refusal(member, f"zenoh://127.0.0.1:{port}", shown("m2"))


def test_a_key_that_does_not_fit_is_refused(member, shown, port, tmp_path):
    proof = dataclasses.replace(shown("m2"), key=shown("m1").key)
    assert "TLS files" in refusal(member, f"zenohs://127.0.0.1:{port}", proof)
    missing = dataclasses.replace(shown("m2"), ca=pathlib.Path(tmp_path / "none"))
    assert "No such file" in refusal(member, f"zenohs://127.0.0.1:{port}", missing)


def test_members_of_two_deployments_at_one_port_do_not_meet(member, port):
    """Without TLS only the name tells them apart."""
    ours = member(f"zenoh://?listen=127.0.0.1:{port}")
    ours.subscribe("#")
    said = refusal(member, f"zenoh://127.0.0.1:{port}", None, deployment="plant2", connect_timeout_s=1.0)
    assert "does not answer as a member" in said
    assert ours.receive(0.0) is None
