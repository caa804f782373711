"""What docs/service.md promises of an edge's service, on a booted machine."""

import re
import signal

import pytest

EDGE = "tflsplit-edge.service"
STATE = "/var/lib/private/tflsplit-edge"

pytestmark = [pytest.mark.service, pytest.mark.timeout(1200)]


def test_it_starts_as_a_user_of_its_own_shown_its_credentials_and_says_what_it_does(edge, plant):
    machine = plant.machine
    status = edge.shown("StatusText")
    exposure = machine.run("systemd-analyze", "security", "--no-pager", EDGE)

    assert re.match(r"connected, [\d.]+ frames/s, \d+ results, \d+ waiting, head on cpu", status)
    assert (edge.shown("Type"), edge.shown("ActiveState")) == ("notify", "active")
    assert 61184 <= int(machine.run("stat", "--format=%u", f"/proc/{edge.shown('MainPID')}")) <= 65519  # systemd's own
    assert machine.run("ls", f"/run/credentials/{EDGE}").split() == sorted(credentials_of(plant))
    assert machine.run("stat", "--format=%a", STATE).strip() == "700"
    assert machine.run("find", "/etc/tflsplit/credentials", "-perm", "/077") == ""
    assert float(re.search(r"exposure level for \S+ ([\d.]+)", exposure)[1]) <= 2.0
    assert machine.run("systemctl", "is-enabled", EDGE).strip() == "enabled"


def credentials_of(plant):
    return [file.name for file in (plant.machine.root / "etc/tflsplit/credentials").iterdir()]


def test_a_process_that_hangs_is_started_again_by_the_watchdog(edge):
    process, restarts = edge.process_and_restarts()
    edge.kill(signal.SIGSTOP)
    edge.wait_for_restart(process, restarts)
    edge.wait_for_more_results()

    assert "Failed with result 'watchdog'" in edge.journal()


def test_a_process_that_is_killed_is_back_with_its_spool(edge, cloud):
    cloud.kill()
    edge.wait_for_status(r"[1-9]\d* waiting")
    process, restarts = edge.process_and_restarts()
    edge.kill(signal.SIGKILL)
    edge.wait_for_restart(process, restarts)

    edge.wait_for_status(r"connected, .* 0 results, [1-9]\d* waiting")


def test_a_reload_changes_the_rate_at_once_and_the_process_stays(edge):
    process = edge.shown("MainPID")
    edge.configure(200)
    edge.systemctl("reload")
    edge.wait_for_more_results()

    assert edge.shown("MainPID") == process
    assert "configuration read again changed=rate_fps" in edge.journal()
    edge.wait_for_status(r"\b(?!20\.)[3-9]\d|1\d\d\.\d frames/s")


def test_a_reload_of_a_wrong_file_is_refused_and_the_old_one_stays(edge):
    process, restarts = edge.process_and_restarts()
    edge.configure('"fast"')
    edge.systemctl("reload")
    edge.wait_to_say("the old one stays reason=")
    edge.wait_for_more_results()

    assert (edge.shown("MainPID"), int(edge.shown("NRestarts"))) == (process, restarts)
    assert "rate: 'fast', expected a number" in edge.journal()


def test_it_stops_when_it_is_told_to_and_is_not_killed(edge):
    edge.systemctl("stop")

    assert (edge.shown("Result"), edge.shown("ExecMainStatus")) == ("success", "0")


def test_a_credential_that_is_missing_is_named(edge, plant):
    key = plant.machine.root / "etc/tflsplit/credentials/client.key"
    away = key.rename(key.with_name("away"))
    plant.machine.run("systemctl", "restart", EDGE, check=False)
    try:
        assert edge.shown("ExecMainStatus") == "243"
        # The rest is said by a process that is gone, often before the journal has seen whose it was.
        edge.wait_to_say("status=243/CREDENTIALS")
    finally:
        away.rename(key)
    plant.machine.run("systemctl", "restart", EDGE)
    edge.wait_for_more_results()


def test_credentials_may_be_encrypted_with_a_key_of_the_machine(edge, plant):
    """As the document does it."""
    machine = plant.machine
    held = machine.root / "etc/tflsplit/credentials"
    plain = (held / "client.key").read_bytes()
    if not machine.succeeds("systemd-creds", "encrypt", "--name=x", "/etc/hostname", "/root/x.cred"):
        pytest.skip("systemd-creds cannot encrypt on this machine")
    plant.type(
        "cd /etc/tflsplit/credentials\n"
        "sudo systemd-creds encrypt --name=client.key client.key client.key.cred && sudo rm client.key"
    )
    try:
        machine.run("tflsplit", "install-service", "--config", "/etc/tflsplit/edge.toml")
        machine.run("systemctl", "restart", EDGE)
        edge.wait_for_more_results()
        assert "LoadCredentialEncrypted=client.key:" in machine.run("systemctl", "cat", EDGE)
        assert plain not in (held / "client.key.cred").read_bytes()
    finally:
        (held / "client.key.cred").unlink(missing_ok=True)
        (held / "client.key").write_bytes(plain)
        (held / "client.key").chmod(0o600)


def test_a_full_disk_stops_the_frames_and_not_the_service(edge, plant):
    """`spool-full = "block"`; what is answered meanwhile frees the spool, and the disk is what has no room."""
    machine = plant.machine
    edge.systemctl("stop")
    machine.run("rm", "-rf", f"{STATE}/spool")
    machine.run("mount", "-t", "tmpfs", "-o", "size=24M", "tmpfs", STATE)
    try:
        edge.systemctl("start")
        edge.wait_for_more_results()
        process, restarts = edge.process_and_restarts()
        machine.run("fallocate", "--length", "8M", f"{STATE}/other")
        edge.wait_to_say("disk_full")
        edge.wait_for_status(r"\b0\.0 frames/s.* 0 waiting")
        machine.run("rm", f"{STATE}/other")
        edge.wait_for_more_results()

        assert (edge.shown("MainPID"), int(edge.shown("NRestarts"))) == (process, restarts)
    finally:
        edge.systemctl("stop")
        machine.run("umount", STATE)


def test_one_that_needs_more_memory_than_it_may_is_ended_and_started_again(edge, plant):
    """Its bound is three quarters of the machine's; one that is met soon is set as `systemctl edit` would."""
    machine = plant.machine
    total_kb = int(re.search(r"MemTotal:\s+(\d+)", machine.run("cat", "/proc/meminfo"))[1])
    assert 0.7 < int(edge.shown("MemoryMax")) / (total_kb * 1024) <= 0.75
    hungry = '[Service]\nMemoryMax=48M\nExecStartPre=/usr/bin/python3 -c "bytearray(200 << 20)"\n'
    machine.write(f"etc/systemd/system/{EDGE}.d/override.conf", hungry)
    machine.run("systemctl", "daemon-reload")
    try:
        machine.run("systemctl", "restart", EDGE, check=False)
        if edge.shown("ActiveState") == "active":
            pytest.skip("the kernel lets no machine of the tests' own limit memory here")
        edge.wait_to_say("Failed with result '(oom-kill|signal)'")  # the latter with control groups of version 1
        edge.wait_for(lambda: int(edge.shown("NRestarts")) > 0)
    finally:
        machine.run("rm", f"/etc/systemd/system/{EDGE}.d/override.conf")
        machine.run("systemctl", "daemon-reload")
    edge.wait_for(lambda: edge.results)


def test_a_certificate_that_was_revoked_is_named_in_the_log_and_the_frames_are_kept(edge, plant):
    machine = plant.machine
    machine.run("tflsplit", "broker", "revoke", "/etc/tflsplit/broker", "cam1")
    try:
        edge.systemctl("restart")
        edge.wait_to_say("a broker that does not accept our certificate")
        edge.wait_for_status(r"waiting for the broker, .* [1-9]\d* waiting")
    finally:
        machine.run("tflsplit", "broker", "add-device", "/etc/tflsplit/broker", "cam1")
        for file in (plant.credentials / "cam1").iterdir():
            (machine.root / "etc/tflsplit/credentials" / file.name).write_bytes(file.read_bytes())
