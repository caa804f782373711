"""What a part of a tensor costs between two processes: over a local Mosquitto, over a direct link, and in a box.

    python -m benchmarks.direct_links [--turns N]

One process sends a part and waits until the other has sent it back, all three ways in turn, a block each, again and
again, so that what else the machine does meets them alike. Prints medians of a one-way trip (half of a round trip) and
of the sender's CPU time a round trip, and their ratios to MQTT; the broker's own CPU time is not in it.
"""

import argparse
import multiprocessing
import os
import socket
import statistics
import tempfile
import time

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


def _measure(way, where, here, size, turns):
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=60)
    turns = parser.parse_args().turns
    with server.run(port=0, kind="mosquitto") as broker, tempfile.TemporaryDirectory(prefix="box") as folder:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        at = {
            "mqtt": (broker.address, broker.address),
            "zenoh": (f"zenoh://?listen=127.0.0.1:{port}", f"zenoh://127.0.0.1:{port}"),
            "box": (f"box://{folder}", f"box://{folder}"),
        }
        for size in SIZES:
            found = {way: [] for way in WAYS}
            for _ in range(_BLOCKS):
                for way in WAYS:
                    found[way].append(_measure(way, *at[way], size, turns))
            medians = {way: tuple(statistics.median(each) for each in zip(*found[way], strict=True)) for way in WAYS}
            for way, (trip_s, cpu_s) in medians.items():
                ratios = [trip_s / medians["mqtt"][0], cpu_s / medians["mqtt"][1]]
                print(
                    f"{size:>9,} bytes  {way:6} {trip_s * 1e3:7.2f} ms ({ratios[0]:.2f} of MQTT), "
                    f"CPU of the sender {cpu_s * 1e3:6.2f} ms ({ratios[1]:.2f})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
