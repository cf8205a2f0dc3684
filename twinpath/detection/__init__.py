"""Pure detection: no I/O, no clock, no environment, no logging.

Everything here is a function of the change log alone, so that every path that folds the same log
raises the same alerts.
"""
