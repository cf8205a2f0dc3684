"""A page of /metrics, read back."""

import re

import httpx

Metrics = dict[str, float]
"""Value by name; labels other than `rule` stand behind the name as they do on the page."""
TIMEOUT_S = 10.0


def scrape(url: str, timeout_s: float = TIMEOUT_S) -> Metrics:
    """The lines of a Prometheus page; the label `rule` is left out of the names.

    httpx.HTTPError when nobody answers.
    """
    page = httpx.get(url, timeout=timeout_s).text
    found: Metrics = {}
    for name, labels, value in re.findall(r"^(\w+)(\{[^}]*\})? (\S+)$", page, re.MULTILINE):
        kept = [one for one in re.findall(r'\w+="[^"]*"', labels) if not one.startswith("rule=")]
        found[name + (f"{{{','.join(kept)}}}" if kept else "")] = float(value)
    return found
