"""Options that the jobs share."""

import argparse

from twinpath.detection.rules import RULES


def rule_names(text: str) -> list[str]:
    """Names of rules, separated by commas."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in RULES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted some of: {', '.join(RULES)}")
    return names
