"""Credentials of one role, given to a command of another: one line says it, before anybody connects."""

import pytest

from broker.transport import credentials
from broker.transport.credentials import Role


@pytest.fixture
def folder_of(tmp_path):
    def made(role):
        folder = tmp_path / role.value
        folder.mkdir()
        (folder / credentials.DESCRIPTION).write_bytes(
            credentials.describe(["mqtt://me@nowhere.invalid"], "shop", "me", role, "5e55")
        )
        (folder / credentials.PASSWORD).write_text("secret\n")
        (folder / credentials.PASSWORD).chmod(0o600)
        return folder

    return made


@pytest.mark.parametrize(
    "case",
    [
        ("edge PKG --source x.csv", Role.DEVICE, Role.CLOUD),
        ("edge PKG --source x.csv", Role.DEVICE, Role.CONSUMER),
        ("cloud PKG", Role.CLOUD, Role.DEVICE),
        ("results", Role.CONSUMER, Role.DEVICE),
    ],
)
def test_credentials_of_another_role_are_refused(run, folder_of, tiny_package, tmp_path, case):
    words, needed, given = case
    (tmp_path / "x.csv").write_text("1,2,3,4\n")
    typed = [str(tiny_package.path) if word == "PKG" else word for word in words.split()]
    said = run(*typed, "--credentials", folder_of(given), cwd=tmp_path).refusal()

    assert f"'me' has the role {given.value} at the broker" in said
    assert f"--role {needed.value}" in said


def test_an_operator_reads_the_results_that_it_judges_a_rollout_by(run, folder_of):
    said = run("results", "--credentials", folder_of(Role.OPERATOR)).refusal()

    assert "nowhere.invalid" in said


def test_a_device_may_read_its_own_results(run, folder_of):
    said = run("results", "--credentials", folder_of(Role.DEVICE), "--device", "me").refusal()

    assert "nowhere.invalid" in said


def test_a_configuration_with_the_credentials_of_a_cloud_is_refused_before_it_is_a_service(
    run, folder_of, tiny_package, tmp_path
):
    (tmp_path / "edge.toml").write_text(
        f'[edge]\npackage = "{tiny_package.path}"\nsource = "camera:0"\ncredentials = "{folder_of(Role.CLOUD)}"\n'
    )

    done = run("config", "check", tmp_path / "edge.toml")

    assert done.code == 1
    assert "'me' has the role cloud at the broker" in done.err + done.out
