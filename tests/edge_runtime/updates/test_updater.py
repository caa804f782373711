"""A device gets another model while it works, and keeps it or rolls it back."""

import itertools
import json
import threading

import pytest
import tiny_models
import updatable
from memory_cloud import birth_of, cloud_for
from updatable import edge_bundle, heard, resealed, send_control, wide_package
from waiting import wait_for

from broker.messages import topics, updates
from broker.messages.presence import Presence, Status
from broker.messages.updates import State
from broker.several.transport import Several
from broker.transport import address, memory
from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.updates import probation
from tflsplit import errors
from tflsplit.package import reading, signing


def packages_of(device):
    return [settled.package for settled in device.settles.all]


def test_frames_flow_while_the_model_changes_and_none_is_lost_or_refused(served):
    device = served.start()
    device.settles.wait_for(lambda all_: len(all_) >= 10)
    outcome = served.push(served.new)
    device.settles.wait_for(lambda all_: all_[-1].package == served.new.digest[:32])
    summary = device.stop()

    assert (outcome.state, outcome.reason) == (State.INSTALLED, None)
    assert (summary.unanswered, summary.refused, dict(summary.dropped)) == (0, 0, {})
    by_sequence = sorted(device.settles.all, key=lambda settled: settled.sequence)
    assert [settled.sequence for settled in by_sequence] == list(range(summary.frames))
    runs = [(name, len(list(run))) for name, run in itertools.groupby(settled.package for settled in by_sequence)]
    assert [name for name, _ in runs] == [served.old.digest[:32], served.new.digest[:32]]
    for settled in by_sequence:
        assert settled.answer.package[:32] == settled.package


@pytest.mark.parametrize("has_moved", [True, False])
def test_a_push_reaches_a_device_at_one_of_several_brokers(served, has_moved):
    """At the one that it is assigned to, and at another where it says that it is."""
    networks = {name: memory.MemoryBroker() for name in ("a:1", "b:1", "c:1")}
    own = address.assigned(tuple(networks), "n")
    networks[list(networks)[own if has_moved else own - 1]] = served.network
    device = served.start()
    said = memory.MemoryTransport(served.network, client_id="s", presence=Presence("tflsplit/v1/d/n/status", 1))
    with said:
        said.connect()
        device.settles.wait_for(lambda all_: len(all_) >= 3)
        members = {name: memory.MemoryTransport(each, client_id="operator") for name, each in networks.items()}
        outcome = served.push(served.new, transport=Several(members, "operator"))

    assert (outcome.state, outcome.reason) == (State.INSTALLED, None)


def test_the_birth_tells_and_a_restart_keeps_the_model(served):
    first = served.start()
    assert (birth_of(served.network)["update"]["state"], birth_of(served.network)["update"]["serial"]) == ("idle", 0)
    served.push(served.new)
    wait_for(lambda: birth_of(served.network)["update"]["state"] == "installed")
    told = birth_of(served.network)
    first.stop()
    again = served.start(boot=8)
    again.settles.wait_for(lambda all_: len(all_) >= 3)

    assert (told["package"], told["cut"], told["update"]["digest"]) == (served.new.digest, "op000", served.new.digest)
    assert told["update"]["serial"] > 1_600_000_000_000
    assert set(packages_of(again)) == {served.new.digest[:32]}


def test_what_is_installed_is_the_edge_side_alone(served):
    served.start()
    served.push(served.new, cut="op001")
    held = reading.open_package(served.models / "current" / "package")

    assert set(held.manifest.files) == {"cuts/op001/head.tflite", "golden.npz"}
    assert sorted(place.name for place in served.models.iterdir() if place.is_dir()) == sorted(
        {(served.models / "current").readlink().name, "current"}
    )


def test_two_models_are_kept_and_going_back_sends_no_piece(served):
    served.start()
    for pushed in (served.new, served.old):
        assert served.push(pushed).is_installed
    back = served.push(served.new)

    assert (back.state, back.sent_bytes) == (State.INSTALLED, 0)
    assert len([place for place in served.models.iterdir() if place.is_dir() and not place.is_symlink()]) == 2


def test_only_what_is_lacking_travels(served):
    """Old and served.new share their head; the second push brings the manifest of another bundle."""
    served.start()
    first = served.push(served.new)
    second = served.push(served.new, cut="op001")
    third = served.push(served.new, cut="op001")

    assert (second.state, third.sent_bytes) == (State.INSTALLED, 0)
    assert second.sent_bytes > 0
    assert first.sent_bytes > 0


def test_an_update_to_the_running_model_says_so(served):
    served.start()
    served.push(served.new)

    assert served.push(served.new).reason == "it was installed already"


@pytest.fixture
def other_signer(tmp_path):
    signing.make(tmp_path / "other.pem")
    return signing.open_private(tmp_path / "other.pem")


class Unsigned:
    def sign(self, text):
        return bytes(64)


def test_another_key_and_no_signature_are_refused(served, other_signer):
    device = served.start()
    for wrong in (other_signer, Unsigned()):
        outcome = served.push(served.new, signer=wrong)
        assert outcome.state is State.REFUSED
        assert "not signed with the key" in outcome.reason
        assert outcome.sent_bytes == 0
    device.settles.wait_for(lambda all_: len(all_) >= 5)

    assert set(packages_of(device)) == {served.old.digest[:32]}
    assert sorted(place.name for place in served.models.iterdir()) == ["lock"]


class Recorder:
    """Signs, and keeps what was signed."""

    def __init__(self, signer):
        self.offers = []
        self._signer = signer

    def sign(self, text):
        signature = self._signer.sign(text)
        self.offers.append(updates.Signed(text, signature))
        return signature


def refusals(network):
    """Why the device refuses offers that nobody waits for."""
    take = heard(network, topics.Kind.TELEMETRY)

    def next_one():
        while True:
            report = updates.parse_report(take().payload)
            if report is not None and report.state is State.REFUSED:
                return report.reason

    return next_one


def test_an_old_offer_is_not_taken_again(served):
    """Its signature is good for ever; its serial is not."""
    device = served.start()
    recorded = Recorder(served.signer)
    for pushed in (served.new, served.old):
        assert served.push(pushed, signer=recorded).is_installed
    refused = refusals(served.network)
    send_control(served.network, recorded.offers[0].as_json())

    assert "no later than that of the last one" in refused()
    device.stop()
    again = served.start(boot=8)
    again.settles.wait_for(lambda all_: len(all_) >= 3)
    refused = refusals(served.network)
    send_control(served.network, recorded.offers[0].as_json())
    assert "no later than that of the last one" in refused()
    assert set(packages_of(again)) == {served.old.digest[:32]}


@pytest.mark.parametrize("changes", [{"device": "m"}, {"deployment": "e"}])
def test_an_offer_to_another_device_is_not_taken(served, changes):
    served.start()
    recorded = Recorder(served.signer)
    served.push(served.new, signer=recorded)
    fields = json.loads(recorded.offers[0].text) | changes | {"serial": 1 << 60}
    text = json.dumps(fields).encode()
    refused = refusals(served.network)
    send_control(served.network, updates.Signed(text, served.signer.sign(text)).as_json())

    assert "it was made for" in refused()


def test_nothing_of_a_message_is_done_but_what_is_known(served):
    device = served.start()
    for payload in (b"", b"\xff", b'{"verb": "reboot"}', b'{"verb": "update"}', b"TFSU" + bytes(100)):
        send_control(served.network, payload)
    wait_for(lambda: device.updater.ignored == 5)

    assert sorted(place.name for place in served.models.iterdir()) == ["lock"]


def tampering(network, tamper):
    """A way from the operator on which pieces are changed: `tamper` gives what arrives in place of each payload."""

    class Tampered(memory.MemoryTransport):
        def publish(self, topic, payload, **options):
            for changed in tamper(bytes(payload)) if payload[:4] == updates.MAGIC else [payload]:
                super().publish(topic, changed, **options)

    return Tampered(network, client_id="operator")


def once(change):
    """Changes the first piece only."""
    left = [1]

    def tamper(payload):
        if left:
            left.clear()
            return change(payload)
        return [payload]

    return tamper


def flipped(payload):
    return [payload[:-1] + bytes([payload[-1] ^ 1])]


@pytest.mark.parametrize(
    "change",
    [lambda payload: [], lambda payload: [payload, payload], lambda payload: [payload[:-7]], flipped],
    ids=["lost", "doubled", "truncated", "flipped"],
)
def test_a_piece_that_came_to_harm_comes_again(served, change):
    served.start()
    outcome = served.push(served.new, transport=tampering(served.network, once(change)))

    assert outcome.is_installed


def test_pieces_keep_to_the_brokers_packet_limit(served):
    served.network.max_packet_bytes = 2500
    largest = []

    def notes(payload):
        largest.append(len(payload))
        return [payload]

    served.start()

    assert served.push(served.new, transport=tampering(served.network, notes)).is_installed
    assert 2000 < max(largest) < 2500


def test_pieces_that_are_always_damaged_end_the_update_and_leave_nothing(served):
    served.start()
    outcome = served.push(served.new, transport=tampering(served.network, flipped))

    assert outcome.state is State.ROLLED_BACK
    assert "its SHA-256 was not what was signed" in outcome.reason
    assert [*(served.models / "incoming").iterdir()] == []


def test_a_push_that_broke_off_goes_on_where_it_was(field, tmp_path):
    """The first push brings 20 pieces, a second one the rest, also after a restart."""
    big, bigger = wide_package(tmp_path / "a.tflsplit", 1), wide_package(tmp_path / "b.tflsplit", 2)
    came = [[], []]

    def breaks(payload):
        if len(came[0]) == 20:
            raise updatable.OperatorLeftError
        came[0].append(len(payload) - updates.PIECE_HEADER_BYTES)
        return [payload]

    def counts(payload):
        came[1].append(len(payload) - updates.PIECE_HEADER_BYTES)
        return [payload]

    device = start_slowly(field, big, boot=7)
    with pytest.raises(updatable.OperatorLeftError):
        field.push(bigger, transport=tampering(field.network, breaks))
    wait_for(lambda: received_bytes(field.models) == sum(came[0]))
    device.stop()
    start_slowly(field, big, boot=8)
    field.push_until(State.PROBATION, bigger, transport=tampering(field.network, counts))

    assert sum(came[0]) + sum(came[1]) == received_bytes(field.models / "current")


def start_slowly(field, original, **options):
    """Frames of this model are large."""
    return field.start(original, rate_fps=5.0, **options)


def received_bytes(folder):
    return sum(
        place.stat().st_size
        for kind in ("parts", "package")
        for place in folder.rglob(f"{kind}/**/*")
        if place.is_file()
    )


def test_a_device_that_was_away_takes_the_offer_when_it_is_back(served):
    device = served.start()
    device.settles.wait_for(lambda all_: len(all_) >= 3)
    served.network.cut("edge-u")
    threading.Timer(1.0, served.network.restore, ["edge-u"]).start()
    outcome = served.push(served.new)

    assert outcome.is_installed


def test_a_device_that_was_never_there_and_one_that_takes_none_are_named(field):
    with pytest.raises(errors.PeerError, match="it has left no birth; nor has any other device"):
        field.push(field.new, wait_s=0.1)
    field.network.publish(topics.topic("d", "n1", topics.Kind.BIRTH), b"{}", 1, retain=True)
    with pytest.raises(errors.PeerError, match="there are n1; did you mean 'n1'"):
        field.push(field.new, wait_s=0.1)
    field.network.publish(topics.topic("d", "n", topics.Kind.BIRTH), b'{"cut": "op000", "layer": null}', 1, retain=True)
    with pytest.raises(errors.PeerError, match="takes no updates: start its edge with --models and --update-key"):
        field.push(field.new)


@pytest.mark.parametrize(("reason", "how"), [("lost", "its connection was lost"), ("closed", "it was ended")])
def test_a_device_that_stays_away_is_called_offline(field, caplog, reason, how):
    birth = b'{"cut": "op000", "layer": null, "update": {"serial": 0}}'
    field.network.publish(topics.topic("d", "n", topics.Kind.BIRTH), birth, 1, retain=True)
    status = Status("offline", 1, 1, reason, 1_790_000_000_000).as_json()
    field.network.publish(topics.topic("d", "n", topics.Kind.STATUS), status, 1, retain=True)
    outcome = field.push(field.new, wait_s=0.5)

    said = f"it is offline: {how}, some time after its last start at 2026-09-21 14:13:20 UTC"
    assert (outcome.state, outcome.reason) == (None, said)
    assert said in caplog.text


def test_a_self_test_that_fails_changes_nothing(served, tmp_path):
    device = served.start()
    whole = edge_bundle(served.new, tmp_path / "e.tflsplit")
    other = wrong_golden(whole, tmp_path)
    outcome = served.push(other)
    device.settles.wait_for(lambda all_: len(all_) >= 5)

    assert outcome.state is State.ROLLED_BACK
    assert "computes something else here than where it was made" in outcome.reason
    assert set(packages_of(device)) == {served.old.digest[:32]}
    assert not (served.models / "current").exists()
    wait_for(lambda: birth_of(served.network)["update"]["state"] == "rolled_back")


def wrong_golden(made, tmp_path):
    """The bundle with the golden samples of another model."""
    builder = tiny_models.Builder()
    x = builder.tensor("x", (1, 4))
    a = builder.add(x, x, "a", (1, 4), scale=0.7)
    c = builder.add(a, a, "c", (1, 4), scale=0.9)
    other = tiny_models.write_package(tmp_path / "o.tflsplit", builder.build((x,), (c,)))
    samples = edge_bundle(other, tmp_path / "oe.tflsplit")
    return resealed(made, {"golden.npz": (samples.path / "golden.npz").read_bytes()})


def test_a_head_that_is_no_model_is_found_in_a_process_of_its_own(field, tmp_path):
    field.start()
    whole = edge_bundle(field.new, tmp_path / "e.tflsplit")
    outcome = field.push(resealed(whole, {"cuts/op000/head.tflite": b"TFL3 or not" * 100}))

    assert outcome.state is State.ROLLED_BACK
    assert "self-test of the head of op000" in outcome.reason


def test_a_bundle_without_golden_samples_is_tried_for_shapes_and_that_is_said(served, tmp_path, caplog):
    caplog.set_level("INFO")
    served.start()
    made = edge_bundle(served.new, tmp_path / "e.tflsplit")
    (made.path / "golden.npz").unlink()
    files = {name: file for name, file in made.manifest.files.items() if name != "golden.npz"}
    outcome = served.push(resealed(made, files=files))

    assert outcome.is_installed
    assert "shapes only: the bundle holds no golden samples" in caplog.text


def test_a_model_that_no_cloud_has_is_rolled_back_with_the_clouds_reason(field):
    with cloud_for(field.old, field.network):
        device = field.start()
        device.settles.wait_for(lambda all_: len(all_) >= 5)
        outcome = field.push(field.new)
        since = len(device.settles.all)
        device.settles.wait_for(lambda all_: any(each.package == field.old.digest[:32] for each in all_[since:]))

    assert outcome.state is State.ROLLED_BACK
    assert "a frame was refused" in outcome.reason
    assert field.new.digest[:32] in outcome.reason
    assert not (field.models / "current").exists()
    wait_for(lambda: birth_of(field.network)["package"] == field.old.digest)


def test_a_model_whose_frames_nobody_answers_is_rolled_back(field):
    device = field.start(terms=probation.Terms(frames=5, patience_s=0.5))
    outcome = field.push(field.new)

    assert outcome.state is State.ROLLED_BACK
    assert "frames had no answer for 0.5 s" in outcome.reason
    assert device.edge.package.digest == field.old.digest


class FailsLater:
    """A CPU on which the heads of one package fail after some frames."""

    name, needs_compiled, is_external = "cpu", False, False

    def __init__(self, frames):
        self._frames = frames

    def open(self, model, *, name):
        opened = Cpu().open(model, name=name)
        if "models" in name:
            run, left = opened.run, [self._frames]

            def fails(*arrays):
                left[0] -= 1
                if left[0] < 0:
                    raise errors.DeviceError("the head is broken")
                return run(*arrays)

            opened.run = fails
        return opened


def test_a_head_that_fails_is_replaced_by_the_old_one_for_the_same_frame(served):
    device = served.start(resolve=lambda package, cut: FailsLater(3))
    outcome = served.push(served.new)
    since = len(device.settles.all)
    device.settles.wait_for(lambda all_: len(all_) >= since + 20)
    summary = device.stop()

    assert outcome.state is State.ROLLED_BACK
    assert "its head failed: the head is broken" in outcome.reason
    assert device.failure is None
    assert (summary.unanswered, summary.refused, dict(summary.dropped)) == (0, 0, {})
    assert sorted(settled.sequence for settled in device.settles.all) == list(range(summary.frames))
    assert packages_of(device).count(served.new.digest[:32]) == 3
    assert not (served.models / "current").exists()


def test_a_crash_on_probation_is_found_at_the_next_start(field):
    first = field.start()
    field.push_until(State.PROBATION, field.new)
    first.crash()
    told = []
    take = heard(field.network, topics.Kind.TELEMETRY)
    again = field.start(boot=8)
    while not told:
        report = updates.parse_report(take().payload)
        told += [report] if report and report.state.is_final else []

    assert told[0].state is State.ROLLED_BACK
    assert "ended without a goodbye" in told[0].reason
    assert again.edge.package.digest == field.old.digest
    assert not (field.models / "current").exists()


def test_a_probation_goes_on_after_a_restart_in_good_order(field):
    first = field.start()
    field.push_until(State.PROBATION, field.new)
    first.stop()
    again = field.start(boot=8)
    with cloud_for(field.old, field.network, field.new):
        wait_for(lambda: birth_of(field.network)["update"]["state"] == "installed")

    assert again.edge.package.digest == field.new.digest


def test_a_model_that_fails_after_a_restart_gives_way_to_the_previous_one(field):
    first = field.start()
    field.push_until(State.PROBATION, field.new)
    first.stop()
    with cloud_for(field.old, field.network):
        again = field.start(boot=8)
        wait_for(lambda: birth_of(field.network)["update"]["state"] == "rolled_back")
        again.settles.wait_for(lambda all_: all_[-1].package == field.old.digest[:32])

    assert again.edge.package.digest == field.old.digest


def test_another_offer_is_refused_during_probation(field):
    field.start()
    recorded = Recorder(field.signer)
    field.push_until(State.PROBATION, field.new, signer=recorded)
    refused = refusals(field.network)
    text = recorded.offers[0].text.replace(b'"serial":', b'"serial":9')
    send_control(field.network, updates.Signed(text, field.signer.sign(text)).as_json())

    assert refused() == updates.ON_PROBATION


def test_a_source_that_does_not_fit_keeps_the_previous_model(served, tmp_path, builder):
    x = builder.tensor("x", (1, 7))
    seven = tiny_models.write_package(
        tmp_path / "seven.tflsplit", builder.build((x,), (builder.add(x, x, "y", (1, 7)),)), labels=()
    )
    device = served.start()
    outcome = served.push(seven, cut="output")
    since = len(device.settles.all)
    device.settles.wait_for(lambda all_: len(all_) >= since + 5)

    assert outcome.state is State.ROLLED_BACK
    assert "found shape (40, 4), expected (samples, 7)" in outcome.reason
    assert device.edge.package.digest == served.old.digest
