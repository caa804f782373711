"""When answers that are not ours are a second edge of our name."""

from edge_runtime.delivery.name_clash import NameClash


def told(*answers):
    rival = NameClash()
    return [now_s for now_s, boot in answers if rival.note(boot, now_s)]


def test_answers_that_keep_coming_are_told_of_once():
    assert told(*((second, 5) for second in range(200))) == [60]


def test_the_rest_of_an_earlier_run_is_no_rival():
    assert told((0, 5), (1, 5), (2, 6), (3, 6), (59, 6)) == []


def test_a_rival_that_starts_anew_is_told_of_again():
    assert told(*((second, second // 100) for second in range(300))) == [60, 160, 260]
