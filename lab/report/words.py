"""Figures as people read them."""

from collections.abc import Mapping, Sequence

SECOND = 1_000.0  # milliseconds
TENTHS_BELOW_MS, WHOLE_SECONDS_FROM_MS = 10.0, 100_000.0
UNKNOWN = "-"


def duration(ms: float | None) -> str:
    """Milliseconds in the unit that fits: 8.2 ms, 24 ms, 3.42 s, 46.2 s, 1 min 49 s."""
    if ms is None:
        return UNKNOWN
    size = abs(ms)
    if size < TENTHS_BELOW_MS:
        return f"{ms:.1f} ms"
    if size < SECOND:
        return f"{ms:.0f} ms"
    if size < WHOLE_SECONDS_FROM_MS:
        return f"{ms / SECOND:.2f} s" if size < TENTHS_BELOW_MS * SECOND else f"{ms / SECOND:.1f} s"
    minutes, seconds = divmod(round(ms / SECOND), 60)
    return f"{minutes} min {seconds} s"


def tick(ms: float) -> str:
    """A power of ten of milliseconds, for an axis."""
    return f"{ms:g} ms" if ms < SECOND else f"{ms / SECOND:,.0f} s"


def whole(number: float | None) -> str:
    """With thousands set apart."""
    return UNKNOWN if number is None else f"{number:,.0f}"


def decimal(number: float | None) -> str:
    """With one decimal."""
    return UNKNOWN if number is None else f"{number:,.1f}"


def cents(amount: int) -> str:
    """Whole cents as people write money: 1,234.05."""
    return f"{'-' * (amount < 0)}{abs(amount) // 100:,}.{abs(amount) % 100:02d}"


def percent(share: float | None) -> str:
    """A share of 1 with one decimal: 12.5 %; small ones with two digits that count."""
    if share is None:
        return UNKNOWN
    return f"{100 * share:.1f} %" if share == 0 or share >= 0.01 else f"{100 * share:.2g} %"  # noqa: PLR2004


def times(ratio: float) -> str:
    """A ratio: 1.4x, 28x, 1,930x."""
    return f"{ratio:,.1f}x" if ratio < TENTHS_BELOW_MS else f"{ratio:,.0f}x"


def named(figures: Mapping[str, object], transactions: Mapping[str, Sequence[int]]) -> str:
    """Figures by name, each with the transactions behind it: agent spending 1 (transaction 17)."""
    return ", ".join(f"{name} {value}{_behind(transactions.get(name, ()))}" for name, value in figures.items())


def _behind(transactions: Sequence[int]) -> str:
    if not transactions:
        return ""
    ids = ", ".join(str(one) for one in transactions)
    return f" (transaction{'s' if len(transactions) > 1 else ''} {ids})"


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "none"
