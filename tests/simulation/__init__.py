"""Real agents on a fake log and a fake alert store, turned by a seeded scheduler: no service, no thread, no waiting."""
