"""The fault matrix: one registry of drills, one runner, one table; the faults themselves by what they break."""
