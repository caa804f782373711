"""Whether a run kept its delivery guarantee, by the counters in `edge_runtime.delivery.summary`."""

from broker.transport.protocol import Drop
from edge_runtime.delivery.settings import Delivery, Settings
from edge_runtime.delivery.summary import Summary
from tflsplit import errors, text

# An edge that was connected so often, and could never send a frame, has no right to.
_FLAPPING = 3


def check(summary: Summary, settings: Settings, *, is_stopped: bool) -> None:
    """PeerError if a run left frames without an answer: FrameError with the cloud's reason where it refused them.

    If the run was stopped, frames that stay in the spool are no failure.
    """
    sent = summary.frames + summary.replayed
    frames = text.counted(sent, "frame")
    if summary.refused:
        raise errors.FrameError(f"the cloud refused {summary.refused} of {frames}: {summary.refusal}")
    if damaged := summary.dropped["damaged"]:
        raise errors.DeviceError(f"{damaged} of {frames} were lost with a damaged spool; the log says which")
    hint = f"is a cloud of deployment {settings.deployment!r} running?"
    if summary.refusal is not None:
        hint = f"refused: {summary.refusal}"
    if refused := summary.link.dropped[Drop.REFUSED]:
        hint = f"the broker refused {text.counted(refused, 'message')}: may this device still write to its topics?"
    if not sent and summary.link.reconnects >= _FLAPPING:
        raise errors.PeerError(
            f"no frame was accepted, since the broker hung up {summary.link.reconnects} times; {hint}"
        )
    if settings.delivery is Delivery.LATEST:
        if not sent and summary.dropped["offline"]:
            raise errors.PeerError(f"none of {summary.dropped['offline']} inputs was sent: the broker was away; {hint}")
        if sent and not summary.results:
            raise errors.PeerError(f"none of {frames} was answered within {settings.max_age_s:g} s; {hint}")
    elif summary.unanswered and not (is_stopped and summary.spooled):
        kept = " they stay in the spool for the next run;" if summary.spooled else ""
        raise errors.PeerError(
            f"{summary.unanswered} of {frames} had no answer within {settings.drain_s:g} s of the last;{kept} {hint}"
        )
