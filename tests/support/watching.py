"""An observer of an edge that remembers what it is told."""

from edge_runtime.delivery import observer


def values(watch):
    """What metrics show, by name and labels."""
    return {
        (family.metric.name, *sample.labels): sample.value for family in watch.families() for sample in family.samples
    }


class Watching(observer.Observer):
    """`on_answer` is called with each answer, on the results thread."""

    def __init__(self, on_answer=lambda answer: None):
        self.settlements = []
        self.own = []
        self.looks = 0
        self._on_answer = on_answer

    @property
    def answers(self):
        return [settled.answer for settled in self.settlements]

    def alive(self):
        self.looks += 1

    def answered(self, own):
        self.own.append(own)

    def settled(self, settled):
        self.settlements.append(settled)
        self._on_answer(settled.answer)
