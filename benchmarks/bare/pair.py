"""The least that splits a model between two processes: a head that sends frames, or a tail that answers them.

Settings as JSON are the only argument: `role` "edge" or "cloud"; `by` "paho", its public interface with TCP_NODELAY, or
"raw", sockets with what of MQTT 5 it takes; `invoked`, a file for `invoked.py`. The work on a frame is that of
tflsplit: zstd, a header with a checksum, a result as JSON, acknowledged once it is published. Nothing is checked, kept,
or sent again. An edge prints a line when `warm` frames are answered and another after `count` more. All stay until
killed.
"""

import itertools
import json
import select
import signal
import socket
import struct
import sys
import threading
import time
import zlib

import invoked
import numpy as np
import zstandard
from ai_edge_litert.interpreter import Interpreter
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

FRAMES, RESULTS = "bare/edge/features", "bare/edge/results"
# Package, cut, boot, sequence, capture in ns, µs in the head, bytes plain and coded, checksum.
_HEADER = struct.Struct("<16sHQQQIIII")
_U16 = struct.Struct("!H")
_PACKAGE = bytes(16)
_TOP = 3


class Half:
    """A head or a tail in the interpreter."""

    def __init__(self, model: str) -> None:
        self._interpreter = Interpreter(model_path=model, num_threads=1)
        self._interpreter.allocate_tensors()
        self._source = self._interpreter.get_input_details()[0]
        self.result = self._interpreter.get_output_details()[0]
        self.shape = tuple(self._source["shape"])

    def run(self, array: np.ndarray) -> np.ndarray:
        self._interpreter.set_tensor(self._source["index"], array)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self.result["index"])


class Edge:
    def __init__(self, told: dict) -> None:
        self._told = told
        self._head = Half(told["model"])
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._rows = itertools.cycle([row[None] for row in np.load(told["inputs"])])
        self._boot, self._sequence, self._answered = time.time_ns(), 0, 0
        self.latencies: dict[int, float] = {}

    @property
    def is_done(self) -> bool:
        return self._sequence >= self._told["warm"] + self._told["count"]

    def frame(self) -> bytes:
        captured_ns, began_s = time.time_ns(), time.monotonic()
        raw = self._head.run(next(self._rows)).tobytes()
        head_us, coded = int((time.monotonic() - began_s) * 1e6), self._compressor.compress(raw)
        said = (_PACKAGE, 1, self._boot, self._sequence, captured_ns, head_us, len(raw), len(coded))
        self._sequence += 1
        return _HEADER.pack(*said, zlib.crc32(coded)) + coded

    def take(self, payload: bytes) -> None:
        result = json.loads(payload)
        if int(result["boot"], 16) == self._boot:
            self.latencies[result["sequence"]] = time.time() - result["times"]["captured_ms"] / 1e3
            self._answered += 1
            if self._answered in (self._told["warm"], self._told["warm"] + self._told["count"]):
                print(self._answered, flush=True)


class Cloud:
    def __init__(self, told: dict) -> None:
        self._tail = Half(told["model"])
        self._decompressor = zstandard.ZstdDecompressor()
        (self._scale, self._zero), labels = self._tail.result["quantization"], np.prod(self._tail.result["shape"])
        self._labels = [f"class {number}" for number in range(labels)]

    def answer(self, frame: bytes) -> bytes:
        received_ms, began_s = time.time() * 1e3, time.monotonic()
        package, cut, boot, sequence, captured_ns, head_us, _, _, checksum = _HEADER.unpack_from(frame)
        coded = memoryview(frame)[_HEADER.size :]
        if zlib.crc32(coded) != checksum:
            raise ValueError("damaged")
        raw = np.frombuffer(self._decompressor.decompress(coded), np.int8).reshape(self._tail.shape)
        decoded_s = time.monotonic()
        row = self._tail.run(raw).reshape(-1)
        done_s = time.monotonic()
        best = np.argsort(-row.astype(np.float32), kind="stable")[:_TOP]
        top = [{"label": self._labels[one], "score": float((row[one] - self._zero) * self._scale)} for one in best]
        times = {
            "captured_ms": captured_ns / 1e6,
            "head_ms": head_us / 1e3,
            "received_ms": received_ms,
            "queue_ms": 0.0,
            "decode_ms": (decoded_s - began_s) * 1e3,
            "tail_ms": (done_s - decoded_s) * 1e3,
            "sent_ms": time.time() * 1e3,
        }
        about = {"device": "edge", "boot": f"{boot:016x}", "sequence": sequence, "cut": cut, "package": package.hex()}
        return json.dumps(about | top[0] | {"top": top, "values": None, "times": times, "outputs": None}).encode()


def edge_by_paho(told: dict) -> None:
    edge, room = Edge(told), threading.Semaphore(told["window"])

    def take(_: object, __: object, message: paho.MQTTMessage) -> None:
        edge.take(message.payload)
        client.ack(message.mid, message.qos)
        room.release()

    client = _paho_client(told, RESULTS, take)
    client.loop_start()
    due_s = time.monotonic()
    while not edge.is_done:
        room.acquire()
        if told["rate"]:
            due_s += 1 / told["rate"]
            time.sleep(max(0.0, due_s - time.monotonic()))
        client.publish(FRAMES, edge.frame(), told["qos"])
    signal.pause()


def cloud_by_paho(told: dict) -> None:
    cloud = Cloud(told)

    def take(_: object, __: object, message: paho.MQTTMessage) -> None:
        client.publish(RESULTS, cloud.answer(message.payload), told["qos"])
        client.ack(message.mid, message.qos)

    client = _paho_client(told, FRAMES, take)
    print("ready", flush=True)
    client.loop_forever()


def _paho_client(told: dict, topic: str, take) -> paho.Client:
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5, manual_ack=True)
    client.on_message = take
    subscribed = threading.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect("127.0.0.1", told["port"])
    client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.subscribe(topic, told["qos"])
    while not subscribed.is_set():
        client.loop(0.1)
    return client


class Raw:
    """A connection that subscribes to one topic and publishes to another."""

    def __init__(self, told: dict, subscribed: str, published: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", told["port"]))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._qos, self._mid, self._received = told["qos"], 0, bytearray()
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._name = _text(published)
        self._socket.sendall(_packet(0x10, _text("MQTT") + b"\x05\x02\0\0\0" + _text(f"bare-{told['role']}")))
        self._socket.sendall(_packet(0x82, b"\0\1\0" + _text(subscribed) + bytes((self._qos,))))
        for _ in ("CONNACK", "SUBACK"):
            while self._taken() is None:
                self._received += self._socket.recv(1 << 17)

    def publish(self, payload: bytes, done: list[bytes]) -> None:
        """And acknowledges messages of these ids, in one write."""
        mid = b""
        if self._qos:
            self._mid = self._mid % 65535 + 1
            mid = _U16.pack(self._mid)
        publication = _packet(0x30 | self._qos << 1, b"".join((self._name, mid, b"\0", payload)))
        self._socket.sendall(b"".join((publication, *(b"\x40\2" + each for each in done))))
        done.clear()

    def acknowledge(self, done: list[bytes]) -> None:
        if done:
            self._socket.sendall(b"".join(b"\x40\2" + each for each in done))
            done.clear()

    def received(self, timeout_s: float | None) -> list[tuple[bytes, bytes]]:
        """Payloads that came, each with its id, b"" at QoS 0; waits for something, and not at all with 0."""
        if not self._poll.poll(None if timeout_s is None else timeout_s * 1e3):
            return []
        self._received += self._socket.recv(1 << 17)
        return list(iter(self._message, None))

    def _message(self) -> tuple[bytes, bytes] | None:
        while (packet := self._taken()) is not None:
            first, body = packet
            if first & 0xF0 == 0x30:
                (length,) = _U16.unpack_from(body)
                begin = 2 + length + (2 if first & 2 else 0)
                return body[begin + 1 :], body[2 + length : begin]
        return None

    def _taken(self) -> tuple[int, bytes] | None:
        received, length, at = self._received, 0, 1
        while at < len(received):
            length |= (received[at] & 0x7F) << 7 * (at - 1)
            at += 1
            if not received[at - 1] & 0x80:
                if len(received) < at + length:
                    return None
                body, first = bytes(memoryview(received)[at : at + length]), received[0]
                del received[: at + length]
                return first, body
        return None


def _packet(first: int, body: bytes) -> bytes:
    length, rest = b"", len(body)
    while rest > 0x7F:
        length, rest = length + bytes((rest & 0x7F | 0x80,)), rest >> 7
    return b"".join((bytes((first,)), length, bytes((rest,)), body))


def _text(text: str) -> bytes:
    return _U16.pack(len(text)) + text.encode()


def edge_by_raw(told: dict) -> None:
    """In one thread: answers are taken between two frames."""
    edge, out, done = Edge(told), 0, list[bytes]()
    link, due_s = Raw(told, RESULTS, FRAMES), time.monotonic()
    while not edge.is_done or out:
        is_full = out >= told["window"] or edge.is_done
        while not is_full and told["rate"] and (left_s := due_s - time.monotonic()) > 0:
            out -= _take(edge, link, done, left_s)
        out -= _take(edge, link, done, None if is_full else 0.0)
        if out < told["window"] and not edge.is_done:
            due_s += 1 / told["rate"] if told["rate"] else 0.0
            link.publish(edge.frame(), done)
            out += 1
    link.acknowledge(done)
    signal.pause()


def _take(edge: Edge, link: Raw, done: list[bytes], timeout_s: float | None) -> int:
    answers = link.received(timeout_s)
    for payload, mid in answers:
        edge.take(payload)
        done += [mid] if mid else []
    return len(answers)


def cloud_by_raw(told: dict) -> None:
    cloud, link = Cloud(told), Raw(told, FRAMES, RESULTS)
    print("ready", flush=True)
    while True:
        for frame, mid in link.received(None):
            link.publish(cloud.answer(frame), [mid] if mid else [])


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    invoked.note(settings["invoked"])
    globals()[f"{settings['role']}_by_{settings['by']}"](settings)
