"""Drills: load the line, break something on purpose, fence, compare, give a verdict."""
