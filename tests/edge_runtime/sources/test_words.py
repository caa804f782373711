import pytest

from edge_runtime.sources import words
from edge_runtime.sources.words import Kind
from tflsplit import errors

SECRET = "rtsp://me:s3cr@t@10.0.0.7:554/live?token=abc"


@pytest.mark.parametrize(
    ("text", "kind", "place", "ends"),
    [
        ("pictures/", Kind.FILES, "pictures/", True),
        ("a:b/c.npy", Kind.FILES, "a:b/c.npy", True),
        ("camera:2", Kind.CAMERA, "2", False),
        ("watch:/var/my pictures", Kind.WATCHED, "/var/my pictures", False),
        ("picamera:1", Kind.PICAMERA, "1", False),
        ("stdin:", Kind.STDIN, "", True),
        ("video:walk.mp4", Kind.VIDEO, "walk.mp4", True),
        (SECRET, Kind.NETWORK, SECRET, False),
        ("topic:frigate/a b/+", Kind.TOPIC, "frigate/a b/+", False),
        ("mqtts://h:1/a/#", Kind.TOPIC, "mqtts://h:1/a/#", False),
        ("https://cam/mjpg", Kind.NETWORK, "https://cam/mjpg", False),
    ],
)
def test_a_word_says_its_kind_and_whether_it_ends(text, kind, place, ends):
    word = words.parse(text)

    assert (word.kind, word.place, word.ends) == (kind, place, ends)
    assert words.is_word(text) == (kind is not Kind.FILES)


@pytest.mark.parametrize(
    "text", ["camera:", "picamera:x", "camera:x", "camera:²", "watch:", "video:", "stdin:7", "rtsp://", "http://[::1"]
)
def test_a_word_that_goes_on_wrongly_is_refused(text):
    with pytest.raises(errors.SettingsError, match="source"):
        words.parse(text)


@pytest.mark.parametrize("text", [SECRET, "http://u:p%40s3cr@h/x", "rtsp://h/x?password=s3cr", "mqtt://u:s3cr@h/x/y"])
def test_what_is_shown_of_an_address_holds_no_password(text):
    shown = words.parse(text).shown

    assert "s3cr" not in shown
    assert "abc" not in shown
    assert "/" in shown


def test_a_topic_of_another_broker_has_its_password_apart():
    found = words.subscription("mqtts://me:s3%40cr@h:99/a b/#")

    assert (found.broker, found.topic, found.password) == ("mqtts://me@h:99", "a b/#", "s3@cr")
    assert "s3" not in repr(found)


def test_a_path_in_a_word_is_beside_the_file_of_settings(tmp_path):
    assert words.beside("watch:in", tmp_path) == f"watch:{tmp_path}/in"
    assert words.beside("video:/a.mp4", tmp_path) == "video:/a.mp4"
    assert words.beside("watch:~/in", tmp_path) == "watch:~/in"
    assert words.beside("camera:0", tmp_path) == "camera:0"
