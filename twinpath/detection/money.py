"""Cents as text: one form for every reason and report."""


def money(cents: int) -> str:
    """`123456` -> `"1,234.56"`; negative amounts keep their sign."""
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100:,}.{abs(cents) % 100:02d}"
