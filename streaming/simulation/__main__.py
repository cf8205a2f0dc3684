"""Runs seeds for another program: the outcome of each is a line of JSON on standard output."""

import argparse
import gc
import sys

import msgspec

from streaming.simulation.scheduler import Simulation


def main() -> None:
    """Every `--step`-th seed, `--count` of them; `twinpath simulate` starts one such process for each core."""
    parser = argparse.ArgumentParser(prog="python -m streaming.simulation", description="Run seeds of the simulation.")
    parser.add_argument("--from", type=int, required=True, dest="first", help="the first seed")
    parser.add_argument("--count", type=int, default=1, help="how many seeds")
    parser.add_argument("--step", type=int, default=1, help="from one seed to the next")
    parser.add_argument("--trace", action="store_true", help="with everything that happened, call by call")
    given = parser.parse_args()
    gc.freeze()  # what was imported stays: no collection walks it again
    gc.set_threshold(50_000, 20, 100)
    for number in range(given.count):
        one = Simulation(given.first + number * given.step)
        outcome = one.run()
        line = outcome._asdict() | {"said": str(outcome), "trace": one.trace if given.trace else []}
        sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
