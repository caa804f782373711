"""The cloud as a service: its configuration, its unit, what it tells systemd, and a reload with another model."""

import pathlib
import signal

import numpy as np
import pytest
import supervisors
import tiny_models
import tomllib

pytestmark = pytest.mark.chaos


@pytest.fixture
def supervisor(tmp_path):
    with supervisors.listening(tmp_path / "notify") as made:
        yield made


@pytest.fixture
def configure(tmp_path):
    """Writes the configuration of a cloud."""

    def write(*packages, **settings):
        fields = {"package": [str(package.path) for package in packages], "deployment": ["d"], **settings}
        lines = [f"{key} = {value!r}".replace("'", '"') for key, value in fields.items()]
        file = tmp_path / "cloud.toml"
        file.write_text("\n".join(["[cloud]", *lines, ""]))
        return file

    return write


@pytest.mark.parametrize("role", ["edge", "cloud"])
def test_a_template_has_every_setting_and_is_right_but_for_what_it_names(role, run, tmp_path):
    text = run("config", "template", role).out
    file = tmp_path / f"{role}.toml"
    file.write_text(text)
    refused = run("config", "check", file).err
    everything = tomllib.loads(uncommented(text))

    assert "not a package" in refused
    assert "credentials" in refused
    assert all(words in refused for words in ("/srv/tflsplit/", str(tmp_path / "credentials")))
    assert len(refused.splitlines()) <= 3, refused
    assert {"package", "credentials", "log-level", "metrics", "json"} <= set(everything)


def uncommented(text):
    lines = (line.removeprefix("# ") for line in text.splitlines())
    return "\n".join(line for line in lines if line.partition(" = ")[0].replace("-", "").isalpha() and " = " in line)


def test_everything_wrong_with_a_cloud_is_named_at_once(run, configure, tiny_package, tmp_path):
    file = configure(tiny_package, broker="http://nowhere", drain="soon", nmae="x")
    refused = run("config", "check", file).err

    assert f"{file}:4: broker: " in refused
    assert f"{file}:5: drain: " in refused
    assert f"{file}:6: there is no key 'nmae'" in refused


def test_a_cloud_is_configured_by_file_drop_in_and_environment(run, configure, tiny_package):
    file = configure(tiny_package, broker="mqtt://localhost")
    (file.parent / "cloud.d").mkdir()
    (file.parent / "cloud.d" / "50-threads.toml").write_text("[cloud]\nthreads = 2\n")
    shown = run("config", "check", file, env={"TFLSPLIT_CLOUD_DRAIN": "3s"}).out

    rows = {words[0]: words[1:] for line in shown.splitlines() if len(words := line.split()) > 2}
    assert rows["threads"][0] == "2"
    assert rows["drain"] == ["3s", "environment", "TFLSPLIT_CLOUD_DRAIN"]


def test_its_service_runs_the_cloud_and_is_shown_its_credentials_only(run, tmp_path):
    root = tmp_path / "root"
    for folder in ("etc/tflsplit/credentials", "opt/bin", "srv"):
        (root / folder).mkdir(parents=True)
    (root / "etc/group").write_text("root:x:0:\n")
    package = tiny_models.write_package(root / "srv/model.tflsplit", tiny_models.wide_model(100))
    for file in package.path.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    (root / "opt/bin/tflsplit").write_text("#!/opt/bin/python\n")
    (root / "opt/bin/python").touch()
    for file in (root / "opt/bin").iterdir():
        file.chmod(0o755)
    (root / "etc/tflsplit/cloud.toml").write_text(
        '[cloud]\npackage = ["/srv/model.tflsplit"]\nbroker = "mqtt://localhost"\ndeployment = ["d"]\n'
    )
    typed = ("install-service", "--config", "/etc/tflsplit/cloud.toml", "--root", root)
    installed = run(*typed, "--executable", "/opt/bin/tflsplit")
    unit = (root / "etc/systemd/system/tflsplit-cloud.service").read_text()

    assert installed.code == 0, installed.err
    assert "ExecStart=/opt/bin/tflsplit cloud --config /etc/tflsplit/cloud.toml\n" in unit
    assert "Description=tflsplit cloud (" in unit
    assert "PrivateDevices=yes" in unit
    removed = run("install-service", "--uninstall", "--role", "cloud", "--root", root)
    assert "removed" in removed.out
    assert not (root / "etc/systemd/system/tflsplit-cloud.service").exists()


def test_a_reload_serves_another_model_and_loses_no_frame(  # noqa: PLR0917 - fixtures
    start, run, configure, supervisor, brokers, tiny_package, source, tmp_path
):
    url = brokers.start()
    other = tiny_models.write_package(tmp_path / "other.tflsplit", tiny_models.wide_model(100))
    file = configure(tiny_package, broker=url, drain="20s")
    cloud = start("cloud", "--config", file, "--json", env=supervisor.environment)
    supervisor.wait_for(lambda message: "READY=1" in message)
    supervisor.wait_for(lambda message: message == "WATCHDOG=1")
    common = ("--broker", url, "--deployment", "d", "--resend-after", "0.5", "--json")
    before = start("edge", tiny_package.path, *common, "--device", "n", "--source", source, "--count", 300)
    supervisor.wait_for_status(r"[1-9]\d* results")

    configure(tiny_package, other, broker=url, drain="20s")
    cloud.send_signal(signal.SIGHUP)
    supervisor.wait_for(lambda message: "RELOADING=1" in message)
    supervisor.wait_for(lambda message: "READY=1" in message)
    inputs = tmp_path / "inputs.npy"
    np.save(inputs, np.zeros((3, *other.manifest.inputs[0].shape[1:]), np.int8))
    after = run("edge", other.path, *common, "--device", "m", "--source", inputs)
    assert before.done().json()["results"] == 300
    assert after.json()["results"] == 3

    file.write_text("[cloud]\npackage = 3\n")
    cloud.send_signal(signal.SIGHUP)
    supervisor.wait_for(lambda message: "RELOADING=1" in message)
    supervisor.wait_for(lambda message: "READY=1" in message)
    again = run("edge", other.path, *common, "--device", "k", "--source", inputs)
    assert again.json()["results"] == 3
    cloud.terminate()
    done = cloud.done()
    assert done.code == 0
    assert "configuration refused, the old one stays" in done.err
    assert done.json()["results"] == 306


def test_the_example_is_a_right_configuration_but_for_what_it_names(run, tmp_path):
    checkout = pathlib.Path(__file__).resolve().parents[3]
    (tmp_path / "cloud.toml").write_text((checkout / "examples" / "cloud.toml").read_text("utf-8"))
    refused = run("config", "check", tmp_path / "cloud.toml").err.splitlines()

    assert len(refused) == 2
    assert "/srv/tflsplit/cloud.tflsplit" in refused[0]
    assert f"credentials {tmp_path}/credentials" in refused[1]
