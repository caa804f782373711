"""`tflsplit results` as the process that people read from."""

import json
import select

import numpy as np
import pytest

from broker.messages import results, topics
from broker.mqtt import transport
from broker.transport import address
from tflsplit.decoding import maps

SOON_S = 60.0
TIMES = results.Times(*(1.0,) * 7)


@pytest.fixture
def broker(brokers):
    return brokers.start()


@pytest.fixture
def cloud(broker):
    with transport.MqttTransport(address.parse(broker), client_id="cloud") as speaking:
        speaking.connect()
        yield speaking


def say(cloud, *sequences, device="cam1"):
    for sequence in sequences:
        result = results.Result(device, 1, sequence, "op001", "9f", TIMES, (results.Score("cat", 0.5),))
        cloud.publish(topics.topic("d", device, topics.Kind.RESULTS), result.as_json())
    assert cloud.flush(SOON_S)


def first_line(process, cloud):
    """Says result 0 until the reader prints it, which shows that its subscription stands."""
    while not select.select([process.stdout], [], [], 0.1)[0]:
        say(cloud, 0)
    return json.loads(process.stdout.readline())


def printed(text):
    return [json.loads(line)["sequence"] for line in text.splitlines()]


def test_results_are_printed_once_as_they_come(start, broker, cloud):
    reading = start("results", "--broker", broker, "--deployment", "d", "--count", "4")

    assert first_line(reading, cloud)["label"] == "cat"
    say(cloud, 0, 1, 2, 1, 3, 4)
    done = reading.done()
    assert done.code == 0
    assert printed(done.out) == [1, 2, 3]


def test_masks_are_written_as_files_before_their_line_is_printed(start, broker, cloud, tmp_path):
    reading = start("results", "--broker", broker, "--deployment", "d", "--count", "3", "--masks", tmp_path / "masks")
    first_line(reading, cloud)
    mask = maps.png(np.array([[0, 1], [2, 2]]))
    for sequence, png in ((1, mask), (2, b"")):
        made = results.Result("cam1", 10, sequence, "op001", "9f", TIMES, mask=png)
        cloud.publish(topics.topic("d", "cam1", topics.Kind.RESULTS), made.as_json())
    assert cloud.flush(SOON_S)
    done = reading.done()

    assert (done.code, printed(done.out)) == (0, [1, 2])
    assert {file.name: file.read_bytes() for file in (tmp_path / "masks").iterdir()} == {
        "cam1-000000000000000a-1.png": mask
    }


def test_a_folder_for_masks_that_cannot_be_made_is_refused_before_anything_is_read(run, tmp_path):
    (tmp_path / "taken").write_text("")
    words = ("--broker", "mqtt://localhost:1", "--deployment", "d", "--masks", tmp_path / "taken")

    assert "cannot be made (File exists); give another folder" in run("results", *words).refusal()


def test_a_reader_with_a_name_gets_what_came_while_it_was_away(start, broker, cloud):
    words = ("results", "--broker", broker, "--deployment", "d", "--name", "archive")
    reading = start(*words)
    first_line(reading, cloud)
    reading.terminate()
    left = reading.done()
    say(cloud, *range(1, 100))
    reading = start(*words, "--count", "99")
    back = reading.done()

    assert left.code == back.code == 0
    assert "results read results=1 " in left.err
    assert printed(back.out) == list(range(1, 100))


def test_a_reader_that_was_killed_gets_the_rest_from_the_next(start, broker, cloud):
    """Once each, but for what was printed and not acknowledged in the moment of its death."""
    words = ("results", "--broker", broker, "--deployment", "d", "--name", "archive")
    reading = start(*words)
    first_line(reading, cloud)
    say(cloud, *range(1, 50))
    reading.stdout.readline()
    reading.kill()
    given = [1, *printed(reading.stdout.read())]
    say(cloud, *range(50, 100))
    reading = start(*words)
    while given[-1] < 99:
        given.append(json.loads(reading.stdout.readline())["sequence"])

    assert set(given) == set(range(1, 100))
    assert sorted(given[given.index(50) :]) == list(range(50, 100))


def test_credentials_of_another_deployment_are_refused(run, tmp_path):
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "broker.json").write_text(
        json.dumps({"schema": 1, "url": "mqtts://u@localhost", "deployment": "other", "name": "consumer", "role": "x"})
    )
    (folder / "password").write_text("secret\n")
    (folder / "password").chmod(0o600)

    assert (
        "are for deployment 'other', not for 'd'"
        in run("results", "--credentials", folder, "--deployment", "d").refusal()
    )
