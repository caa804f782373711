"""A second edge of our device's name is detected by answers that are not ours."""

from edge_runtime.delivery.name_clash import NameClash


def told(*answers):
    clash = NameClash()
    return [now_s for now_s, boot in answers if clash.note(boot, now_s)]


def test_foreign_answers_that_keep_coming_are_reported_once():
    assert told(*((second, 5) for second in range(200))) == [60]


def test_answers_to_an_earlier_run_are_no_clash():
    assert told((0, 5), (1, 5), (2, 6), (3, 6), (59, 6)) == []


def test_a_second_edge_that_restarts_is_reported_again():
    assert told(*((second, second // 100) for second in range(300))) == [60, 160, 260]
