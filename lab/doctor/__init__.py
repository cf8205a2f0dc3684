"""Walks the hops from the table to the alerts, names the first broken one and what mends it."""
