"""The command line as its users have it: real processes, real brokers, real files."""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import ports
import pytest

from broker.local import server as local_server
from broker.messages import results, topics
from broker.mqtt import transport
from broker.transport import address
from broker.transport.backoff import Backoff
from tflsplit.graph.interpreter import Interpreter

HERE = pathlib.Path(__file__).parent
DEMO = HERE.parents[2] / "tflsplit" / "demo"
COMMAND = (sys.executable, "-m", "tflsplit.cli.main")
WAIT_S = 240.0  # a bound for what takes seconds on a machine that has other things to do
LOOK_S = 0.2
INPUTS = np.random.default_rng(0).integers(-128, 128, (40, 4), dtype=np.int8)

# What may stand on stderr beside the one line.
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d [\d:,]+ (INFO|WARNING|ERROR) .*|")


@dataclasses.dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    def refusal(self):
        """The one line that says why; everything else is as it must be when a command refuses."""
        said = [line for line in self.err.splitlines() if line.startswith("tflsplit: ")]
        others = [line for line in self.err.splitlines() if line not in said and not LOG_LINE.fullmatch(line)]

        assert self.code == 1, self
        assert len(said) == 1, self.err
        assert others == []
        assert self.out == ""
        return said[0]

    def json(self):
        """The one document on stdout of a command that succeeded."""
        assert self.code == 0, self
        return json.loads(self.out)


class Command(subprocess.Popen):
    """A command that runs as a process of its own."""

    def done(self):
        """Waits for its end."""
        out, err = self.communicate(timeout=WAIT_S)
        return Done(self.returncode, out, err)


@pytest.fixture
def start():
    """Starts a command as a process of its own, behind the words `before`; what still runs at the end of the test is
    killed."""
    with contextlib.ExitStack() as stack:

        def begin(*words, before=(), **options):
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            process = stack.enter_context(Command([*before, *COMMAND, *map(str, words)], **pipes | options))
            stack.callback(process.kill)
            return process

        yield begin


@pytest.fixture
def run(start):
    """Runs a command as a process of its own until it ends."""
    return lambda *words, **options: start(*words, **options).done()


@pytest.fixture(scope="session")
def server():
    """The process that `typed` talks to."""
    command = (sys.executable, HERE / "command_server.py")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()


def ask(server, words, cwd, script=None):
    request = {"argv": [str(word) for word in words], "cwd": str(cwd), "script": script and str(script)}
    print(json.dumps(request), file=server.stdin, flush=True)
    return Done(**json.loads(server.stdout.readline()))


@pytest.fixture
def typed(server, tmp_path):
    """Runs a command in a process that lives on, so that conversions share one import of TensorFlow."""
    return lambda *words, cwd=tmp_path: ask(server, words, cwd)


@pytest.fixture(scope="session")
def bad(server, tmp_path_factory):
    """A folder of models that cannot be converted as they are."""
    folder = tmp_path_factory.mktemp("bad models")
    made = ask(server, [folder], folder, HERE / "make_models.py")
    assert made.code == 0, made.err
    whole = (DEMO / "digits.h5").read_bytes()
    (folder / "truncated.h5").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.h5").write_text("not a model at all")
    (folder / "empty.h5").touch()
    return folder


@pytest.fixture(scope="session")
def digits(server, tmp_path_factory):
    """The demo's model as a package, and in the same folder its pictures: calibration.npy and test.npy."""
    folder = tmp_path_factory.mktemp("digits")
    with np.load(DEMO / "digits.npz") as data:
        np.save(folder / "calibration.npy", data["calibration"])
        np.save(folder / "test.npy", data["test_images"])
    options = ("--calibration", "calibration.npy", "--preprocess", "unit", "-o", "digits.tflsplit")
    made = ask(server, ["convert", DEMO / "digits.h5", *options], folder)
    assert made.code == 0, made.err
    return folder / "digits.tflsplit"


@pytest.fixture
def demo_model():
    return DEMO / "digits.h5"


@pytest.fixture
def source(tmp_path):
    """Inputs of the tiny package, as a file."""
    np.save(tmp_path / "inputs.npy", INPUTS)
    return tmp_path / "inputs.npy"


@pytest.fixture
def tiny_results(tiny_package):
    """What the whole tiny model makes of each input, as results state it."""
    spec = tiny_package.manifest.outputs[0]
    with Interpreter(tiny_package.model_bytes()) as whole:
        return [(whole.run(row[None])[0].ravel() * np.float32(spec.scale)).tolist() for row in INPUTS]


class Brokers:
    """A broker that can be killed and started again on its port."""

    def __init__(self, stack):
        self.kind = ""
        self._stack = stack
        self._serving = None

    def start(self, kind="mosquitto"):
        if kind not in local_server.available():
            pytest.skip(f"{kind} is not installed")
        self.kind = kind
        port = self._serving.address.port if self._serving else ports.free_port()
        self._serving = self._stack.enter_context(local_server.run(port=port, kind=kind))
        return self._serving.url

    def kill(self):
        with os.fdopen(os.pidfd_open(self._serving.pid)) as ended:
            os.kill(self._serving.pid, signal.SIGKILL)
            assert select.select([ended], [], [], WAIT_S)[0]


@pytest.fixture
def brokers():
    with contextlib.ExitStack() as stack:
        yield Brokers(stack)


class Deployment:
    """What anyone sees of a deployment who listens to its broker: results and statuses, as they come."""

    def __init__(self, client, name):
        self._client = client
        self._name = name
        self.results = []
        self.refusals = []
        self.statuses = {}
        self.births = {}
        for kind in (topics.Kind.RESULTS, topics.Kind.STATUS, topics.Kind.BIRTH):
            client.subscribe(topics.every_device(name, kind))

    def wait_for(self, is_so):
        """Takes in messages until something is so."""
        give_up_s = time.monotonic() + WAIT_S
        while not is_so():
            assert time.monotonic() < give_up_s, vars(self)
            self._look()

    def wait_for_results(self, count):
        """Of so many frames: a cloud may say results again, of its first seconds above all."""
        self.wait_for(lambda: len({(each.device, each.boot, each.sequence) for each in self.results}) >= count)

    def wait_for_status(self, device, state):
        self.wait_for(lambda: self.statuses.get(device, {}).get("state") == state)
        return self.statuses[device]

    def wait_for_cloud(self):
        """Until a cloud answers: it refuses what is no frame, which stays out of `refusals`."""
        given = len(self.refusals)

        def is_answered():
            self._client.publish(topics.topic(self._name, "stranger", topics.Kind.FEATURES), b"who is there?", qos=0)
            return len(self.refusals) > given

        self.wait_for(is_answered)
        self.wait_until_quiet()
        self.refusals.clear()

    def wait_until_quiet(self):
        while self._look():
            pass

    def _look(self):
        message = self._client.receive(LOOK_S)
        if message is None:
            return False
        self._client.acknowledge(message)
        topic = topics.parse(message.topic)
        if topic.kind is topics.Kind.RESULTS:
            result = results.parse(message.payload)
            (self.refusals if isinstance(result, results.Refusal) else self.results).append(result)
        elif topic.kind is topics.Kind.STATUS:
            self.statuses[topic.device] = json.loads(message.payload)
        else:
            self.births[topic.device] = json.loads(message.payload)
        return True


@pytest.fixture
def watch():
    """Joins a deployment as one who only listens."""
    with contextlib.ExitStack() as stack:

        def join(url, name="d"):
            backoff = Backoff(first_s=0.02, most_s=0.2)
            client = transport.MqttTransport(address.parse(url), client_id=f"watcher-{name}", backoff=backoff)
            stack.callback(client.close, timeout_s=0)
            client.connect()
            return Deployment(client, name)

        yield join


@pytest.fixture
def deployment(request, brokers, watch):
    """A deployment on a real Mosquitto, or the broker that the test asks for; `url` is the broker's."""
    url = brokers.start(getattr(request, "param", "mosquitto"))
    joined = watch(url)
    joined.url, joined.brokers = url, brokers
    return joined


@pytest.fixture
def edge(start, tiny_package, source):
    """Starts an edge that prints its summary as JSON."""

    def begin(url, *options, device="n", deployment="d", package=tiny_package):
        common = ("--broker", url, "--deployment", deployment, "--device", device, "--source", source, "--json")
        return start("edge", package.path, *common, *options)

    return begin


@pytest.fixture
def cloud(start, tiny_package):
    """Starts a cloud that prints its summary as JSON."""

    def begin(url, *options, deployments=("d",), packages=(tiny_package,)):
        named = [word for name in deployments for word in ("--deployment", name)]
        return start("cloud", *(package.path for package in packages), "--broker", url, *named, "--json", *options)

    return begin


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """A delegate that breaks in the ways of accelerators, told by its options."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (gcc or cc) to build the tests' delegate with")
    made = tmp_path_factory.mktemp("delegate") / "libtest_delegate.so"
    source = HERE.parents[1] / "support" / "delegate.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", made, source, "-lm"], check=True)
    return made
