"""Logging of every program: one line per event, key=value on a terminal, JSON elsewhere, on stderr.

No user, amount or reason is logged at INFO.
"""

import logging
import sys
from typing import Any

import structlog


def configure(component: str, **context: str) -> Any:
    """Set logging up for this process and return the logger of its component."""
    renderer: Any = structlog.processors.JSONRenderer()
    if sys.stderr.isatty():
        renderer = structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "component", "event"])
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    return structlog.get_logger(component=component, **{key: value for key, value in context.items() if value})
