"""The agent path: standalone consumers of the change log, one process and one consumer group per rule."""
