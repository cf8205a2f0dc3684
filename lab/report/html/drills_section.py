"""The section on drills: what each fault did to the line, as far as the checkout holds results."""

from lab.drills.matrix.page import COLUMNS
from lab.report.html.blocks import Section, Table, Text
from lab.report.saved_drills import AGAIN, FOLDERS, MAKE_THEM, Drills
from lab.report.words import listed

ID, TITLE = "drills", "Drills: what faults did to the line"


def section(drills: Drills) -> Section:
    """By fault, then each drill with its command; without results, the command that makes them."""
    if not drills.results:
        said = f"No result of a drill lies in {listed(FOLDERS)}."
        commands = [("This makes them:", MAKE_THEM)]
        return Section(ID, TITLE, texts=[Text([said])], commands=commands, notes=drills.left_out())
    failed = drills.not_passed()
    faults = len(drills.by_fault())
    said = (
        "Not of this run: each fault struck a line of its own on the real services, under eight awkward writers, and "
        f"everything was compared afterwards. Of {faults} faults "
        f"{'every one passed' if not failed else f'{faults - len(failed)} passed, {listed(failed)} did not'}."
    )
    rows = [[f"✘ {name}" if name in failed else name, *cells] for name, *cells in drills.rows()]
    tables = [
        Table("Faults, over all their seeds", COLUMNS, rows, texts=3),
        Table(
            f"The {len(drills.results)} drills, each with the command that runs it again",
            AGAIN,
            drills.again(),
            texts=0,
            folded=True,
        ),
    ]
    return Section(ID, TITLE, texts=[Text([said])], tables=tables, notes=drills.notes())
