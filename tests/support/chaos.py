"""Deployments of real processes that are killed, frozen and started again, and what everyone of them saw.

A test kills on what it sees, never on a clock: after so many results, or when a process says a thing.
"""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from pathlib import Path

import numpy as np

from broker.messages import results as messages_results
from broker.messages import topics
from broker.mqtt import transport
from broker.transport import address, credentials
from edge_runtime.delivery.durable import spool
from tflsplit.graph.interpreter import Interpreter

COMMAND = (sys.executable, "-m", "tflsplit.cli.main")
PATIENCE_S = 120.0  # without any progress
DIFFERENT = 40  # inputs; they repeat
FIGURES = ("frames", "replayed", "results", "resent", "duplicates", "refused", "unanswered", "dropped")  # of an edge


class Process:
    """A command, and what it says as it says it. `on_done` is told what it printed in the end."""

    def __init__(self, *words, command=COMMAND, on_done=lambda printed: None):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "text": True}
        self.words = " ".join(map(str, words))
        self._on_done = on_done
        self.beside = [self]  # whoever else there is, for a failure to show
        self._process = subprocess.Popen([*command, *map(str, words)], **pipes)
        self.changed = threading.Condition()
        self.out, self.err = [], []
        self._open = 2  # streams that may still say something
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in ((self._process.stdout, self.out), (self._process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self):
        return self._process.pid

    def wait_for(self, holds):
        """Until what it said makes it so; fails once it says nothing new for long, or ended."""
        with self.changed:
            while not holds():
                seen = len(self.out), len(self.err)
                self.changed.wait_for(lambda: (len(self.out), len(self.err)) != seen or not self._open, PATIENCE_S)  # noqa: B023
                is_silent = (len(self.out), len(self.err)) == seen  # for long, or for ever
                assert holds() or not is_silent, "\n".join(each.last_words() for each in self.beside)

    def last_words(self):
        return f"{self.words} ({self._process.poll()}):\n  " + "\n  ".join([*self.out[-2:], *self.err[-5:]])

    def wait_to_say(self, words):
        self.wait_for(lambda: any(words in line for line in self.err))

    def wait_until_online(self):
        self.wait_to_say("connection state=online")

    def kill(self):
        self._process.kill()
        return self._end()

    def terminate(self):
        self._process.terminate()

    def done(self, patience_s=PATIENCE_S, *, code=0):
        """Waits for its end with that code, or one of several; what it printed as JSON."""
        self._process.wait(patience_s)
        self._end()
        assert self._process.returncode in (code if isinstance(code, set) else {code}), "\n".join(self.err[-20:])
        printed = json.loads(self.out[-1])
        self._on_done(printed)
        return printed

    def memory_bytes(self, which="VmRSS"):
        status = Path(f"/proc/{self.pid}/status").read_text("ascii")
        return int(re.search(rf"{which}:\s+(\d+) kB", status)[1]) * 1024

    def _end(self):
        self._process.wait(PATIENCE_S)
        for reader in self._readers:
            reader.join(PATIENCE_S)
        for stream in (self._process.stdout, self._process.stderr):
            stream.close()

    def _read(self, stream, lines):
        for line in stream:
            with self.changed:
                lines.append(line.rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self._open -= 1
            self.changed.notify_all()


class Reader(Process):
    """`tflsplit results`: each frame's answer as (boot, sequence), in the order in which they came."""

    def __init__(self, *words, command=COMMAND):
        super().__init__("results", *words, command=command)
        self._parsed = []

    @property
    def results(self):
        return [result for result in self._all() if result.device != PROBE]

    @property
    def keys(self):
        return [(result.boot, result.sequence) for result in self.results]

    def has_read(self, device, sequence):
        return any((result.device, result.sequence) == (device, sequence) for result in self._all())

    def _all(self):
        lines = self.out[len(self._parsed) :]
        self._parsed += [messages_results.parse(line.encode()) for line in lines]
        return self._parsed

    def wait_for_results(self, count):
        self.wait_for(lambda: len(self.results) >= count)

    def last_words(self):
        """And which frames it never saw, of those before the last of each run."""
        last = {}
        for boot, sequence in self.keys:
            last[boot] = max(sequence, last.get(boot, 0))
        missing = {(boot, each) for boot, most in last.items() for each in range(most)} - set(self.keys)
        return f"{super().last_words()}\n  {len(self.keys)} results; without {len(missing)}: {sorted(missing)[:20]}"

    def end(self):
        """What it counted."""
        self.terminate()
        self.wait_to_say("results read")
        self.kill()
        (line,) = (line for line in self.err if "results read" in line)
        return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line)}

    def wait_for_keys(self, wanted):
        """Until all of these came."""
        self.wait_for(lambda: wanted <= set(self.keys))


PROBE = "probe"


class Deployment:
    """Edges, clouds and a reader at one broker; all of them end with `stack`. Clouds and readers run `inside`. With
    `clients`, the folder of a secured broker's clients, each is the client of its name."""

    def __init__(self, stack, folder, package, url, *, name="d", inside=(), clients=None):
        self.url = url
        self._clients = clients
        self.name = name
        self.spool = folder / "spool"
        self._stack = stack
        self._processes = []
        self.figures = {}
        self._probes = 0
        self._folder = folder
        self._package = package
        self._inside = inside
        (spec,) = package.manifest.inputs
        self.inputs = np.random.default_rng(0).integers(-128, 128, (DIFFERENT, *spec.shape[1:]), dtype=np.int8)
        with Interpreter(package.model_bytes()) as whole:
            self._expected = [whole.run(row[None])[0].ravel().tolist() for row in self.inputs]
        self._output = package.manifest.outputs[0]

    def edge(self, *options, device="cam1", url=None, inputs=DIFFERENT, before=()):
        """Its source gives so many inputs in one pass. The command begins with `before`."""
        source = self._folder / f"{inputs}-inputs.npy"
        np.save(source, np.resize(self.inputs, (inputs, *self.inputs.shape[1:])))
        words = ("edge", self._package.path, "--device", device, "--source", source, "--json")
        words += (*self._where(device, url), "--drain", PATIENCE_S, *options)

        def note(summary):
            self.figures[device] = {name: summary[name] for name in FIGURES}

        return self.begin(Process(*words, command=(*before, *COMMAND), on_done=note))

    def cloud(self, *options, before=()):
        return self._serving(*self._where("cloud"), *options, before=before)

    def cloud_at_queue(self, node, *options):
        """One that takes its frames from a RabbitMQ."""
        queue = ("--queue", node.amqp_url, "--password-file", node.password_file)
        return self._serving(*queue, "--deployment", self.name, *options)

    def slow_cloud(self, seconds):
        """One whose every tail takes that much longer."""
        script = Path(__file__).with_name("slow_cloud.py")
        words = (self._package.path, self.url, self.name, seconds)
        made = self.begin(Process(*words, command=(*self._inside, sys.executable, script)))
        made.wait_until_online()
        return made

    def reader(self):
        """It has subscribed: what is answered from now on, it gets."""
        made = self.begin(Reader(*self._where("consumer"), "--name", "archive", command=(*self._inside, *COMMAND)))
        self.catch_up(made)
        return made

    def catch_up(self, reader):
        """Until the reader is there and has read what was published before, which a result shows that no edge asked
        for."""
        self._probes += 1
        times = messages_results.Times(*(0.0,) * 7)
        answer = messages_results.Result(PROBE, 0, self._probes, "op000", "00", times).as_json()
        where, shown = self._as("cloud")
        with transport.MqttTransport(where, credentials=shown, client_id="chaos-probe") as probe:
            probe.connect()
            while not reader.has_read(PROBE, self._probes):
                probe.publish(topics.topic(self.name, PROBE, topics.Kind.RESULTS), answer)
                with reader.changed:
                    reader.changed.wait_for(lambda: reader.has_read(PROBE, self._probes), 0.1)

    def spooled(self):
        """The frames that an edge left on disk, looked at in a copy."""
        with tempfile.TemporaryDirectory() as held:
            copy = Path(held) / "spool"
            shutil.copytree(self.spool, copy)
            with spool.open_spool(copy, spool.Limits(), deployment=self.name, device="cam1") as opened:
                keys, packed = [], opened.after(None)
                while packed is not None:
                    keys.append(packed.key)
                    packed = opened.after(packed.key)
        return set(keys)

    def check(self, reader, accepted=frozenset(), *, is_whole=True, without=frozenset()):
        """Each result once and right, of every frame that is known as accepted, and of every run without a gap but for
        those `without`. Unless it `is_whole`: inputs may have been left out, and nobody knows which. Ends the reader.
        """
        by_run = defaultdict(list)
        counted = reader.end()
        for result in reader.results:
            by_run[result.boot].append(result.sequence)
            self.check_values(result, result.sequence if is_whole else None)
        for boot, sequences in by_run.items():
            whole = {each for each in range(max(sequences) + 1) if (boot, each) not in without}
            assert not is_whole or set(sequences) == whole
        assert accepted <= set(reader.keys)
        assert len(reader.keys) == len(set(reader.keys))
        self.figures["reader"] = counted | {"results": len(reader.keys)}

    def check_values(self, result, number):
        """That it is what the whole model makes of the input of that number; None for any input's."""
        ((_, values),) = result.values
        stored = [round(value / self._output.scale) + self._output.zero_point for value in values]
        assert stored in (self._expected if number is None else [self._expected[number % DIFFERENT]]), result

    def _serving(self, *options, before=()):
        command = (*self._inside, *before, *COMMAND)
        made = self.begin(Process("cloud", self._package.path, "--json", *options, command=command))
        made.wait_until_online()
        return made

    def _where(self, name, url=None):
        broker = ("--broker", url or self.url) if self._clients is None else ("--credentials", self._clients / name)
        return *broker, "--deployment", self.name

    def _as(self, name):
        if self._clients is None:
            return address.parse(self.url), credentials.Credentials()
        bundle = credentials.open_bundle(self._clients / name)
        return bundle.address, bundle.credentials

    def begin(self, process):
        """Has it end with the others, and say its last words when another fails."""
        self._stack.callback(_kill, process)
        self._processes.append(process)
        process.beside = self._processes
        return process


def _kill(process):
    with contextlib.suppress(ValueError):  # its streams were closed when it ended
        process.kill()
