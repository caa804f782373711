"""What a part of a tensor costs between two processes: over a local Mosquitto, over a direct link, and in a box.

One process sends a part and waits until the other has sent it back, all three ways in turn, a block each, again and
again, so that what else the machine does meets them alike. A one-way trip is half of a round trip; the broker's own CPU
time is not in the sender's.
"""

import importlib.util
import multiprocessing
import os
import socket
import statistics
import tempfile
import time

import harness

from broker.local import server
from broker.mqtt.transport import MqttTransport
from broker.zenoh.transport import ZenohTransport

SIZES = (1_000, 50_000, 1_000_000)
WAYS = ("mqtt", "zenoh", "box")
_BLOCKS = 5
_PATIENCE_S = 30.0


def _open(way, where, name):
    if way == "mqtt":
        made = MqttTransport(where, client_id=name)
    else:
        made = ZenohTransport(where, deployment="bench", name=name)
    made.connect(timeout_s=_PATIENCE_S)
    return made


def _echo(way, where, pipe):
    with _open(way, where, "echo") as link:
        link.subscribe("there")
        pipe.send("ready")
        while not pipe.poll(0.0):
            message = link.receive(0.1)
            if message is not None:
                link.acknowledge(message)
                link.publish("back", message.payload)
        pipe.recv()
        pipe.send(time.process_time())


def _block(link, size, turns):
    """Seconds of each round trip."""
    part, took = os.urandom(size), []
    for _ in range(turns):
        began_s = time.perf_counter()
        link.publish("there", part)
        message = link.receive(_PATIENCE_S)
        took.append(time.perf_counter() - began_s)
        link.acknowledge(message)
    return took


def measure(way, where, here, size, turns):
    """Median one-way seconds, and the sender's CPU seconds a round trip."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_echo, args=(way, where, theirs))
    process.start()
    ours.recv()
    with _open(way, here, "asks") as link:
        link.subscribe("back")
        _block(link, size, 10)
        began_s = time.process_time()
        took = _block(link, size, turns)
        cpu_s = time.process_time() - began_s
    ours.send("end")
    ours.recv()
    process.join()
    return statistics.median(took) / 2, cpu_s / turns


def run(folder, *, is_quick):
    if importlib.util.find_spec("zenoh") is None:
        raise harness.SkippedError("eclipse-zenoh is not installed: pip install eclipse-zenoh")
    turns, blocks = (5, 1) if is_quick else (20, _BLOCKS)
    with server.run(port=0, kind="mosquitto") as broker, tempfile.TemporaryDirectory(prefix="box") as box:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        at = {
            "mqtt": (broker.address, broker.address),
            "zenoh": (f"zenoh://?listen=127.0.0.1:{port}", f"zenoh://127.0.0.1:{port}"),
            "box": (f"box://{box}", f"box://{box}"),
        }
        return [outcome for size in SIZES for outcome in _outcomes(size, at, turns, blocks)]


def _outcomes(size, at, turns, blocks):
    found = {way: [] for way in WAYS}
    for _ in range(blocks):
        for way in WAYS:
            found[way].append(measure(way, *at[way], size, turns))
    for way in WAYS[1:]:
        for place, what in enumerate(("one way", "CPU of the sender, a round trip")):
            ours, mqtt = (
                harness.Samples(each, "s", tuple(block[place] for block in found[each])) for each in (way, WAYS[0])
            )
            yield harness.Outcome(f"{size:,} bytes, {what}: {way} / MQTT", ours, mqtt)
