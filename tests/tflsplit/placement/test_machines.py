"""The file of machines: what it says, and each way in which it can be wrong."""

import numpy as np
import pytest

from tflsplit import errors
from tflsplit.placement import addresses, machines
from tflsplit.placement.machines import Cluster, Machine, Medium
from tflsplit.timings import links
from tflsplit.timings.links import Link, Origin

GOOD = """
bandwidth = "10Mbit"
delay = "2ms"
shared = true
source = "pi"
sink = "nuc"

[[machine]]
name = "pi"
speed = 3.4e9
memory = "64M"

[[machine]]
name = "nuc"
speed = 40e9
bandwidth = "5Mbit"
overhead = "0.1ms"
power = 15
"""


def _read(folder, text):
    path = folder / "machines.toml"
    path.write_text(text, encoding="utf-8")
    return machines.read(path)


def test_machines_and_what_joins_them_are_read(tmp_path):
    found = _read(tmp_path, GOOD)
    assert found.machines == (
        Machine("pi", 3.4e9, memory_bytes=64 * 2**20),
        Machine("nuc", 40e9, piece_s=0.0001, bandwidth_bps=5e6, power_w=15.0),
    )
    assert found.medium == Medium(10e6, 0.002, is_shared=True)
    assert (found.source, found.sink) == (0, 1)
    assert found.bandwidths_bps == (10e6, 5e6)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('name = "nuc"', 'name = "pi"', "two machines are called pi"),
        ('name = "pi"\n', 'name = "../pi"\n', r"machine 1: name is '../pi'"),
        ("speed = 3.4e9\n", "", "machine 1: name and speed are needed"),
        ("speed = 3.4e9", 'speed = "fast"', "speed is 'fast', expected a number"),
        ("speed = 3.4e9", "speed = 0", "speed, memory and bandwidth have to be above zero"),
        ('memory = "64M"', 'memory = "lots"', "memory"),
        ('memory = "64M"', 'ram = "64M"', "no key 'ram'; there are name, profile, speed"),
        ('sink = "nuc"', 'sink = "server"', "sink is 'server', which is none of the machines: pi, nuc"),
        ("shared = true", 'shared = "yes"', "shared is 'yes', expected true or false"),
        ('bandwidth = "10Mbit"', 'bandwith = "10Mbit"', "no key 'bandwith'; there are bandwidth"),
        (GOOD[GOOD.index("[[machine]]") :], "", r"no \[\[machine\]\]"),
        ("shared = true", "shared = true\nshared = true", "machines.toml"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, before, after, told):
    assert before in GOOD
    with pytest.raises(errors.DataError, match=told):
        _read(tmp_path, GOOD.replace(before, after, 1))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(errors.DataError, match=r"none\.toml: cannot be read"):
        machines.read(tmp_path / "none.toml")


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_brokers_hop_costs_a_second_transfer_and_delay(is_shared):
    """A megabyte at 100 Mbit/s from one machine to another, 2 ms away."""
    sent, received = np.array([1e6, 0.0]), np.array([0.0, 1e6])
    direct, relayed = (
        Cluster((Machine("a", 1e9), Machine("b", 1e9)), Medium(100e6, 0.002, is_shared, each)) for each in (False, True)
    )
    assert float(direct.exchange_s(sent, received)) == pytest.approx(0.082)
    assert float(relayed.exchange_s(sent, received)) == pytest.approx(0.164)
    assert float(relayed.exchange_s(sent * 0, received * 0)) == 0


def test_the_file_says_what_is_spoken_and_nothing_else_will_do(tmp_path):
    described = 'transport = "{}"\n[[machine]]\nname = "a"\nspeed = 1e9\n'
    for spoken, is_relayed in (("mqtt", True), ("zenoh", False)):
        (tmp_path / "m.toml").write_text(described.format(spoken))
        assert machines.read(tmp_path / "m.toml").medium.is_relayed is is_relayed
    (tmp_path / "m.toml").write_text(described.format("tcp"))
    with pytest.raises(errors.DataError, match='transport is \'tcp\', expected "mqtt" or "zenoh"'):
        machines.read(tmp_path / "m.toml")


MEETING = """
[[machine]]
name = "a"
speed = 1e9
address = "zenohs://10.0.0.1:7000"

[[machine]]
name = "b"
speed = 1e9
address = "zenohs://[fd00::2]"

[[machine]]
name = "c"
speed = 1e9
"""


def test_each_machine_is_told_where_to_listen_and_whom_to_reach(tmp_path):
    (tmp_path / "m.toml").write_text(MEETING)
    stated = [each.address for each in machines.read(tmp_path / "m.toml").machines]
    assert [addresses.url(stated, each) for each in range(3)] == [
        "zenohs://[fd00::2]:7447?listen=:7000",
        "zenohs://10.0.0.1:7000?listen=:7447",
        "zenohs://10.0.0.1:7000,[fd00::2]:7447",
    ]
    assert addresses.url([None, None], 0) is None


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("zenohs://[fd00::2]", "zenoh://[fd00::2]", "take one for all"),
        ("zenohs://[fd00::2]", "10.0.0.2", "address is '10.0.0.2', expected zenohs://host"),
        ('address = "zenohs://[fd00::2]"', "", "b and c have no address, so they could not meet"),
        ("\n[[machine]]", 'transport = "mqtt"\n[[machine]]', "need no broker"),
        ('"zenohs://[fd00::2]"', "7", "address: found 7 of type int"),
    ],
)
def test_addresses_by_which_machines_could_not_meet_are_refused(tmp_path, before, after, told):
    (tmp_path / "m.toml").write_text(MEETING.replace(before, after, 1))
    with pytest.raises(errors.DataError, match=told):
        machines.read(tmp_path / "m.toml")


def test_a_measured_link_gives_bandwidth_and_the_delay_of_a_message(tmp_path):
    probed = Link("shop", Origin.MEASURED, 20e6, 0.008)
    (tmp_path / "probe.json").write_text(links.render(probed))
    described = 'link = "probe.json"\n{}[[machine]]\nname = "a"\nspeed = 1e9\n'
    (tmp_path / "m.toml").write_text(described.format(""))
    medium = machines.read(tmp_path / "m.toml").medium
    assert (medium.bandwidth_bps, medium.delay_s) == (20e6, 0.002)
    (tmp_path / "m.toml").write_text(described.format('delay = "1ms"\n'))
    with pytest.raises(errors.DataError, match="delay is stated, and link"):
        machines.read(tmp_path / "m.toml")
    (tmp_path / "m.toml").write_text(described.format("").replace("probe.json", "none.json"))
    with pytest.raises(errors.DataError, match=r"none\.json"):
        machines.read(tmp_path / "m.toml")
