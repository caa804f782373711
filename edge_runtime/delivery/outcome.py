"""Whether a run did what was promised; what it counted is in `edge_runtime.delivery.summary`."""

from broker.transport.protocol import Drop
from edge_runtime.delivery.settings import Delivery, Settings
from edge_runtime.delivery.summary import Summary
from tflsplit import errors


def check(summary: Summary, settings: Settings, *, is_stopped: bool) -> None:
    """PeerError if a run left frames without an answer: FrameError with the cloud's reason where it refused them.

    Frames that a run which was told to stop leaves in its spool are no failure.
    """
    sent = summary.frames + summary.replayed
    if summary.refused:
        raise errors.FrameError(f"the cloud refused {summary.refused} of {sent} frames: {summary.refusal}")
    is_running = f"is a cloud of deployment {settings.deployment!r} running?"
    if turned_away := summary.link.dropped[Drop.REFUSED]:
        is_running = f"the broker refused {turned_away} messages: may this device still write to its topics?"
    if settings.delivery is Delivery.LATEST:
        if sent and not summary.results:
            raise errors.PeerError(f"none of {sent} frames was answered within {settings.max_age_s:g} s; {is_running}")
    elif summary.unanswered and not (is_stopped and summary.spooled):
        kept = " they stay in the spool for the next run;" if summary.spooled else ""
        raise errors.PeerError(
            f"{summary.unanswered} of {sent} frames had no answer within {settings.drain_s:g} s of the last;{kept} "
            f"{is_running}"
        )
