"""Links with a name, for planning before anything can be measured. Figures of public documents, all called *stated*.

What a link gives at a site differs by a factor of several: measure it with `tflsplit probe` as soon as it is there.
"""

from tflsplit import errors, text
from tflsplit.timings.links import Link
from tflsplit.timings.profiles import Origin


def _stated(name: str, bandwidth_bps: float, rtt_s: float, source: str) -> Link:
    return Link(name, Origin.STATED, bandwidth_bps, rtt_s, source=source)


# Bandwidth is that of the device's uplink, over which features travel.
PRESETS = {
    link.name: link
    for link in (
        _stated("nb-iot", 62.5e3, 1.6, "3GPP release 13, category NB1: multi-tone uplink peak; latency 1.6 to 10 s"),
        _stated("lte-m", 375e3, 0.12, "3GPP release 13, category M1: half-duplex uplink peak; GSMA: 100 to 150 ms"),
        _stated("3g", 1.6e6, 0.0667, "Scission (UCC 2020), its 3G network"),
        _stated("4g", 10e6, 0.053, "a fifth of LTE category 4's uplink peak (3GPP release 8); round trip: Ofcom, 2014"),
        _stated(
            "wifi", 48e6, 0.005, "IEEE 802.11n, one stream in 20 MHz: two thirds of its 72.2 Mbit/s; same building"
        ),
        _stated("ethernet", 1e9, 0.0005, "IEEE 802.3ab (1000BASE-T), one switch"),
    )
}


def named(name: str) -> Link:
    """The preset with this name, upper case and hyphens ignored. SettingsError names all presets for any other name."""
    wanted = name.lower()
    for known, link in PRESETS.items():
        if wanted.replace("-", "") == known.replace("-", ""):
            return link
    known = f"presets are {', '.join(PRESETS)}{text.meant(name, PRESETS)}"
    raise errors.SettingsError(f"link {name!r}: neither a file nor a preset; {known}")
