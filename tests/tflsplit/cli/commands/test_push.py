"""Models for devices in the field, as operators, devices and clouds have them: processes, a real broker, signals."""

import json
import os

import ports
import pytest
import tiny_models
import waiting

from tflsplit.package import reading

pytestmark = pytest.mark.chaos

NAMES = ("--deployment", "d")


class Plant:
    """A deployment whose devices take updates: `old` is what they are started with, `new` what is pushed."""

    def __init__(self, start, folder, packages):
        self.old, self.new = packages
        self.models = folder
        self.key = folder / "plant.pem"
        self.broker = ()
        self._start = start
        assert start("keygen", self.key).done().code == 0

    def cloud(self, *packages):
        return self._start("cloud", *(made.path for made in packages), *self.broker, *NAMES, "--json")

    def edge(self, source, *options, device="n"):
        updates = ("--models", self.models / f"models-{device}", "--update-key", self.key.with_suffix(".pub"))
        common = ("--device", device, "--source", source, "--json", "--count", "1000000")
        return self._start("edge", self.old.path, *self.broker, *NAMES, *common, *updates, *options)

    def push(self, *options, devices=("n",)):
        named = [word for device in devices for word in ("--device", device)]
        return self._start("push", self.new.path, *self.broker, *NAMES, *named, "--sign", self.key, *options)


@pytest.fixture
def plant(start, tiny_package, residual_model, tmp_path):
    new = tiny_models.write_package(tmp_path / "new.tflsplit", residual_model, labels=("x", "y"))
    return Plant(start, tmp_path, (tiny_package, new))


@pytest.fixture
def deployment(brokers, watch, plant):
    url = brokers.start()
    plant.broker = ("--broker", url)
    return watch(url)


def wait_for_update(deployment, state, device="n"):
    deployment.wait_for(lambda: deployment.births.get(device, {}).get("update", {}).get("state") == state)
    return deployment.births[device]


def packages(results):
    return [result.package for result in sorted(results, key=lambda result: result.sequence)]


def test_a_roll_out_loses_no_frame_and_a_restart_keeps_it(plant, deployment, source):
    serving = plant.cloud(plant.old, plant.new)
    deployment.wait_for_cloud()
    first = plant.edge(source, "--rate", "100")
    deployment.wait_for_results(20)
    (told,) = plant.push("--json").done().json()
    deployment.wait_for_results(len(deployment.results) + 20)
    first.terminate()
    summary = first.done().json()
    deployment.wait_for_results(summary["results"])
    seen = packages(deployment.results)
    before = {each.boot for each in deployment.results}  # of which a cloud may say results again

    def later():
        return [each for each in deployment.results if each.boot not in before]

    again = plant.edge(source, "--rate", "100")
    deployment.wait_for(lambda: len(later()) >= 5)
    again.terminate()
    again.done()
    serving.terminate()

    assert (told["device"], told["state"], told["reason"]) == ("n", "installed", None)
    assert told["sent_bytes"] > 0
    assert (summary["frames"], summary["unanswered"], summary["refused"]) == (summary["results"], 0, 0)
    change = seen.index(plant.new.digest)
    assert seen == [plant.old.digest] * change + [plant.new.digest] * (len(seen) - change)
    assert set(packages(later())) == {plant.new.digest}
    assert serving.done().json()["refused"].keys() <= {"bad_frame"}  # of who asked if it was there
    held = reading.open_package(plant.models / "models-n" / "current" / "package")
    assert "model.tflite" not in held.manifest.files


def test_an_edge_killed_on_probation_starts_with_the_model_of_before(plant, deployment, source):
    plant.cloud(plant.old, plant.new)
    deployment.wait_for_cloud()
    first = plant.edge(source, "--rate", "2")
    deployment.wait_for_results(1)
    pushing = plant.push()
    wait_for_update(deployment, "probation")
    first.kill()
    plant.edge(source, "--rate", "50")
    said = pushing.done()
    birth = wait_for_update(deployment, "rolled_back")

    assert said.code == 1
    assert "device 'n' did not install it (rolled_back: the edge ended without a goodbye" in said.err
    assert birth["package"] == plant.old.digest


def test_the_first_device_that_fails_spares_the_others(plant, deployment, source):
    """The cloud has not got the new model."""
    plant.cloud(plant.old)
    deployment.wait_for_cloud()
    for device in ("n", "m"):
        plant.edge(source, "--rate", "50", device=device)
        deployment.wait_for(lambda device=device: device in deployment.births)
    said = plant.push("--json", devices=("n", "m")).done()
    (told,) = json.loads(said.out)

    assert said.code == 1
    assert (told["device"], told["state"]) == ("n", "rolled_back")
    assert "a frame was refused" in told["reason"]
    assert "not pushed to m" in said.err
    assert deployment.births["m"]["update"]["state"] == "idle"


def test_certificates_let_an_operator_push_and_a_device_take(plant, start, source, tmp_path):
    folder = tmp_path / "broker"
    port = ports.free_port()
    names = ("--deployment", "d", "--device", "n", "--host", "localhost", "--port", port)
    assert start("broker", "init", folder, *names).done().code == 0
    ports.await_server(port, start("broker", "run", folder))
    for name, begin in (("cloud", lambda: plant.cloud(plant.old, plant.new)), ("n", lambda: plant.edge(source))):
        plant.broker = ("--credentials", folder / "clients" / name)
        begin()
    plant.broker = ("--credentials", folder / "clients" / "operator")
    wait_for_birth(plant)
    pushed = plant.push().done()

    assert pushed.code == 0, pushed.err
    assert pushed.out.startswith("n: installed, ")
    assert os.readlink(tmp_path / "models-n" / "current").startswith(plant.new.digest[:16])


def wait_for_birth(plant):
    """An operator may read births; the store of the device is there once it has begun."""
    waiting.wait_for((plant.models / "models-n" / "lock").exists)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--update-key", "k.pub"), "give --models DIR too"),
        (("--models", "m", "--update-url-prefix", "https://x/"), "updates are off without --update-key"),
        (("--models", "m", "--update-key", "k.pub", "--update-url-prefix", "ftp://x/"), "give https://"),
        (("--models", "m", "--update-key", "k.pub"), "key k.pub cannot be read"),
    ],
)
def test_options_that_do_not_go_together_are_refused(run, tiny_package, source, options, words):
    common = ("--broker", "mqtt://localhost:1", *NAMES, "--device", "n", "--source", "inputs.npy")
    refused = run("edge", tiny_package.path, *common, *options, cwd=source.parent)

    assert words in refused.refusal()
    assert not (source.parent / "m" / "record.json").exists()


def test_a_key_that_is_there_and_one_that_is_none_are_refused(run, plant):
    assert "a key is never replaced" in run("keygen", plant.key).refusal()
    common = ("--broker", "mqtt://localhost:1", *NAMES, "--device", "n", "--sign", plant.key.with_suffix(".pub"))
    assert "no private key in PEM" in run("push", plant.old.path, *common).refusal()


@pytest.mark.parametrize(
    "url", ["ftp://x/m", "x/m", "https://", "http://[::1/m", "https://u@x/m", "https://x/m?a=b", ""]
)
@pytest.mark.parametrize("command", [("push",), ("rollout", "run")])
def test_a_url_that_no_device_fetches_from_is_refused_before_a_broker_is_asked(run, tiny_package, command, url):
    given = ("--broker", "mqtt://127.0.0.1:1", "--deployment", "d", "--sign", "no.key", "--url", url)
    whom = ("--device", "n") if command == ("push",) else ("--state", "s", "--all")
    assert "give the bundle's folder" in run(*command, tiny_package.path, *given, *whom).refusal()


def test_a_cut_that_is_not_there_is_refused_before_a_broker_is_asked(run, tiny_package):
    broker = ("--broker", "mqtt://127.0.0.1:1", "--deployment", "d", "--device", "n", "--sign", "no.key")
    refusal = run("push", tiny_package.path, *broker, "--cut", "nowhere").refusal()

    assert "no cut or layer 'nowhere'" in refusal
