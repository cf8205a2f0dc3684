"""What is found of one hop."""

import msgspec


class Hop(msgspec.Struct, frozen=True):
    """One hop: whether it holds, what was seen, and what to do when it does not."""

    name: str
    ok: bool
    evidence: str
    mend: str = ""
