"""Definitions for RabbitMQ: imported by a real one, with rights that are those of the broker's own rules."""

import json
import re

import pytest

from broker.deploy import folder, rabbitmq
from broker.deploy.ledger import Proof
from tflsplit import errors


@pytest.fixture
def made(tmp_path):
    wanted = folder.Wanted(("lens1", "lens2"), clouds=("tailor",))
    folder.init(tmp_path / "d", wanted, deployment="defined", hosts=("localhost",), is_rabbitmq=True)
    return tmp_path / "d"


def of(path, what, user):
    return next(each for each in json.loads((path / rabbitmq.DEFINITIONS).read_text())[what] if each["user"] == user)


@pytest.mark.parametrize(
    ("user", "right", "key", "may"),
    [
        ("lens1", "write", "tflsplit.v1.defined.lens1.features", True),
        ("lens1", "write", "tflsplit.v1.defined.lens2.features", False),
        ("lens1", "write", "tflsplit.v1.defined.lens1.features.more", False),
        ("lens1", "read", "tflsplit.v1.defined.lens1.results", True),
        ("lens1", "read", "tflsplit.v1.defined.*.results", False),
        ("lens1", "read", "tflsplit.v1.defined.*.serves", True),
        ("tailor", "read", "tflsplit.v1.defined.*.features", True),
        ("tailor", "write", "tflsplit.v1.defined.lens1.results", True),
        ("tailor", "write", "tflsplit.v1.defined.lens1.features", False),
        ("consumer", "write", "tflsplit.v1.defined.lens1.control", False),
        ("operator", "write", "tflsplit.v1.defined.lens1.control", True),
        ("operator", "write", "tflsplit.v1.other.lens1.control", False),
    ],
)
def test_rights_are_those_of_the_roles(made, user, right, key, may):
    assert bool(re.search(of(made, "topic_permissions", user)[right], key)) is may


def test_definitions_follow_every_change(made):
    folder.add(made, ["lens3"])
    folder.revoke(made, ["lens1"])
    told = json.loads((made / rabbitmq.DEFINITIONS).read_text())

    assert [each["name"] for each in told["users"]] == ["lens2", "tailor", "consumer", "operator", "lens3"]
    assert {len(told[kind]) for kind in ("permissions", "topic_permissions")} == {5}
    before = (made / rabbitmq.DEFINITIONS).read_bytes()
    with pytest.raises(errors.SettingsError, match=r"'lens\.4' has a dot"):
        folder.add(made, ["lens.4"])
    assert (made / rabbitmq.DEFINITIONS).read_bytes() == before
    assert "lens.4" not in (made / "authority" / "deployment.json").read_text()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"deployment": "a.b"}, "deployment 'a.b' has a dot"),
        ({"proof": Proof.PASSWORD}, "leave --password-auth out"),
    ],
)
def test_what_rabbitmq_cannot_have_is_refused_and_nothing_is_left(tmp_path, changes, words):
    given = {"deployment": "defined", "hosts": ("localhost",), "is_rabbitmq": True} | changes
    with pytest.raises(errors.SettingsError, match=words):
        folder.init(tmp_path / "d", folder.Wanted(("lens1",)), **given)

    assert list(tmp_path.iterdir()) == []


def test_a_real_rabbitmq_imports_them_at_once(rabbitmq_with, made):
    assert rabbitmq_with(made) >= {"lens1", "lens2", "tailor", "consumer", "operator"}


@pytest.fixture
def rabbitmq_with(request):
    """Imports the definitions of a folder; returns the users that may then do something."""
    node = request.getfixturevalue("rabbitmq")

    def run(path):
        node.ctl("import_definitions", str(path / "rabbitmq.json"))
        permitted = node.ctl("list_permissions", "-p", "/", "--formatter", "json")
        topics = node.ctl("list_topic_permissions", "-p", "/", "--formatter", "json")
        wanted = json.loads((path / "rabbitmq.json").read_text())
        for kind, said in (("permissions", permitted), ("topic_permissions", topics)):
            for each in wanted[kind]:
                found = next(row for row in json.loads(said) if row["user"] == each["user"])
                assert {key: found[key] for key in ("write", "read")} == {key: each[key] for key in ("write", "read")}
        return {row["user"] for row in json.loads(permitted)}

    return run
