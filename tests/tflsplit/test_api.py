"""The calls of `import tflsplit`: paths and words in, one object out, and our own errors for everything else."""

import contextlib
import importlib.metadata
import json
import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest

import tflsplit
from broker.cloud import engine, subscriber
from broker.local import server
from broker.transport.memory import MemoryBroker
from converters import convert
from edge_runtime import head, loop
from edge_runtime.delivery import settings
from tflsplit import arguments, errors
from tflsplit.api import planning, wording
from tflsplit.package import reading, writing
from tflsplit.package import verify as proof
from tflsplit.timings import profiles as timings
from tflsplit.timings.profiles import FEWEST_RUNS, CutTiming, Profile, Side, Timing

WAIT_S = 60.0
INPUTS = np.random.default_rng(0).integers(-128, 128, (20, 4), dtype=np.int8)


def loaded_by(code):
    """The modules that Python loads for some code, in a process of its own."""
    script = f"import sys; before = set(sys.modules)\n{code}\nprint(*sorted(set(sys.modules) - before))"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


def test_the_root_alone_loads_nothing_and_knows_its_version_and_calls():
    assert loaded_by("import tflsplit") == {"tflsplit"}
    assert loaded_by("import tflsplit; dir(tflsplit)") == {"tflsplit"}
    assert tflsplit.__version__ == importlib.metadata.version("tflsplit")
    assert set(tflsplit.__all__) <= set(dir(tflsplit))
    assert all(getattr(tflsplit, name) is getattr(tflsplit, name) for name in tflsplit.__all__)
    with pytest.raises(AttributeError, match="no attribute 'covnert'"):
        tflsplit.covnert  # noqa: B018


@pytest.mark.parametrize(
    ("call", "absent"),
    [
        ("open", {"tensorflow", "keras", "paho", "sqlite3", "converters", "edge_runtime", "broker"}),
        ("verify", {"tensorflow", "keras", "paho", "sqlite3", "converters", "edge_runtime", "broker"}),
        ("plan", {"tensorflow", "keras", "paho", "sqlite3", "converters", "edge_runtime", "broker"}),
        ("profile", {"tensorflow", "keras", "paho", "sqlite3", "converters"}),
        ("convert", {"tensorflow", "keras", "paho", "sqlite3", "edge_runtime", "broker"}),
        ("Edge", {"tensorflow", "keras", "paho", "sqlite3", "converters", "broker.cloud"}),
        ("Cloud", {"tensorflow", "keras", "paho", "sqlite3", "converters", "edge_runtime"}),
    ],
)
def test_a_call_loads_only_what_it_uses(call, absent):
    assert not loaded_by(f"import tflsplit; tflsplit.{call}") & absent


def test_python_can_run_the_package():
    done = subprocess.run([sys.executable, "-m", "tflsplit", "--version"], capture_output=True, text=True, check=True)

    assert importlib.metadata.version("tflsplit") in done.stdout


@pytest.fixture
def model(tmp_path, residual_model):
    (tmp_path / "model.tflite").write_bytes(residual_model)
    return tmp_path / "model.tflite"


@pytest.fixture
def profiles(tiny_package):
    """Of both sides, invented: every cut takes a millisecond."""

    def of(side):
        timing = Timing((1e-3,) * FEWEST_RUNS)
        cuts = tuple(CutTiming(cut.id, timing, timing, 10.0, 0.0, 0) for cut in tiny_package.cuts)
        return Profile(tiny_package.digest, "tiny", side, "cpu", {}, cuts, timing)

    return {"edge": of(Side.EDGE), "cloud": of(Side.CLOUD)}


@pytest.fixture
def pair(tiny_package):
    """An edge and a cloud on one broker in this process."""
    network = MemoryBroker()
    with (
        tflsplit.Cloud(tiny_package, network, deployment="d") as cloud,
        tflsplit.Edge(tiny_package, network, deployment="d", device="n") as edge,
    ):
        yield edge, cloud


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_paths_are_texts_or_paths(kind, model, tmp_path):
    (tmp_path / "names.txt").write_text("a\nb\n")
    made = tflsplit.convert(kind(model), kind(tmp_path / "m.tflsplit"), pairs="all")

    opened = tflsplit.open(kind(made.path))
    halves = tflsplit.slice(kind(made.path), opened.cuts[1], kind(tmp_path / "halves"))

    assert opened.digest == made.digest
    assert halves.head.read_bytes() == made.head_bytes(made.cuts[1])
    assert halves.tail.read_bytes() == made.tail_bytes(made.cuts[1])
    assert tflsplit.verify(kind(made.path)).holds


def test_convert_takes_the_words_of_the_command_line(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = tflsplit.convert("model.tflite", preprocessing="symmetric", split_at="op000", calibration=INPUTS)

    assert made.path == pathlib.Path("model.tflsplit")
    assert made.manifest.preprocessing.name == "symmetric"
    assert [cut.id for cut in made.cuts if f"cuts/{cut.id}/head.tflite" in made.manifest.files] == ["op000"]
    with pytest.raises(errors.PackageError, match="exists already"):
        tflsplit.convert("model.tflite")
    assert tflsplit.convert("model.tflite", force=True).digest != ""


def test_labels_are_a_file_or_the_labels_and_never_letters(model, tmp_path):
    with pytest.raises(errors.DataError, match="abc: cannot be read as labels"):
        tflsplit.convert(model, tmp_path / "m.tflsplit", labels="abc")

    classes = tflsplit.convert(model, tmp_path / "m.tflsplit").manifest.outputs[0].shape[1]
    names = [f"class {number}" for number in range(classes)]
    (tmp_path / "names.txt").write_text("\n".join(names))
    for labels in (names, tmp_path / "names.txt", str(tmp_path / "names.txt")):
        assert tflsplit.convert(model, tmp_path / "m.tflsplit", labels=labels, force=True).manifest.labels == tuple(
            names
        )


def test_cuts_are_chosen_by_word_name_or_themselves(tiny_package):
    first = tiny_package.cuts[1]

    assert tiny_package.select("all") == tiny_package.cuts
    assert all(cut.is_useful for cut in tiny_package.select("useful"))
    assert tiny_package.select(f"{first.id}, {first.id},input") == (first, tiny_package.cuts[0])
    assert tiny_package.select([first, first.id]) == (first,)
    assert tiny_package.select(first) == (first,)


@pytest.mark.parametrize("samples", [3, "3", INPUTS[:3], [INPUTS[:3]]])
def test_samples_are_a_number_or_arrays(samples, tiny_package):
    assert tflsplit.verify(tiny_package, cuts="useful", samples=samples).samples == 3


def test_samples_may_be_a_file(tiny_package, tmp_path):
    np.save(tmp_path / "inputs.npy", INPUTS[:5])

    assert tflsplit.verify(tiny_package, samples=tmp_path / "inputs.npy").samples == 5


def test_a_profile_is_returned_and_written_if_wanted(tiny_package, tmp_path):
    made = tflsplit.profile(tiny_package, side="edge", budget=0.01, out=tmp_path / "edge.json", samples=INPUTS)

    assert made.side is Side.EDGE
    assert json.loads((tmp_path / "edge.json").read_text())["side"] == "edge"
    assert [file.name for file in tmp_path.glob("edge.json*")] == ["edge.json"]
    with pytest.raises(errors.SettingsError, match="exists already"):
        tflsplit.profile(tiny_package, side="edge", out=tmp_path / "edge.json")


def test_a_plan_takes_profiles_and_a_link_by_word_or_figures(tiny_package, profiles):
    by_word = tflsplit.plan(tiny_package.path, **profiles, link="4G")
    stated = tflsplit.plan(
        tiny_package, **profiles, bandwidth="10Mbit", rtt="53ms", objective="weighted", weights=(1, 2, 1)
    )
    out_of_reach = tflsplit.plan(tiny_package, **profiles, link="4g", max_latency="1ms", input_codecs=["int8"])

    assert by_word.cut in tiny_package.cuts
    assert stated.scenario.link.bandwidth_bps == by_word.scenario.link.bandwidth_bps
    assert stated.decision.goal.weights.network == 2
    assert out_of_reach.cut is None
    assert "nothing meets" in repr(out_of_reach)


def test_edge_and_cloud_in_one_process(pair):
    edge, cloud = pair
    results = []

    first = edge.run([INPUTS], on_result=results.append)
    second = edge.run(tflsplit.open_source(INPUTS, edge.package), count=30)

    assert (first.frames, first.results, second.results) == (20, 20, 30)
    assert [result.sequence for result in results] == list(range(20))
    assert cloud.summary.results == 50


def test_edge_and_cloud_over_mqtt(tiny_package):
    if not server.available():
        pytest.skip("neither Mosquitto nor amqtt is installed")
    with (
        server.run(port=0) as serving,
        tflsplit.Cloud(tiny_package, serving.url, deployment="d"),
        tflsplit.Edge(tiny_package, serving.url, deployment="d", device="n", cut="output") as edge,
    ):
        assert edge.run(INPUTS).results == len(INPUTS)


def test_an_edge_runs_a_plan_as_it_was_returned_or_written(tiny_package, profiles, tmp_path):
    outcome = tflsplit.plan(tiny_package, **profiles, link="4g", fps=10, window=3)
    planning.write_plan(outcome, tmp_path / "plan.json")
    network = MemoryBroker()

    with tflsplit.Cloud(tiny_package, network, deployment="d"):
        for plan in (outcome, tmp_path / "plan.json", str(tmp_path / "plan.json")):
            with tflsplit.Edge(tiny_package, network, deployment="d", device="n", plan=plan) as edge:
                assert edge.cut == outcome.cut
                assert (edge._settings.window, edge._settings.rate_fps) == (3, 10)
                assert edge.run(INPUTS[:2]).results == 2
    planning.write_report(outcome, tmp_path / "plan.html")
    assert "<svg" in (tmp_path / "plan.html").read_text()


def test_an_edge_sends_the_batches_of_a_plan(tiny_package, profiles, tmp_path):
    sides = {side: tflsplit.profile(tiny_package, side, budget=0.01, batch=4) for side in ("edge", "cloud")}
    outcome = tflsplit.plan(tiny_package, **sides, link="4g", fps=100, batch=4)
    planning.write_plan(outcome, tmp_path / "plan.json")
    named = {"deployment": "d", "device": "n", "plan": tmp_path / "plan.json"}
    network = MemoryBroker()

    with tflsplit.Cloud(tiny_package, network, deployment="d"), tflsplit.Edge(tiny_package, network, **named) as edge:
        summary = edge.run(INPUTS[:8])
    assert (summary.frames, summary.inputs) == (2, 8)
    with tflsplit.Edge(tiny_package, network, **named, batch=2) as edge:
        assert edge._settings.batch == 2
    with (
        tflsplit.Cloud(tiny_package, network, deployment="d"),
        tflsplit.Edge(tiny_package, network, **named, adapt=True) as edge,
    ):
        summary = edge.run(INPUTS[:8])
    assert (summary.frames, summary.inputs, summary.results) == (2, 8, 2)
    with pytest.raises(errors.SettingsError, match="by a plan of 4 inputs a frame, with a batch of 2"):
        tflsplit.Edge(tiny_package, network, **named, adapt=True, batch=2)
    assert outcome.as_json()["batch"] == 4
    with pytest.raises(errors.SettingsError, match="a batch of 4 without fps"):
        tflsplit.plan(tiny_package, **sides, link="4g", batch=4)
    with pytest.raises(errors.DataError, match="with 1 input a frame, this needs 4"):
        tflsplit.plan(tiny_package, **profiles, link="4g", fps=100, batch=4)
    with pytest.raises(errors.DataError, match="with 4 inputs a frame, this needs 1"):
        tflsplit.plan(tiny_package, **sides, link="4g")


def test_an_edge_keeps_unanswered_frames_in_its_spool(tiny_package, tmp_path):
    network = MemoryBroker()
    with tflsplit.Edge(tiny_package, network, deployment="d", device="n", spool=tmp_path / "spool", drain=0) as edge:
        with pytest.raises(errors.PeerError, match="stay in the spool"):
            edge.run(INPUTS[:3])
        with tflsplit.Cloud(tiny_package, network, deployment="d"):
            later = edge.run(INPUTS[:1])

    assert (later.replayed, later.spooled) == (3, 0)


def test_an_edge_is_stopped_from_another_thread(pair):
    edge, _ = pair
    seen = threading.Event()
    running = threading.Thread(
        target=edge.run, args=(INPUTS,), kwargs={"count": 10**9, "on_result": lambda _: seen.set()}
    )
    running.start()
    assert seen.wait(WAIT_S)

    edge.stop()

    running.join(WAIT_S)
    assert not running.is_alive()


def test_what_ends_a_cloud_is_raised_where_somebody_waits(tiny_package, monkeypatch):
    cloud = tflsplit.Cloud(tiny_package, MemoryBroker(), deployment="d")

    def fail():
        raise errors.DeviceError("no more")

    monkeypatch.setattr(cloud._cloud._engine, "check", fail)
    with pytest.raises(errors.DeviceError, match="no more"):
        cloud.wait(WAIT_S)
    cloud.close()
    cloud.close()
    assert "ended" in repr(cloud)


def test_everything_prints_as_one_short_line(pair, tiny_package, profiles):
    edge, cloud = pair
    results = []
    summary = edge.run(INPUTS, on_result=results.append)
    outcome = tflsplit.plan(tiny_package, **profiles, link="4g")
    shown = [tiny_package, tiny_package.cuts[1], tflsplit.verify(tiny_package), edge, cloud, cloud.summary, summary]
    shown += [results[0], profiles["edge"], profiles["edge"].cuts[0].run, outcome, outcome.decision.judged[0].cost]

    for value in shown:
        assert len(repr(value)) < 250, value
        assert "\n" not in repr(value)
    assert len(str(outcome.decision)) < 1000


class Case:
    """A call with one argument that is wrong."""

    def __init__(self, call, **wrong):
        self.call, self.wrong = call, wrong

    def __repr__(self):
        return f"{self.call} {', '.join(f'{name}={value!r}' for name, value in self.wrong.items())}"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda model: tflsplit.convert(model, "p.tflsplit"), "or force=True to replace it"),
        (lambda model: tflsplit.slice("p.tflsplit", "op000", "p.tflsplit"), None),
        (lambda model: tflsplit.convert(model, "q", requantise=True, io="uint8"), "requantise=True"),
        (lambda model: tflsplit.convert(model, "q", compiler="x"), "give target= coral"),
    ],
)
def test_a_refusal_names_the_arguments_of_the_call_and_no_options(model, tmp_path, monkeypatch, call, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.tflsplit").mkdir()
    (tmp_path / "p.tflsplit" / "head.tflite").touch()
    with pytest.raises(errors.UserError) as refused:
        call(model)

    assert "--" not in str(refused.value)
    assert said is None or said in str(refused.value)


def test_what_stands_in_a_command_to_type_stays():
    @wording.in_python
    def call(*, force=False, cut=None):
        raise errors.SettingsError("give --cut, --force or `tflsplit x --cut y`, not --other")

    with pytest.raises(errors.SettingsError) as refused:
        call()
    assert str(refused.value) == "give cut=, force=True or `tflsplit x --cut y`, not --other"


NO_PATHS = (3, None, "", b"x", "a\0b", ["x"], "x" * 256)
WRONG = [
    *(Case("open", pkg=value) for value in (*NO_PATHS, "nowhere")),
    *(Case("convert", model=value) for value in (*NO_PATHS, "nowhere")),
    *(Case("convert", out=value) for value in (3, "", b"x")),
    *(Case("convert", calibration=value) for value in (3, "nowhere", [1], b"x", np.zeros((2, 2)), np.array("x"))),
    *(Case("convert", preprocessing=value) for value in (3, "nope", ("raw",))),
    *(Case("convert", labels=value) for value in (3, "nowhere", [1, 2], b"ab", ["a"])),
    *(Case("convert", split_at=value) for value in (3, "nowhere", [3])),
    *(
        Case("convert", replace=value)
        for value in (3, "a", "a=1", "a=1,b", "=1,2", {"a": 1}, {"a": (1, "x")}, "a=nan,0")
    ),
    Case("convert", signature=3),
    *(Case("convert", input_shape=value) for value in (3, "a,b", [3.5], [["a"]], {"x": 3}, {3: (1,)})),
    *(Case("convert", **{word: value}) for word in ("pairs", "tail", "io", "target") for value in (3, "nope", ["x"])),
    *(Case("convert", **{word: 1}) for word in ("allow_unsafe", "force", "require_calibration", "quick", "compiler")),
    *(Case("verify", cuts=value) for value in (3, "nowhere", [3], None)),
    *(
        Case("verify", samples=value)
        for value in (0, -1, True, 1.5, None, "nowhere", [], np.zeros(()), np.zeros((2, 9)))
    ),
    *(Case("slice", cut=value) for value in (3, None, "nowhere", ["op000"])),
    *(Case("slice", out=value) for value in NO_PATHS),
    *(Case("profile", side=value) for value in (3, None, "top")),
    *(Case("profile", samples=value) for value in (3, "nowhere", [])),
    *(Case("profile", accelerator=value) for value in (3, None, "tpu")),
    *(Case("profile", **{word: "1"}) for word in ("threads", "budget", "precision", "jpeg_quality")),
    *(Case("profile", **{word: 0}) for word in ("threads", "budget", "precision", "jpeg_quality")),
    *(Case("profile", out=value) for value in (3, "", "no/folder/there.json")),
    Case("profile", force=1, out="edge.json"),
    *(Case("plan", **{side: value}) for side in ("edge", "cloud") for value in (3, None, "nowhere")),
    *(Case("plan", link=value) for value in (3, None, "5g-or-so", [])),
    *(Case("plan", link=None, bandwidth=value, rtt="1ms") for value in (0, "x", "5parsec", None)),
    *(Case("plan", link=None, bandwidth="1Mbit", rtt=value) for value in (-3, "x", "5parsec")),
    *(Case("plan", link=None, bandwidth="1Mbit", rtt="1ms", loss=value) for value in (3, "x", "2")),
    *(Case("plan", objective=value) for value in (3, "fame")),
    *(Case("plan", weights=value) for value in (3, "a,b", (1, 2), (0, 0, 0))),
    *(Case("plan", max_latency=value) for value in (-3, True, "soon")),
    *(Case("plan", min_depth=value) for value in (3, "nowhere")),
    *(Case("plan", **{word: "1"}) for word in ("fps", "max_bytes_per_day", "max_edge_memory", "max_price_per_day")),
    *(Case("plan", **{word: "1"}) for word in ("devices", "workers", "window", "reload_every", "price_per_gb")),
    *(Case("plan", **{word: 1}) for word in ("idle_watts", "active_watts", "max_energy", "max_price_per_day")),
    *(Case("plan", input_codecs=value) for value in (3, "gif", [3])),
    *(Case("plan", pictures=value) for value in (3, "nowhere")),
    Case("plan", jpeg_bytes="1"),
    *(Case("open_source", source=value) for value in (*NO_PATHS, "nowhere", "camera:x", [], np.zeros((2, 9)))),
    *(Case(call, pkg=value) for call in ("Edge", "Cloud", "open_source") for value in (3, None, "nowhere")),
    *(Case(call, broker=value) for call in ("Edge", "Cloud") for value in (3, None, "localhost", "mqtt://u:p@h")),
    *(Case(call, deployment=value) for call in ("Edge", "Cloud") for value in (3, None, "a/b", "")),
    *(Case(call, credentials=value) for call in ("Edge", "Cloud") for value in (3, "nowhere")),
    *(Case(call, threads=value) for call in ("Edge", "Cloud") for value in ("1", 0, None)),
    *(Case("Cloud", name=value) for value in (3, "a/b")),
    *(Case("Cloud", pkg=value) for value in ([], ["nowhere"], [3])),
    *(Case("Cloud", workers=value) for value in ("1", 0)),
    *(Case("Edge", device=value) for value in (3, None, "a/b")),
    *(Case("Edge", cut=value) for value in (3, "nowhere")),
    *(Case("Edge", accelerator=value) for value in (3, "tpu")),
    *(Case("Edge", fallback=value) for value in (3, "tpu")),
    *(Case("Edge", input_codec=value) for value in (3, "gif", "raw")),
    *(Case("Edge", **{word: value}) for word in ("delivery", "until") for value in (3, None, "never")),
    *(Case("Edge", **{word: value}) for word in ("qos", "window") for value in ("1", 9999)),
    *(Case("Edge", **{word: value}) for word in ("resend_after", "max_age", "drain") for value in ("x", None, -1)),
    *(Case("Edge", plan=value) for value in (3, "nowhere", b"x")),
    Case("Edge", plan="plan.json", cut="input"),
    *(Case("Edge", spool=value) for value in (3, "")),
    *(Case("run", source=value) for value in (3, None, "nowhere", [])),
    *(Case("run", **{word: value}) for word in ("count", "rate") for value in ("1", 0)),
    Case("run", on_result=3),
]


@pytest.fixture
def good(model, tiny_package, profiles, tmp_path, monkeypatch):
    """Arguments for each call that are right."""
    monkeypatch.chdir(tmp_path)
    network = MemoryBroker()
    return {
        "open": {"pkg": tiny_package},
        "convert": {"model": model, "out": "m.tflsplit"},
        "verify": {"pkg": tiny_package},
        "slice": {"pkg": tiny_package, "cut": "op000", "out": "halves"},
        "profile": {"pkg": tiny_package, "side": "edge", "budget": 0.01},
        "plan": {"pkg": tiny_package, "link": "4g", **profiles},
        "open_source": {"source": INPUTS, "pkg": tiny_package},
        "Edge": {"pkg": tiny_package, "broker": network, "deployment": "d", "device": "n"},
        "Cloud": {"pkg": tiny_package, "broker": network, "deployment": "d"},
        "run": {"source": INPUTS},
    }


@pytest.mark.parametrize("case", WRONG, ids=repr)
def test_what_is_wrong_is_refused_in_our_words(case, good, tmp_path):
    given = good[case.call] | case.wrong
    if "credentials" in case.wrong:
        given["broker"] = None
    if case.call == "run":
        with tflsplit.Edge(**good["Edge"]) as edge, pytest.raises(errors.TflsplitError) as refused:
            edge.run(**given)
    else:
        with pytest.raises(errors.TflsplitError) as refused:
            getattr(tflsplit, case.call)(**given)

    assert "\n" not in str(refused.value)
    assert not (tmp_path / "m.tflsplit").exists()


@pytest.mark.parametrize(
    "call",
    [
        lambda package: convert.convert("m.tflite", "m.tflsplit", {}),
        lambda package: convert.Options(labels="abc"),
        lambda package: convert.Options(split_at="op000"),
        lambda package: convert.read_labels(3),
        lambda package: reading.open_package(3),
        lambda package: writing.write_pair(3, package, "op000"),
        lambda package: proof.verify("tiny", ["op000"], []),
        lambda package: timings.read(3),
        lambda package: head.Head("tiny", "op000"),
        lambda package: head.Head(package, 3),
        lambda package: settings.Settings("d", "n", window="8"),
        lambda package: settings.Settings("d", "n", delivery="latest"),
        lambda package: loop.Edge(
            package, head.Head(package, "op000"), "mqtt://localhost", settings.Settings("d", "n")
        ),
        lambda package: loop.Edge(package, "op000", None, settings.Settings("d", "n")),
        lambda package: loop.Edge(package, head.Head(package, "op000"), None, {}),
        lambda package: engine.Inline.of("tiny"),
        lambda package: subscriber.Cloud(package, None, "d"),
        lambda package: subscriber.Cloud(engine.Inline.of(package), "mqtt://localhost", "d"),
    ],
)
def test_what_stands_below_the_calls_refuses_wrong_types_too(call, tiny_package):
    with pytest.raises(errors.SettingsError, match=r"found .* of type .*, expected"):
        call(tiny_package)


def test_a_broker_that_is_absent_is_named(tiny_package):
    with pytest.raises(errors.BrokerError, match=r"127\.0\.0\.1:1"):
        tflsplit.Cloud(tiny_package, "mqtt://127.0.0.1:1", deployment="d")
    edge = tflsplit.Edge(tiny_package, "mqtt://127.0.0.1:1", deployment="d", device="n")
    with edge, pytest.raises(errors.BrokerError, match=r"127\.0\.0\.1:1"):
        edge.run(INPUTS)


def test_numbers_of_numpy_are_numbers_and_truth_is_none():
    assert arguments.instance(np.int64(3), int, "count") == 3
    assert arguments.instance(np.float32(3), float, "rate") == 3
    for kind in (int, float):
        with pytest.raises(errors.SettingsError, match="count: found True of type bool"):
            arguments.instance(True, kind, "count")


def test_a_long_value_is_not_repeated_whole():
    with pytest.raises(errors.SettingsError) as refused:
        arguments.path(["x"] * 1000, "out")

    assert len(str(refused.value)) < 150


def test_closing_twice_and_in_any_order_is_no_error(tiny_package):
    network = MemoryBroker()
    cloud = tflsplit.Cloud(tiny_package, network, deployment="d")
    edge = tflsplit.Edge(tiny_package, network, deployment="d", device="n")
    with contextlib.closing(edge), contextlib.closing(cloud):
        cloud.close()
    edge.close()


def test_a_tilde_is_the_home_folder_where_no_shell_has_read_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert arguments.path("~/model.h5", "model") == tmp_path / "model.h5"
    (tmp_path / "~").mkdir()
    (tmp_path / "~" / "model.h5").touch()
    assert arguments.path("~/model.h5", "model") == pathlib.Path("~/model.h5")
