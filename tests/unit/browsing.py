"""A page as headless Chromium sees it: the network log and the console of the real page, sizes by a script of ours."""

import html
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ALONE = (
    "--headless",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # its own errands reach nobody
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-gpu",
    "--no-first-run",
    "--virtual-time-budget=1000",
)
OF_THE_BROWSER = "not an origin"  # the initiator of its own errands in the network log
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
MEASURE = """
<script>
const shown = (one) => one.getClientRects().length > 0;
const all = (what) => [...document.querySelectorAll(what)].filter(shown);
const top_of = (one) => one ? Math.round(one.getBoundingClientRect().bottom) : null;
const styles = getComputedStyle(document.body);
const found = {
  inner: innerWidth, width: document.documentElement.scrollWidth, paper: styles.backgroundColor, ink: styles.color,
  drawings: all("svg.chart").length, verdict: top_of(document.querySelector(".verdict")),
  tiles: top_of(document.querySelector(".tiles")), text: Math.min(...all("svg.chart text").map(
    (one) => one.getBoundingClientRect().height)),
  outside: all("svg.chart text").filter((one) => {
    const box = one.getBoundingClientRect(), page = one.ownerSVGElement.getBoundingClientRect();
    return box.left < page.left - 1 || box.right > page.right + 1 || box.bottom > page.bottom + 1;
  }).map((one) => one.textContent),
  stops: all("a, summary, [tabindex]").map((one) => one.tabIndex),
};
parent.postMessage(JSON.stringify(found), "*");
</script>
"""


FRAME = """<!doctype html>
<meta name="color-scheme" content="{scheme}">
<script>onmessage = (said) => {{ document.body.textContent = said.data; }};</script>
<body><iframe src="measured.html" style="width: {width}px; height: 900px; border: 0"></iframe></body>
"""


@dataclass(frozen=True)
class Seen:
    """The DOM at the end, what the console said, and the addresses that the page asked for beyond files."""

    dom: str
    console: list[str]
    requests: list[str]


def browse(page: Path, folder: Path, *, dark: bool = False) -> Seen:
    """Open a page with a profile of its own under `folder`."""
    log = folder / "net.json"
    command = [
        str(CHROMIUM), *ALONE, *(["--no-sandbox"] if os.geteuid() == 0 else []),
        f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--enable-logging=stderr",
        "--window-size=1500,1000",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return Seen(done.stdout, console, _requests(json.loads(log.read_text())))


def _requests(log: dict[str, Any]) -> list[str]:
    asked = [event["params"] for event in log["events"] if "initiator" in event.get("params", {})]
    urls = {one["url"] for one in asked if one["initiator"] != OF_THE_BROWSER and "url" in one}
    return sorted(url for url in urls if not url.startswith(("file:", "data:")))


def measured(page: Path, folder: Path, *, width: int, dark: bool = False) -> dict[str, Any]:
    """Sizes and colours of a copy of the page that lets our script run, in a frame of that width: a window has a
    least width, a frame has none."""
    copy = folder / "measured.html"
    copy.write_text(POLICY.sub("", page.read_text()).replace("</body>", f"{MEASURE}</body>"))
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(width=width, scheme="dark" if dark else "light"))
    dom = browse(frame, folder, dark=dark).dom
    (found,) = re.findall(r"<body>(\{.*\})</body>", dom.replace("\n", ""))
    result: dict[str, Any] = json.loads(html.unescape(found))
    return result
