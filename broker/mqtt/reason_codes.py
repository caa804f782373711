"""Reason codes of brokers, also those that paho does not know: it would take their packets for broken ones."""

from collections.abc import Mapping

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

_ANSWERS = (
    PacketTypes.CONNACK,
    PacketTypes.PUBACK,
    PacketTypes.PUBREC,
    PacketTypes.PUBREL,
    PacketTypes.PUBCOMP,
    PacketTypes.SUBACK,
    PacketTypes.UNSUBACK,
    PacketTypes.DISCONNECT,
    PacketTypes.AUTH,
)


def complete() -> None:
    """Gives paho's table a name for every code in every packet: that of another packet if it has one, else a number.

    Does nothing where another paho keeps its names elsewhere: unknown codes are then broken packets again.
    """
    table = getattr(ReasonCode, "names", None)
    if not isinstance(table, Mapping):
        return
    names = {}
    for code in range(256):
        known = {name: list(packets) for name, packets in table.get(code, {}).items()}
        missing = [packet for packet in _ANSWERS if not any(packet in packets for packets in known.values())]
        if missing:
            known.setdefault(next(iter(known), f"reason code 0x{code:02x}"), []).extend(missing)
        names[code] = known
    ReasonCode.names = names
