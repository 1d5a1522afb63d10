"""Measure models with samcli and with other tools in turn: same weights, pixels, boxes and grid.

    python tests/benchmarks/race.py PHOTOS --models sam_b.pt --random-weights [--only segment-anything,ultralytics]

Each tool with each model has a process of its own, which loads once and warms up. In each round each task on each
image is done by one tool after the other, another tool first in each round. Judge by the ratios.
"""

from __future__ import annotations

from functools import partial

import charts
from peers import PEERS, check_peer, peer_setup
from settings import Call, read_call

from samcli.bench.comparison import Comparison, ModelFigures, compare, words
from samcli.cli.report.benchmark import new_console, new_table, print_comparison


def race(call: Call) -> Comparison:
    """Measure the models of the call by samcli and the peers that it names, or all of them.

    Raises:
        UsageError: a peer is unknown or not installed, or a model is not here.
    """
    peers = words(call.settings.only, PEERS, "--only") or list(PEERS)
    for peer in peers:
        check_peer(peer)
    others = [partial(peer_setup, tool=peer) for peer in peers]
    return compare(call.images, call.settings, call.watch, others)


def print_ratios(models: list[ModelFigures]) -> None:
    """Print how many times as long the others took."""
    table = new_table("times as fast as", "task", "min", "median", "max")
    for one in models:
        for tool, by_task in one.ratios.items():
            for task, spread in by_task.items():
                figures = (f"{value:.2f}" for value in (spread.min, spread.median, spread.max))
                table.add_row(f"{tool}, {one.model.name}", task, *figures)
    new_console().print(table)


def main(call: Call) -> None:
    """Run the race and print it."""
    result = race(call)
    call.keep(result.as_dict())
    if call.chart:
        charts.draw_comparison(result, call.chart)
    print_comparison(result)
    print_ratios(result.models)


if __name__ == "__main__":
    main(read_call(__doc__))
