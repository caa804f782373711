"""A model for many devices: the command as a process, a real broker, devices that are light, and a few real edges."""

import contextlib
import json
import sqlite3

import light_devices
import pytest
import tiny_models
from waiting import wait_for

from broker.messages import updates
from tflsplit.package import signing

NAMES = ("--deployment", "d")
GATES = ("--most-latency", "1.5", "--least-agreement", "80%", "--soak", "30s")
# A second of theirs; forty of them then publish some 1,200 messages a second.
SPEED = 200.0


class Plant:
    """Devices at a broker, and the commands about a rollout to them."""

    def __init__(self, start, run, url, packages):
        self.start, self.run, self.url = start, run, url
        self.old, self.new = packages
        self.folder = folder = self.new.path.parent
        self.verifier = signing.open_public(signing.make(folder / "plant.pem"))
        self.state = folder / "state"

    def fleet(self, **options):
        made = {"speed": SPEED} | options
        return light_devices.Fleet(self.url, "d", self.verifier, self.old.digest, self.old.cuts[1].id, **made)

    def listed(self, *names):
        (self.folder / "names").write_text("\n".join(names))
        return ("--devices", self.folder / "names")

    def words(self, *options):
        common = ("--state", self.state, "--broker", self.url, *NAMES, "--sign", self.folder / "plant.pem")
        return ("rollout", "run", self.new.path, *common, *options)

    def begin(self, *options):
        return self.start(*self.words(*options), "--json")

    def told(self):
        return self.run("rollout", "status", self.state, "--json").json()

    def steer(self, *words):
        return self.run("rollout", words[0], self.state, *words[1:])


@pytest.fixture
def plant(start, typed, brokers, tiny_package, tmp_path):
    new = tiny_models.write_package(tmp_path / "new.tflsplit", tiny_models.residual_model(), labels=("x", "y"))
    return Plant(start, typed, brokers.start(), (tiny_package, new))


def states(said):
    return {each["name"]: each["state"] for each in said["devices"]}


def test_the_canary_finds_the_wrong_ones_and_the_rest_follows_when_it_may(plant):
    names = [f"cam{number:02}" for number in range(40)]
    wrong = {"cam01": "rolled_back", "cam02": "slow", "cam04": "otherwise"}
    fleet = plant.fleet()
    for name in names:
        fleet.add(name, wrong=wrong.get(name), is_on=name not in ("cam03", "cam20"))
    options = (*plant.listed(*names), "--canary", "8", "--wave", "100%", *GATES)
    with fleet:
        halted = plant.begin(*options).done()
        canary = states(json.loads(halted.out))
        assert halted.code == 1
        assert "3 of 8 devices of the canary failed" in halted.err
        assert "cam02 (its median latency is" in halted.err
        assert "cam04 (its labels come otherwise than before: 0% in common" in halted.err
        assert {name for name, state in canary.items() if state != "waiting"} == {*names[:3], *names[4:9]}
        assert fleet.running(plant.new.digest) <= {*names[:9]}

        assert "lets it go on" in plant.run(*plant.words(*options)).refusal()
        assert plant.steer("resume").code == 0
        second = plant.begin(*options)
        wait_for(lambda: len(fleet.running(plant.new.digest)) >= 15)
        second.kill()
        third = plant.begin(*options)
        fleet.switch("cam03", is_on=True)
        wait_for(lambda: fleet.devices["cam03"].updates.installs)
        fleet.switch("cam20", is_on=True)
        ended = third.done()
    found = states(json.loads(ended.out))

    assert ended.code == 1
    assert {name: state for name, state in found.items() if state != "installed"} == {
        "cam01": "failed",
        "cam02": "unhealthy",
        "cam04": "unhealthy",
    }
    assert {device.updates.installs for device in fleet.devices.values() if device.name != "cam01"} == {1}


class Silenced(light_devices.Fleet):
    """Nobody answers any more once the first device has the model."""

    def _report(self, name, report, **told):
        super()._report(name, report, **told)
        self._answers = self._answers and report.state is not updates.State.INSTALLED


def test_devices_are_observed_while_the_canary_goes_on_and_their_first_answers_count(plant):
    """The canary's after are those of its probation, the others' before those of the canary's time."""
    fleet = Silenced(plant.url, "d", plant.verifier, plant.old.digest, plant.old.cuts[1].id, speed=SPEED)
    fleet.add("a", "b", "c")
    options = (*plant.listed("a", "b", "c"), "--canary", "1", "--wave", "2", "--least-agreement", "80%")
    with fleet:
        ended = plant.begin(*options, "--soak", "5s", "--stay", "1s").done()
    found = {each["name"]: each for each in json.loads(ended.out)["devices"]}

    assert found["a"]["lacking"] == []
    assert {each["state"] for each in found.values()} == {"installed"}
    assert all(sum(found[name]["before"]["labels"].values()) == pytest.approx(1.0) for name in "abc")
    assert found["b"]["lacking"] == found["c"]["lacking"] == ["agreement"]


def test_a_rollout_pauses_goes_on_and_takes_the_model_back(plant):
    fleet = plant.fleet(answers=False)
    fleet.add("a", "b", "c", group="north")
    fleet.add("x", "y", group="south")
    options = ("--group", "north", "--canary", "1", "--wave", "1")
    with fleet:
        fleet.switch("b", is_on=False)
        wait_for(lambda: not fleet.devices["b"].is_on)
        running = plant.begin(*options)
        wait_for(lambda: len(fleet.running(plant.new.digest)) == 2)
        wait_for(lambda: plant.told()["counts"] == {"installed": 2, "waiting": 1})
        assert plant.steer("pause").out.endswith("pause\n")
        fleet.switch("b", is_on=True)
        wait_for(lambda: fleet.devices["b"].is_on)
        assert "being run by another process" in plant.run(*plant.words(*options)).refusal()
        assert plant.told()["counts"] == {"installed": 2, "waiting": 1}
        plant.steer("back", plant.old.path)
        ended = running.done().json()

    assert (ended["is_back"], ended["ended"], ended["counts"]) == (True, "done", {"installed": 2, "spared": 1})
    assert fleet.running(plant.old.digest) == {"a", "b", "c", "x", "y"}
    assert fleet.devices["b"].updates.serial == 0
    assert "the rollout is over (done)" in plant.run(*plant.words(*options)).refusal()
    assert "goes back already" in plant.steer("back", plant.old.path).refusal()


def test_an_aborted_rollout_leaves_devices_as_they_are(plant):
    fleet = plant.fleet(answers=False)
    fleet.add("a", "b")
    options = (*plant.listed("a", "b"), "--canary", "1")
    with fleet:
        fleet.switch("b", is_on=False)
        running = plant.begin(*options)
        wait_for(lambda: fleet.devices["a"].updates.installs)
        plant.steer("abort")
        ended = running.done()

    assert ended.code == 1
    assert json.loads(ended.out)["ended"] == "aborted"
    assert fleet.running(plant.new.digest) == {"a"}
    assert "the rollout is over (aborted)" in plant.steer("resume").refusal()


def test_devices_that_nobody_knows_are_named_and_waited_for_if_asked(plant):
    fleet = plant.fleet(answers=False)
    fleet.add("a", "b")
    options = plant.listed("a", "nobody1", "b", "nobody2")
    with fleet:
        refusal = plant.run(*plant.words(*options)).refusal()
        assert "2 of 4 devices were never there: nobody1, nobody2; nothing was done" in refusal
        assert not plant.state.exists()
        ended = plant.begin(*options, "--allow-unknown", "--canary", "50%", "--stay", "0s").done()

    assert ended.code == 1
    assert "waits for 2 devices to be there: nobody1, nobody2\n" in plant.steer("status").out
    assert plant.told()["away"] == ["nobody1", "nobody2"]
    assert states(json.loads(ended.out)) == {
        "a": "installed",
        "b": "installed",
        "nobody1": "waiting",
        "nobody2": "waiting",
    }


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ("a\nb\na\n", "names:3: 'a' stands in line 1 already; nothing was done"),
        ("a\nb/c\n", "names:2: "),
        ("# none\n", "no names are in it"),
    ],
)
def test_a_list_that_is_wrong_is_refused_by_its_line(plant, listed, words):
    (plant.folder / "names").write_text(listed)
    refused = plant.run(*plant.words("--devices", plant.folder / "names"))

    assert words in refused.refusal()
    assert not plant.state.exists()


def test_a_state_that_is_none_or_of_another_rollout_is_refused(plant):
    plant.state.write_text("no database at all, but long enough to be taken for one " * 20)
    for refused in (plant.run(*plant.words("--all")), plant.steer("status"), plant.steer("pause")):
        assert "is no state of a rollout" in refused.refusal()
    plant.state.unlink()
    with contextlib.closing(sqlite3.connect(plant.state)) as other:
        other.execute("CREATE TABLE x (y)")
    assert "is no state of a rollout" in plant.steer("status").refusal()
    plant.state.unlink()
    assert "no state of a rollout is there" in plant.steer("abort").refusal()

    fleet = plant.fleet(answers=False)
    fleet.add("a")
    with fleet:
        assert plant.begin("--all").done().code == 0
    assert "is over (done)" in plant.run(*plant.words("--all")).refusal()
    assert "begun otherwise (terms)" in plant.run(*plant.words("--all", "--canary", "3")).refusal()
    assert "begun otherwise (group)" in plant.run(*plant.words("--group", "north")).refusal()
    assert "begun otherwise (is_listed)" in plant.run(*plant.words(*plant.listed("b"))).refusal()
    assert (
        "no device of group 'west' takes updates; no device has a group"
        in plant.run(
            *plant.words("--group", "west")[:4], plant.folder / "other", *plant.words("--group", "west")[5:]
        ).refusal()
    )


@pytest.mark.chaos
def test_real_edges_of_a_group_get_the_model_and_the_others_keep_theirs(plant, watch, source):
    deployment = watch(plant.url)
    broker = ("--broker", plant.url, *NAMES)
    plant.start("cloud", plant.old.path, plant.new.path, *broker)
    deployment.wait_for_cloud()
    for name, group in (("n1", "north"), ("n2", "north"), ("n3", "north"), ("s1", "south")):
        updates = ("--models", plant.folder / name, "--update-key", plant.folder / "plant.pub", "--group", group)
        common = ("--device", name, "--source", source, "--rate", "30", "--count", "1000000")
        plant.start("edge", plant.old.path, *broker, *common, *updates)
    deployment.wait_for(lambda: {"n1", "n2", "n3", "s1"} <= deployment.births.keys())
    ended = plant.begin("--group", "north", "--canary", "1", "--wave", "2").done().json()
    # All anew from what is retained: too many results came meanwhile for who had not listened.
    told = plant.run("fleet", *broker, "--json").json()["of_devices"]

    assert sorted((each["name"], each["state"]) for each in ended["devices"]) == [
        (name, "installed") for name in ("n1", "n2", "n3")
    ]
    assert sorted(each["phase"] for each in ended["devices"]) == [1, 2, 2]
    assert {each["device"]: (each["group"], each["package"]) for each in told} == {
        **dict.fromkeys(("n1", "n2", "n3"), ("north", plant.new.digest)),
        "s1": ("south", plant.old.digest),
    }
