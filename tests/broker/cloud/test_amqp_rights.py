"""The commands of docs/rabbitmq.md, run: with those rights and no others an edge and a cloud work."""

import contextlib
import pathlib
import re
import shlex

import chaos
import numpy as np
import ports
import pytest
import rabbit

from broker.deploy import folder

pytestmark = pytest.mark.timeout(600)  # RabbitMQ and its commands each start a virtual machine

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
COUNT = 20


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture(params=["commands", "definitions"])
def entitle(request, rabbitmq, tmp_path):
    """Runs the documented commands for other names: (deployment, device, cloud); or imports the file of definitions,
    whose cloud gets a password, for this node takes no certificates over AMQP."""

    def imported(deployment, device, cloud):
        wanted = folder.Wanted((device,), clouds=(cloud,))
        folder.init(tmp_path / "d", wanted, deployment=deployment, hosts=("localhost",), is_rabbitmq=True)
        rabbitmq.ctl("import_definitions", str(tmp_path / "d" / "rabbitmq.json"))
        rabbitmq.ctl("change_password", cloud, rabbit.PASSWORD)

    def run(deployment, device, cloud):
        text = (CHECKOUT / "docs/rabbitmq.md").read_text("utf-8")
        commands = re.findall(r"^    rabbitmqctl (.+)$", re.sub(r"\\\n\s*", " ", text), re.MULTILINE)
        assert {command.split()[0] for command in commands} >= {"add_user", "set_permissions", "set_topic_permissions"}
        for command in commands:
            words = [word.replace("plant1", deployment).replace("cam1", device) for word in shlex.split(command)]
            words = [re.sub(r"^cloud$|(?<=-)cloud(?=-)", cloud, word) for word in words]
            rabbitmq.ctl(*(rabbit.PASSWORD if word == "SECRET" else word for word in words))

    return run if request.param == "commands" else imported


def begin(stack, *words):
    made = chaos.Process(*words)
    stack.callback(chaos._kill, made)
    return made


def test_an_edge_and_a_cloud_work_with_the_documented_rights_and_are_never_hung_up_on(
    entitle, rabbitmq, stack, tiny_package, tmp_path
):
    deployment, device, cloud = f"entitled-{entitle.__name__}", "lens", "tailor"
    entitle(deployment, device, cloud)
    shown = rabbitmq.certify(device)
    (spec,) = tiny_package.manifest.inputs
    source = tmp_path / "inputs.npy"
    np.save(source, np.zeros((COUNT, *spec.shape[1:]), np.int8))
    queue = ("--queue", f"amqps://{cloud}@{rabbitmq.amqps}", "--password-file", rabbitmq.password_file)
    over_mqtt = ("--broker", f"mqtts://{cloud}@{rabbitmq.mqtts}", "--ca", rabbitmq.ca, "--metrics", ports.free_port())
    serving = begin(
        stack, "cloud", tiny_package.path, "--deployment", deployment, "--name", cloud, *queue, *over_mqtt, "--json"
    )
    serving.wait_to_say("connection state=online rabbitmq=")
    files = ("--ca", shown.ca, "--cert", shown.certificate, "--key", shown.key)
    where = ("--deployment", deployment, "--device", device, "--broker", f"mqtts://{rabbitmq.mqtts}", *files)
    words = ("edge", tiny_package.path, *where, "--source", source, "--rate", "10", "--count", COUNT)
    summary = begin(stack, *words, "--telemetry", "1", "--json").done()
    serving.terminate()
    served = serving.done()

    assert (summary["results"], summary["link"]["reconnects"], summary["link"]["dropped"]) == (COUNT, 0, {})
    assert served["results"] == COUNT
    assert not [line for line in serving.err if "state=waiting" in line or "WARNING" in line], serving.err
