"""Lists of brokers as they are typed and written: on the command line, in a file, in the environment, in Python."""

import click
import pytest
from click.testing import CliRunner

from broker.deploy import folder
from broker.transport import credentials
from broker.transport.credentials import Role
from tflsplit import errors
from tflsplit.api import connections
from tflsplit.cli.commands.broker import init
from tflsplit.cli.commands.edge import command as edge
from tflsplit.cli.options import connection, work_queue

URLS = ("mqtt://a", "mqtt://b", "mqtt://c:1884")


@pytest.fixture
def brokers(monkeypatch):
    """What an edge would connect to, by its words."""

    def read(*words, env=None):
        seen = []
        monkeypatch.setattr(edge, "callback", lambda **given: seen.append(given["broker"].urls))
        callback = connection.broker_options(lambda broker, **_: seen.append(broker.urls))
        monkeypatch.setattr(edge, "callback", callback)
        done = CliRunner().invoke(edge, ["--source", "x", *words], env=env, catch_exceptions=False)
        return seen[0] if seen else done.output

    return read


@pytest.mark.parametrize("written", ['"mqtt://a"', '["mqtt://a"]'])
def test_one_broker_stands_alone_or_in_a_list(tmp_path, brokers, written):
    (tmp_path / "edge.toml").write_text(f"[edge]\nbroker = {written}\n")
    assert brokers("--config", str(tmp_path / "edge.toml")) == ("mqtt://a",)


def test_several_brokers_are_a_list_a_repeated_option_or_words_of_a_variable(tmp_path, brokers):
    (tmp_path / "edge.toml").write_text(f"[edge]\nbroker = {list(URLS)}\n")
    assert brokers("--config", str(tmp_path / "edge.toml")) == URLS
    assert brokers(*(word for url in URLS for word in ("--broker", url))) == URLS
    assert brokers(env={"TFLSPLIT_EDGE_BROKER": " ".join(URLS)}) == URLS


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ('["mqtt://a", "mqtt://a:1883"]', "edge.toml:2: broker: broker a:1883 is named twice"),
        ('["mqtt://a", ""]', "edge.toml:2: broker: brokers 'mqtt://a', '': one of them is empty; leave it out"),
        ('["mqtt://a", "box:///b"]', r"box:///b: this needs a broker \(mqtt://…\); a direct link has none"),
        ('["mqtt://a", 3]', "edge.toml:2: broker: 3, expected text in quotes"),
    ],
)
def test_what_is_no_list_of_brokers_is_refused_with_its_place(tmp_path, brokers, written, problem):
    (tmp_path / "edge.toml").write_text(f"[edge]\nbroker = {written}\n")
    with pytest.raises(errors.ConfigurationError, match=problem):
        brokers("--config", str(tmp_path / "edge.toml"))


def test_a_device_has_its_own_and_a_cloud_all():
    named = connection.Broker(URLS)
    (own,), _ = named.resolve(("d", "cam"), role=Role.DEVICE)
    assert str(own) in ("a:1883", "b:1883", "c:1884")
    assert connections.reached(list(URLS), None, ("d", "cam"), Role.DEVICE)[0] == (own,)
    for role in (Role.CLOUD, Role.OPERATOR, Role.CONSUMER):
        assert len(named.resolve(("d", "cam"), role=role)[0]) == 3
    assert connections.shown(connections.reached(URLS, None, ("d", "c"), Role.CLOUD)) == "a:1883, b:1883, c:1884"
    with pytest.raises(errors.TflsplitError, match="a list of them, or a MemoryBroker"):
        connections.reached([], None, ("d", "cam"), Role.DEVICE)


def test_a_queue_is_of_one_rabbitmq():
    with pytest.raises(click.UsageError, match="frames of one RabbitMQ"):
        work_queue.connected("amqp://a", connection.Broker(URLS), "d", "c", 1, serving=None, workers=None).__enter__()


def test_init_names_each_broker_once_and_gives_its_port(tmp_path):
    assert init._spread("a, b:1,[::1]", 8884) == [(("a",), 8884), (("b",), 1), (("::1",), 8884)]
    for typed, problem in (("a,b,a:8883", "broker a:8883 is named twice"), ("a,,b", "one of them is empty")):
        words = ["--deployment", "d", "--device", "x", "--brokers", typed, str(tmp_path / "made")]
        done = CliRunner().invoke(init.command, words)
        assert problem in str(done.exception)
        assert not (tmp_path / "made").exists()
    done = CliRunner().invoke(
        init.command, ["--deployment", "d", "--device", "x", "--brokers", "a", "--host", "b", "made"]
    )
    assert "leave out --host" in done.output


def test_passwords_name_their_user_at_every_broker(tmp_path):
    terms = {"deployment": "d", "hosts": ("a",), "others": [("b", 8883)], "proof": folder.Proof.PASSWORD}
    folder.init(tmp_path / "d", folder.Wanted(("cam",)), **terms)
    opened = credentials.open_bundle(tmp_path / "d" / "clients" / "cam")
    assert [(each.host, each.user) for each in opened.addresses] == [("a", "cam"), ("b", "cam")]
    hashes = {(home / "server" / "passwords").read_text() for home in (tmp_path / "d" / "brokers").iterdir()}
    assert len(hashes) == 1
    assert folder.read(tmp_path / "d").where == "mqtts://a:8883, mqtts://b:8883"
