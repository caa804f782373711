"""The unit that keeps an edge running, as systemd itself judges it; and the udev rules beside it."""

import pathlib
import re
import shutil
import subprocess

import pytest

from edge_runtime.service import permissions, unit
from edge_runtime.service.unit import Access, Credential, Service
from tflsplit import errors

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed: apt install systemd"
)

# The exposure that the hardened unit may have, 0 (none) to 10; systemd-analyze takes it times ten.
EXPOSURE = 2.0

ACCELERATORS = {
    "cpu": ("cpu", "/srv/x", ()),
    "cores": ("cpu?cores=0-3", "/srv/x", ()),
    "coral": ("coral", "/srv/x", ()),
    "coral-usb": ("coral:usb:0?Performance=Max", "/srv/x", ()),
    "coral-pci": ("coral:pci:0", "/srv/x", ()),
    "camera": ("cpu", "camera:2", ()),
    "picamera": ("cpu", "picamera:0", ()),
    "coral-and-camera": ("auto", "camera:0", ()),
    "served": ("served:/run/tflsplit/coral.sock?weight=2", "camera:0", ()),
    "delegate": ("delegate:/usr/lib/teflon/libteflon.so", "camera:0", (pathlib.Path("/dev/dri/renderD128"),)),
}


@pytest.fixture
def root(tmp_path):
    """A machine with the groups of a Debian, and a render node."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/group").write_text(
        "root:x:0:\nplugdev:x:46:\nvideo:x:44:\nrender:x:105:\ntflsplit-accelerator:x:990:\n"
    )
    (tmp_path / "dev/dri").mkdir(parents=True)
    (tmp_path / "dev/dri/renderD128").touch()
    return tmp_path


def service(given, **changes):
    fields = {
        "name": "tflsplit-edge",
        "config": pathlib.Path("/etc/tflsplit/edge.toml"),
        "command": ("/bin/true", "edge", "--config", "/etc/tflsplit/edge.toml"),
        "access": given,
        "credentials": (),
        "credential_options": {},
        "is_bounded": False,
        "stop_s": 45,
    }
    return Service(**fields | changes)


def settings(text):
    """Every setting of a unit with its values, in order."""
    found = {}
    for line in text.splitlines():
        if re.match(r"\w+=", line):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture(params=ACCELERATORS)
def rendered(request, root):
    """Each kind of unit, with credentials, as a file."""
    accelerator, source, others = ACCELERATORS[request.param]
    credentials = (
        Credential("broker.json", pathlib.Path("/etc/tflsplit/credentials/broker.json")),
        Credential("client.key", pathlib.Path("/etc/tflsplit/credentials/client.key.cred"), is_encrypted=True),
    )
    made = service(
        permissions.needed(accelerator, source, others, root=root),
        credentials=credentials,
        credential_options={"--credentials": ""},
    )
    file = root / "tflsplit-edge.service"
    file.write_text(unit.render(made))
    return file


@needs_analyze
def test_systemd_finds_nothing_wrong_with_the_unit(rendered):
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", rendered], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_starts_after_the_network_and_the_clock_and_hears_of_new_addresses(root):
    found = settings(unit.render(service(permissions.needed("cpu", "x", root=root))))

    assert found["After"] == ["network-online.target time-sync.target"]
    assert "AF_NETLINK" in found["RestrictAddressFamilies"][0]


@needs_analyze
def test_the_unit_is_exposed_little(rendered):
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE * 10:.0f}"]
    done = subprocess.run([*command, rendered], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-300:]
    assert float(re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)[1]) <= EXPOSURE


@needs_analyze
def test_the_judgement_of_a_unit_without_hardening_is_another(root):
    """So that the test above can fail."""
    file = root / "bare.service"
    file.write_text("[Service]\nExecStart=/bin/true\n")
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE * 10:.0f}"]

    assert subprocess.run([*command, file], capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize(
    ("kind", "devices", "groups"),
    [
        ("cpu", [], []),
        ("cores", [], []),
        ("coral", ["char-usb_device rw", "char-apex rw"], ["plugdev"]),
        ("coral-usb", ["char-usb_device rw"], ["plugdev"]),
        ("coral-pci", ["char-apex rw"], ["plugdev"]),
        ("camera", ["/dev/video2 rw"], ["video"]),
        ("picamera", ["char-video4linux rw", "char-media rw", "char-dma_heap rw"], ["video"]),
        ("coral-and-camera", ["char-usb_device rw", "char-apex rw", "/dev/video0 rw"], ["plugdev", "video"]),
        ("served", ["/dev/video0 rw"], ["tflsplit-accelerator", "video"]),
        ("delegate", ["/dev/video0 rw", "/dev/dri/renderD128 rw"], ["video"]),
    ],
)
def test_only_what_the_configuration_names_may_be_opened(root, kind, devices, groups):
    accelerator, source, others = ACCELERATORS[kind]
    found = settings(unit.render(service(permissions.needed(accelerator, source, others, root=root))))

    assert found["DevicePolicy"] == ["closed"]
    assert found.get("DeviceAllow", []) == devices
    assert " ".join(found.get("SupplementaryGroups", [])).split() == groups
    assert ("PrivateDevices" in found) == (not devices)


def test_binding_to_cores_takes_a_system_call_that_is_shut_else(root):
    bound = settings(unit.render(service(permissions.needed("cpu?cores=0", "x", root=root))))["SystemCallFilter"]
    free = settings(unit.render(service(permissions.needed("cpu", "x", root=root))))["SystemCallFilter"]

    assert bound == [*free, "sched_setaffinity"]
    assert free[1] == "~@privileged @resources"


def test_the_process_that_tries_a_new_model_may_give_up_its_rights(root):
    calls = settings(unit.render(service(permissions.needed("cpu", "x", root=root))))["SystemCallFilter"]

    assert "landlock_create_ruleset landlock_add_rule landlock_restrict_self" in calls


def test_a_device_of_a_delegate_has_to_be_there_for_its_group(root):
    with pytest.raises(errors.SettingsError, match="device /dev/galcore: No such file"):
        permissions.needed("delegate:/usr/lib/libvx_delegate.so", "x", [pathlib.Path("/dev/galcore")], root=root)


def test_a_served_device_is_opened_by_the_group_of_its_socket(root):
    socket = root / "run/tflsplit/coral.sock"
    socket.parent.mkdir(parents=True)
    socket.touch()
    (root / "etc/group").write_text(f"owners:x:{socket.stat().st_gid}:\n")

    assert permissions.needed("served:/run/tflsplit/coral.sock", "x", root=root).groups == ("owners",)


def test_systemd_starts_no_service_with_a_group_that_is_not_there(root):
    (root / "etc/group").write_text("root:x:0:\n")

    with pytest.raises(errors.SettingsError, match=r"no group 'plugdev'.*groupadd --system plugdev"):
        permissions.needed("coral", "x", root=root)


def test_rules_let_the_group_at_both_identities_of_a_usb_coral(root):
    rules = permissions.udev_rules(permissions.needed("coral:usb", "x", root=root), root=root).splitlines()

    assert len(rules) == 2
    for rule, (vendor, product) in zip(rules, (("1a6e", "089a"), ("18d1", "9302")), strict=True):
        assert f'ATTRS{{idVendor}}=="{vendor}", ATTRS{{idProduct}}=="{product}", GROUP="plugdev", MODE="0660"' in rule


def test_a_pcie_coral_that_has_a_group_already_keeps_it(root):
    folder = root / "etc/udev/rules.d"
    folder.mkdir(parents=True)
    (folder / "65-apex.rules").write_text('SUBSYSTEM=="apex", MODE="0660", GROUP="apex"\n')
    with pytest.raises(errors.SettingsError, match="no group 'apex'"):
        permissions.needed("coral:pci", "x", root=root)
    (root / "etc/group").write_text("apex:x:200:\n")
    given = permissions.needed("coral:pci", "x", root=root)

    assert given.groups == ("apex",)
    assert permissions.udev_rules(given, root=root) == ""


def test_a_pcie_coral_without_a_rule_gets_one(root):
    given = permissions.needed("coral:pci", "x", root=root)

    assert permissions.udev_rules(given, root=root) == 'SUBSYSTEM=="apex", GROUP="plugdev", MODE="0660"\n'


def test_no_rule_for_an_edge_without_edge_tpu(root):
    assert permissions.udev_rules(permissions.needed("cpu", "camera:0", root=root), root=root) == ""


def test_odd_paths_reach_the_program_as_they_are():
    made = service(Access(), command=("/opt/a b/tflsplit", "edge", "--config", '/etc/50%/$x"y.toml'))

    assert settings(unit.render(made))["ExecStart"] == ['"/opt/a b/tflsplit" edge --config "/etc/50%%/$$x\\"y.toml"']


def test_a_bounded_run_is_not_begun_again():
    assert settings(unit.render(service(Access(), is_bounded=True)))["Restart"] == ["on-failure"]
    assert settings(unit.render(service(Access())))["Restart"] == ["always"]


def test_credentials_are_loaded_and_named_to_the_edge():
    made = service(
        Access(),
        credentials=(
            Credential("ca", pathlib.Path("/etc/a/ca.crt")),
            Credential("key", pathlib.Path("/e/k.cred"), True),
        ),
        credential_options={"--ca": "ca", "--key": "key"},
    )
    found = settings(unit.render(made))

    assert found["LoadCredential"] == ["ca:/etc/a/ca.crt"]
    assert found["LoadCredentialEncrypted"] == ["key:/e/k.cred"]
    assert found["ExecStart"][0].endswith("--ca %d/ca --key %d/key")
