"""The README's table of hops, made of the doctor's checks: `python -m lab.doctor.readme` writes it anew.

A test holds the README against it, so that no hop, no cause and no mend is missing there.
"""

import re

from lab.doctor.checks import CHECKS
from twinpath.detection.rules import RULES
from twinpath.settings import ROOT

README = ROOT / "README.md"
BEGIN, END = "<!-- made of lab/doctor/checks.py by `make docs` -->\n", "<!-- end of what is made -->\n"


def table() -> str:
    """One row for each check; the checks of the rules and of Airflow's components share a row each."""
    rows: dict[str, tuple[str, str]] = {}
    for check in CHECKS:
        name = re.sub(rf"\b({'|'.join(RULES)})$", "*rule*", check.name)
        name = re.sub(r"^airflow-.*", "airflow-*component*", name)
        rows[name] = (check.breaks, check.mend)
    lines = ["| hop | named when | mend |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {breaks} | {mend} |" for name, (breaks, mend) in rows.items())]) + "\n"


def made(text: str) -> str:
    """The README with the table between its two marks made anew; ValueError when a mark is missing."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{README}: found no {BEGIN.strip()} with {END.strip()} after it, wanted both")
    return f"{before}{BEGIN}{table()}{END}{after}"


def main() -> None:
    """Write the README anew."""
    README.write_text(made(README.read_text()))


if __name__ == "__main__":
    main()
