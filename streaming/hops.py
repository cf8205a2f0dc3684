"""Why an agent hears nothing: the hops before it, as far as it can see them."""

from collections.abc import Mapping

import httpx

from twinpath.settings import Settings


def why_nothing_arrives(settings: Settings, offsets: Mapping[int, int], ends: Mapping[int, int | None]) -> str:
    """One sentence that names the first hop that is stuck, from the agent upwards."""
    if not offsets:
        return "this member owns no partition: others of its group own them all, or the group is rebalancing"
    behind = {number: end for number, end in ends.items() if end is not None and end > offsets[number]}
    if behind:
        return f"records are there that Kafka does not hand over: partitions {sorted(behind)}; look at the broker"
    return f"everything in the topic was read; {_connector(settings)}"


def _connector(settings: Settings) -> str:
    """What Connect says of the connector and its tasks."""
    url = f"{settings.connect_url}/connectors/{settings.connector}/status"
    try:
        answer = httpx.get(url, timeout=5)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return f"Connect knows no connector {settings.connector}"
        found = answer.raise_for_status().json()
        states = [found["connector"]["state"], *(task["state"] for task in found["tasks"])]
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"Connect does not answer at {url} ({type(error).__name__})"
    except (ValueError, KeyError, TypeError):
        return f"{url} is answered by something that is not Connect"
    if any(state != "RUNNING" for state in states):
        return f"connector {settings.connector} and its tasks are {states}"
    return "the connector is RUNNING: the table has no new changes"
