"""What the fast connection is worth beside the plain one, which speaks by paho's documented interface alone.

An edge publishes frames of 10,000 bytes through Mosquitto, a cloud answers each with 600 bytes: both do nothing else,
so their processor time is the transports'. In turn over both kinds of connection, at QoS 0 and 1: at paces of
1 to 500 frames a second the time of both processes for each frame, and as many frames a second as go through without.
"""

import json
import statistics
import sys
import threading
import time
from pathlib import Path

import harness
from harness import Table

from broker.mqtt import connection, paho_check, transport
from broker.transport import address

_FRAME, _ANSWER = bytes(10_000), bytes(600)
_KINDS = ("plain", "fast")
_WARM_UP_S = 1.0
_PACES = {  # rate, seconds
    "1 frame/s": (1.0, 20.0),
    "10 frames/s": (10.0, 10.0),
    "30 frames/s": (30.0, 5.0),
    "500 frames/s": (500.0, 4.0),
    "full speed": (0.0, 3.0),
}
_WINDOW = 64  # frames without an answer, as `tflsplit edge --window` bounds them: else Mosquitto would drop some
_PATIENCE_S = 60.0


def run(folder: Path, *, is_quick: bool) -> list[Table]:
    del folder
    rounds = 1 if is_quick else 3
    rows = []
    with harness.mosquitto("set_tcp_nodelay true") as broker:
        for qos in (0, 1):
            for name, (rate, measured_s) in _PACES.items():
                told = {"port": broker.port, "qos": qos, "rate": rate, "measured_s": measured_s}
                found = {kind: [] for kind in _KINDS}
                for _ in range(rounds):
                    harness.wait_for_calm()
                    for kind in _KINDS:
                        found[kind].append(_measure(told | {"kind": kind}))
                rows.append((str(qos), name, *_cells(found)))
    columns = (
        "QoS",
        "pace",
        "µs a frame at the edge: plain",
        "fast",
        "at the cloud: plain",
        "fast",
        "frames/s: plain",
        "fast",
    )
    return [Table("Processor time and frames by kind of connection, medians", columns, tuple(rows), "")]


def _cells(found: dict[str, list[dict[str, float]]]) -> list[str]:
    return [
        f"{statistics.median(run[what] for run in found[kind]):,.0f}"
        for what in ("edge_us", "cloud_us", "rate")
        for kind in _KINDS
    ]


def _measure(told: dict[str, object]) -> dict[str, float]:
    def command(role: str) -> list[str]:
        return [sys.executable, __file__, json.dumps(told | {"role": role})]

    with harness.process(command("cloud")) as cloud:
        assert cloud.stdout is not None
        cloud.stdout.readline()  # it is ready
        with harness.process(command("edge")) as edge:
            assert edge.stdout is not None
            return json.loads(edge.stdout.readline()) | json.loads(cloud.stdout.readline())


def _joined(told: dict) -> transport.MqttTransport:
    if told["kind"] == "plain":
        paho_check.connection_type = lambda version: connection.Connection
    client = transport.MqttTransport(address.Address("127.0.0.1", told["port"]), client_id=told["role"])
    client.connect()
    return client


def _edge(told: dict) -> None:
    client = _joined(told)
    client.subscribe("answers", qos=told["qos"])
    room = threading.Semaphore(_WINDOW)
    threading.Thread(target=_take_answers, args=(client, room), name="answers", daemon=True).start()
    _publish(client, room, told, _WARM_UP_S)
    client.publish("frames", b"begin")
    began_cpu_s = time.process_time()
    frames = _publish(client, room, told, told["measured_s"])
    cpu_s = time.process_time() - began_cpu_s
    client.publish("frames", b"end")
    client.flush(_PATIENCE_S)
    print(json.dumps({"edge_us": cpu_s / frames * 1e6}), flush=True)
    threading.Event().wait(_PATIENCE_S)  # whoever started this ends it


def _publish(client: transport.MqttTransport, room: threading.Semaphore, told: dict, for_s: float) -> int:
    begin_s = due_s = time.monotonic()
    frames = 0
    while time.monotonic() < begin_s + for_s:
        room.acquire(timeout=_PATIENCE_S)
        client.publish("frames", _FRAME, qos=told["qos"])
        frames += 1
        if told["rate"]:
            due_s += 1 / told["rate"]
            time.sleep(max(0.0, due_s - time.monotonic()))
    return frames


def _take_answers(client: transport.MqttTransport, room: threading.Semaphore) -> None:
    while (answer := client.receive(_PATIENCE_S)) is not None:
        room.release()
        client.acknowledge(answer)


def _cloud(told: dict) -> None:
    client = _joined(told)
    client.subscribe("frames", qos=1)
    print("ready", flush=True)
    frames, began_s, began_cpu_s = 0, 0.0, 0.0
    while (frame := client.receive(_PATIENCE_S)) is not None:
        if frame.payload == b"begin":
            frames, began_s, began_cpu_s = 0, time.monotonic(), time.process_time()
        elif frame.payload == b"end":
            cpu_s, elapsed_s = time.process_time() - began_cpu_s, time.monotonic() - began_s
            print(json.dumps({"cloud_us": cpu_s / frames * 1e6, "rate": frames / elapsed_s}), flush=True)
        else:
            frames += 1
            client.publish("answers", _ANSWER, qos=told["qos"])
        client.acknowledge(frame, after_published=True)


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    {"edge": _edge, "cloud": _cloud}[settings["role"]](settings)
