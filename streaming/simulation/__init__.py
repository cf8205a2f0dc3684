"""Real agents on a fake log and a fake alert store, turned by a seeded scheduler: no service, no thread, no waiting.

twinpath simulate --seeds 10000
python -m streaming.simulation --from 1 --count 10    # the same for programs: each seed's outcome as a line of JSON
"""
