"""Health check of a container: does this address say that it is well? Standard library only.

python docker/health.py http://127.0.0.1:9301/healthz
python docker/health.py http://127.0.0.1:8080/api/v2/monitor/health --part scheduler

Without --part status 200 will do; with it the JSON body must call that part healthy (Airflow answers 200 in any case).
Exit status 0: well; 1: not, with the reason on standard error.
"""

import argparse
import json
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 5.0


def problem(url: str, part: str | None) -> str:
    """Why it is not well; empty when it is."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 (an address of compose.yaml)
            body = answer.read()
    except (urllib.error.URLError, OSError) as error:
        return f"{url}: {error}"
    if part is None:
        return ""
    try:
        found = json.loads(body)[part]["status"]
    except (ValueError, KeyError, TypeError):
        return f"{url}: its body has no status of {part}"
    return "" if found == "healthy" else f"{part} is {found}, wanted healthy"


def main(arguments: list[str] | None = None) -> int:
    """Ask once."""
    parser = argparse.ArgumentParser(description="Health check of a container.")
    parser.add_argument("url")
    parser.add_argument("--part", help="the part of a JSON body that must be healthy")
    given = parser.parse_args(arguments)
    found = problem(given.url, given.part)
    if found:
        sys.stderr.write(f"{found}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
