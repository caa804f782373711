"""What a program says over HTTP, as Prometheus and supervisors ask it."""

import time
import urllib.error
import urllib.request

import waiting
from prometheus_client.parser import text_string_to_metric_families


def get(port, path):
    """Status and body, of a process that may not listen yet."""
    give_up_s = time.monotonic() + waiting.WAIT_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=waiting.WAIT_S) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()
        except urllib.error.URLError:
            assert time.monotonic() < give_up_s


def scrape(port):
    """Each sample by its name and its labels."""
    families = text_string_to_metric_families(get(port, "/metrics")[1])
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value for family in families for sample in family.samples
    }
