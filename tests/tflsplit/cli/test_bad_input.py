"""Bad input: one clear line on stderr, exit code 1, and nothing left behind."""

import hashlib
import json
import os
import resource
import signal
import socket

import numpy as np
import pytest
import stock_mosquitto
import tiny_models

from broker.local import server
from tflsplit.package import reading

# Root may open everything: a command that runs as root gives that up.
WITHOUT_POWER = (
    ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all") if os.geteuid() == 0 else ()
)

MODELS = {
    "not-a-model": ("notes.h5", (), ("notes.h5", "not a model")),
    "empty": ("empty.h5", (), ("empty.h5", "is empty", "copy it again")),
    "absent": ("absent.h5", (), ("absent.h5", "No such file")),
    "truncated": ("truncated.h5", (), ("truncated.h5", "truncated", "copy it again")),
    "operator-int8-lacks": ("sine.keras", (), ("SIN", "layer sin")),
    "dynamic-shape": ("any_size.keras", (), ("any_size.keras", "--input-shape 224,224,3")),
    "wrong-input-shape": ("any_size.keras", ("--input-shape", "32,32"), ("(None, None, None, 3)", "32,32")),
    "input-shape-of-letters": ("any_size.keras", ("--input-shape", "a,b"), ("input shape", "'a,b'", "224,224,3")),
    "code-inside": ("lambda.keras", (), ("'twice'", "Lambda", "--allow-unsafe")),
    "no-calibration": ("plain.keras", ("--require-calibration",), ("--require-calibration", "--calibration")),
    "no-such-cut": ("plain.keras", ("--split-at", "frist"), ("'frist'", "first")),
    "unknown-preprocessing": ("plain.keras", ("--preprocess", "foo"), ("'foo'", "SCALE,OFFSET")),
    "absent-labels": ("plain.keras", ("--labels", "absent.txt"), ("absent.txt", "labels")),
    "absent-calibration": ("plain.keras", ("--calibration", "absent.npy"), ("absent.npy", "no such file")),
}


@pytest.mark.parametrize("case", MODELS.values(), ids=MODELS)
def test_a_model_that_cannot_be_converted(typed, bad, tmp_path, case):
    model, options, words = case
    said = typed("convert", bad / model, "-o", "made.tflsplit", *options).refusal()

    assert all(word in said for word in words), said
    assert list(tmp_path.iterdir()) == []


def test_a_fused_layer_is_refused_with_the_reason_and_the_nearest_two_cuts(typed, digits, tmp_path):
    fused = json.loads(typed("inspect", digits, "--json").out)["fused_layers"]
    layer, operator = next(iter(fused.items()))
    said = typed("slice", digits, "--cut", layer, "-o", "made").refusal()

    assert f"layer {layer!r} ends inside operator {operator} (fused with what follows it)" in said
    assert said.count("op0") == 2
    assert list(tmp_path.iterdir()) == []


CALIBRATIONS = {
    "wrong-shape": (np.zeros((20, 9)), "found shape (20, 9), expected (samples, 8) for input"),
    "empty": (np.zeros((0, 8)), "holds no samples"),
    "nan": (np.full((20, 8), np.nan), "holds NaN"),
    "infinite": (np.full((20, 8), np.inf), "infinite values"),
    "text": (np.full((20, 8), "one"), "expected numbers"),
    "damaged": (b"\x93NUMPY nothing more", "cannot be read as .npy"),
}


@pytest.mark.parametrize(("content", "words"), CALIBRATIONS.values(), ids=CALIBRATIONS)
def test_calibration_data_that_do_not_fit(typed, bad, tmp_path, content, words):
    data = tmp_path / "data.npy"
    if isinstance(content, bytes):
        data.write_bytes(content)
    else:
        np.save(data, content)
    said = typed("convert", bad / "plain.keras", "--calibration", data, "-o", "made.tflsplit").refusal()

    assert f"{data}: " in said
    assert words in said
    assert list(tmp_path.iterdir()) == [data]


@pytest.mark.parametrize(
    ("name", "words"), [("readme.txt", "no pictures in it"), ("cat.jpg", "cannot be read as a picture")]
)
def test_a_folder_without_pictures_is_no_calibration(typed, demo_model, tmp_path, name, words):
    data = tmp_path / "data"
    data.mkdir()
    (data / name).write_text("no picture")

    assert words in typed("convert", demo_model, "--calibration", data, "-o", "made.tflsplit").refusal()
    assert list(tmp_path.iterdir()) == [data]


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_what_stands_at_the_destination_stays(typed, bad, tmp_path, options):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("42")
    said = typed("convert", bad / "plain.keras", "-o", "thesis", *options).refusal()

    assert "thesis exists" in said
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "42"


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


COMMANDS_ON_A_PACKAGE = {
    "inspect": (),
    "verify": (),
    "slice": ("--cut", "op000", "-o", "made"),
    "edge": ("--broker", "mqtt://127.0.0.1:1", "--deployment", "d", "--device", "n", "--source", "absent.npy"),
    "cloud": ("--broker", "mqtt://127.0.0.1:1", "--deployment", "d"),
}


@pytest.mark.parametrize("command", COMMANDS_ON_A_PACKAGE)
@pytest.mark.parametrize("name", ["model.tflite", "cuts/op001/tail.tflite", "manifest.json"])
def test_a_package_with_one_changed_byte(typed, tiny_package, tmp_path, command, name):
    flip_a_byte(tiny_package.path / name)
    said = typed(command, tiny_package.path, *COMMANDS_ON_A_PACKAGE[command]).refusal()

    assert str(tiny_package.path) in said
    assert name in said
    assert list(tmp_path.iterdir()) == [tiny_package.path]


@pytest.mark.parametrize(("command", "options"), COMMANDS_ON_A_PACKAGE.items(), ids=COMMANDS_ON_A_PACKAGE)
def test_a_package_of_a_newer_schema(typed, tiny_package, command, options):
    manifest = tiny_package.path / "manifest.json"
    fields = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(fields | {"schema": fields["schema"] + 1, "unheard_of": True}))

    assert "upgrade tflsplit" in typed(command, tiny_package.path, *options).refusal()


@pytest.mark.parametrize(("command", "options"), COMMANDS_ON_A_PACKAGE.items(), ids=COMMANDS_ON_A_PACKAGE)
def test_a_folder_that_is_no_package(typed, tmp_path, command, options):
    (tmp_path / "folder.tflsplit").mkdir()

    assert "folder.tflsplit: not a package" in typed(command, "folder.tflsplit", *options).refusal()


@pytest.mark.parametrize(
    ("command", "options"),
    [("slice", ("-o", "made", "--cut")), ("verify", ("--cuts",)), ("edge", (*COMMANDS_ON_A_PACKAGE["edge"], "--cut"))],
)
def test_an_unknown_cut_is_refused_with_the_nearest_two(typed, tiny_package, tmp_path, command, options):
    said = typed(command, tiny_package.path, *options, "op007").refusal()

    assert said == "tflsplit: no cut or layer 'op007' in this model; did you mean op000 or op001?"
    assert list(tmp_path.iterdir()) == [tiny_package.path]


EDGE = ("--deployment", "d", "--device", "n")

BROKERS = {
    "nobody-listens": ("mqtt://127.0.0.1:1", "broker 127.0.0.1:1: Connection refused"),
    "no-such-host": ("mqtt://broker.invalid", "broker broker.invalid:1883: "),
    "not-mqtt": ("http://127.0.0.1", "expected mqtt://"),
    "no-such-port": ("mqtt://127.0.0.1:70000", "Port out of range"),
    "a-password": ("mqtt://me:secret@127.0.0.1", "a password in the address"),
}


@pytest.mark.parametrize(("url", "words"), BROKERS.values(), ids=BROKERS)
def test_a_broker_that_is_not_there(typed, tiny_package, source, url, words):
    edge = typed("edge", tiny_package.path, "--broker", url, *EDGE, "--source", source)
    cloud = typed("cloud", tiny_package.path, "--broker", url, "--deployment", "d")

    assert words in edge.refusal()
    assert words in cloud.refusal()
    assert "secret" not in edge.err + cloud.err


@pytest.fixture
def guarded_broker(tmp_path):
    """A Mosquitto that lets nobody in without a password."""
    if server.mosquitto_path() is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")
    broker = stock_mosquitto.Mosquitto(tmp_path, ["allow_anonymous false"])
    yield broker.url
    broker.end()


def test_a_broker_that_wants_a_password(typed, guarded_broker, tiny_package, source):
    edge = typed("edge", tiny_package.path, "--broker", guarded_broker, *EDGE, "--source", source)
    cloud = typed("cloud", tiny_package.path, "--broker", guarded_broker, "--deployment", "d")

    assert "Not authorized" in edge.refusal()
    assert "Not authorized" in cloud.refusal()


def test_a_port_in_use(typed):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = typed("broker", "run", "--port", port).refusal()

    assert said == f"tflsplit: broker cannot listen on 127.0.0.1:{port}: Address already in use"


SOURCES = {
    "absent": ("absent.npy", "absent.npy: no such file"),
    "of-another-kind": ("notes.txt", "notes.txt: unknown kind '.txt'; expected a folder of pictures"),
    "of-pictures": ("cat.jpg", "takes no picture; give .npy, .npz or .csv data"),
}


@pytest.mark.parametrize(("name", "words"), SOURCES.values(), ids=SOURCES)
def test_a_source_that_gives_no_inputs(typed, builder, tmp_path, name, words):
    x = builder.tensor("x", (1, 4))
    model = builder.build((x,), (builder.add(x, x, "y", (1, 4)),))
    package = tiny_models.write_package(tmp_path / "tiny.tflsplit", model, preprocessing=None)
    for present in ("notes.txt", "cat.jpg"):
        (tmp_path / present).write_bytes(b"")
    options = ("--broker", "mqtt://127.0.0.1:1", *EDGE, "--source", name)

    assert words in typed("edge", package.path, *options).refusal()


@pytest.mark.parametrize("command", ["convert", "slice"])
def test_a_full_disk_while_writing(run, tiny_package, tmp_path, mounted, command):
    model = tmp_path / "model.tflite"
    model.write_bytes(tiny_package.model_bytes())
    pages = {"convert": 4, "slice": 1}[command]  # of the 6 and the 2 that are needed
    full = mounted(f"size={pages * resource.getpagesize()}")
    said = run(*to_write(command, model, tiny_package, full / "made")).refusal()

    assert f"{full / 'made'}: cannot be written (No space left on device)" in said
    assert list(full.iterdir()) == []


@pytest.mark.parametrize("command", ["convert", "slice"])
def test_a_file_that_may_not_grow_any_further(run, tiny_package, tmp_path, command):
    model = tmp_path / "model.tflite"
    model.write_bytes(tiny_package.model_bytes())
    before = sorted(tmp_path.iterdir())
    limit_bytes = {"convert": 1024, "slice": 64}[command]  # the manifest is the longest file
    said = run(
        *to_write(command, model, tiny_package, tmp_path / "made"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes)),
    ).refusal()

    assert "cannot be written (File too large); nothing was left" in said
    assert sorted(tmp_path.iterdir()) == before


def to_write(command, model, package, destination):
    if command == "convert":
        return ("convert", model, "--pairs", "all", "-o", destination)
    return ("slice", package.path, "--cut", "op001", "-o", destination)


def test_a_killed_conversion_leaves_no_half_package(start, demo_model, tmp_path):
    process = start("convert", demo_model, "-o", tmp_path / "made.tflsplit", "--debug")
    process.stderr.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()

    made = tmp_path / "made.tflsplit"
    assert not made.exists() or reading.open_package(made)


USAGES = {
    "no-command": ("nonsense",),
    "no-arguments": ("edge",),
    "no-such-option": ("verify", "x.tflsplit", "--nonsense"),
    "target": ("convert", "x.h5", "--target", "abacus"),
    "qos": ("edge", "x", "--broker", "mqtt://h", *EDGE, "--source", "x.npy", "--qos", "2"),
    "edge-count": ("edge", "x", "--broker", "mqtt://h", *EDGE, "--source", "x.npy", "--count", "0"),
    "window": ("edge", "x", "--broker", "mqtt://h", *EDGE, "--source", "x.npy", "--window", "0"),
    "cloud-count": ("cloud", "x", "--broker", "mqtt://h", "--deployment", "d", "--count", "-1"),
    "port": ("broker", "run", "--port", "70000"),
}


@pytest.mark.parametrize("words", USAGES.values(), ids=USAGES)
def test_wrong_usage_is_code_2_and_says_how_to_get_help(typed, words):
    done = typed(*words)

    assert done.code == 2
    assert done.out == ""
    assert "--help" in done.err
    assert "Traceback" not in done.err


def test_no_samples_prove_nothing(typed, tiny_package):
    assert "samples: 0 inputs" in typed("verify", tiny_package.path, "--samples", "0").refusal()


def test_debug_shows_the_traceback_and_its_cause(run, tiny_package):
    done = run("cloud", tiny_package.path, "--broker", "mqtt://127.0.0.1:1", "--deployment", "d", "--debug")

    assert done.code == 1
    assert "Traceback" in done.err
    assert "ConnectionRefusedError" in done.err
    assert "tflsplit.errors.BrokerError: broker 127.0.0.1:1: Connection refused" in done.err


def test_nothing_of_a_package_is_changed_by_reading_it(typed, tiny_package):
    def digests():
        files = sorted(path for path in tiny_package.path.rglob("*") if path.is_file())
        return [(path, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]

    before = digests()
    for command in ("inspect", "verify"):
        assert typed(command, tiny_package.path).code == 0
    assert digests() == before


HIDDEN = {
    "package": ("inspect", "hidden/model.tflsplit"),
    "profile": ("plan", "tiny", "--edge", "hidden/edge.json", "--cloud", "hidden/cloud.json", "--link", "4g"),
    "destination": ("slice", "tiny", "--cut", "op000", "-o", "hidden/made"),
    "configuration": ("config", "check", "hidden/edge.toml"),
}


@pytest.mark.parametrize("words", HIDDEN.values(), ids=HIDDEN)
def test_what_another_user_keeps_to_himself_is_named(start, tiny_package, tmp_path, words):
    """Up to Python 3.13 a question whether such a file exists is an error of its own."""
    (tmp_path / "hidden").mkdir(mode=0o000)
    words = [tiny_package.path if word == "tiny" else word for word in words]
    done = start(*words, cwd=tmp_path, before=WITHOUT_POWER).done()
    (last,) = (line for line in done.err.splitlines() if line.startswith("tflsplit: "))

    assert done.code == 1
    assert "Traceback" not in done.err
    assert "hidden/" in last
    assert "Permission denied" in last


AT = ("--deployment", "d", "--device", "cam1", "--broker", "mqtt://127.0.0.1:1")
PIPES = {
    "model": ("convert", "pipe"),
    "profile": ("plan", "tiny", "--edge", "pipe", "--cloud", "pipe", "--link", "4g"),
    "plan": ("edge", "tiny", "--plan", "pipe", "--source", "pipe", *AT),
    "key": ("push", "tiny", "--sign", "pipe", *AT),
    "configuration": ("config", "check", "pipe"),
}


@pytest.mark.parametrize("words", PIPES.values(), ids=PIPES)
def test_a_pipe_that_nobody_writes_to_is_not_waited_for(typed, tiny_package, tmp_path, words):
    os.mkfifo(tmp_path / "pipe")

    done = typed(*(tiny_package.path if word == "tiny" else word for word in words))

    assert done.code == 1
    assert "pipe: " in done.err


def test_a_name_that_is_too_long_for_a_file_is_refused(typed):
    assert "File name too long" in typed("inspect", "a" * 300).refusal()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("inspec", "m"), "Did you mean inspect?"),
        (("verfy",), "Did you mean verify?"),
        (("doctor", "edge"), "Did you mean --role edge?"),
        (("plan", "m", "latency"), "Did you mean --objective latency?"),
        (("edge", "--brokr", "x"), "Did you mean"),
        (("convert", "m", "--target", "corl"), "'cpu', 'coral'"),
    ],
)
def test_wrong_usage_names_what_was_meant_or_what_there_is(typed, words, hint):
    done = typed(*words)

    assert done.code == 2
    assert hint in done.err
