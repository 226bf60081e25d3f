"""Explores the large worlds and shows how far it is: `make test-model`."""

import argparse
import sys
from collections.abc import Sequence
from time import monotonic

from model.checker import Exploration, Progress, explore
from model.rules import Rules
from model.scenarios import LARGE, PLANTS, SMALL


def main(arguments: Sequence[str] | None = None) -> int:
    """Explore what is asked for; returns the exit status, 1 when a promise breaks that should hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="the small worlds, as the tests do")
    parser.add_argument("--plants", action="store_true", help="tell how each protection is missed when it is left out")
    chosen = parser.parse_args(arguments)
    if chosen.plants:
        for plant in PLANTS:
            _say(explore(plant.rules).story() + "\n\n")
        return 0
    found = [_explored(rules) for rules in (SMALL if chosen.small else LARGE)]
    return int(any(exploration.broken for exploration in found))


def _explored(rules: Rules) -> Exploration:
    exploration = explore(rules, _shown_on_one_line(rules.name))
    _say(f"\r{exploration.story()}, {exploration.seconds:.0f} s of CPU\n")
    return exploration


def _shown_on_one_line(name: str) -> Progress:
    began = monotonic()

    def show(worlds: int, waiting: int, depth: int) -> None:
        elapsed_s = monotonic() - began
        _say(f"\r{name}: {worlds} worlds, {waiting} waiting, {depth} moves deep, {elapsed_s:.0f} s")

    return show


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
