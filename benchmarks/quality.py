"""Ranking quality on three real logs, in one table: ours, existing methods, and what is to be reached.

    RECSYS_TEXT_DATA=FOLDER python benchmarks/quality.py [--only NAME,...] [--seeds 3] [--out FILE.parquet]
        [--ablation] [--cutoff T] [--cold-modulus 10] [--cold-residue 3] [--cases FILE] [--cache var/quality]

caixin           the fixed cases of 18 to 20 March 2014, by bundles of the clicks before the cutoff
caixin-rolling   the day after each of five cutoffs, and their mean; with --cutoff, the day after that one
goodbooks        each user's last 10 liked books among all books that the user had not liked before
goodbooks-cold, citeulike-cold
                 items whose id leaves the residue: no click on them and none of their texts is in the training

Metrics are averaged over the seeds training.seed = 7, 8, ...; intervals are 95% bootstrap intervals over users of these
averages. Settings are the sources in benchmarks/NAME.toml, what the logs say, and what environment variables override.
Every step is kept under --cache by all that it depends on (data, settings, seed, code): what was stopped goes on where
it was, and a second run prints at once. --ablation compares the text model with and without convolutions and RNN
instead, on five seeds, also on retail and quantum. The columns of --out: dataset, protocol, model, metric, value, low,
high, seeds.
"""

import argparse
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import polars as pl
from rich.console import Console

from benchmarks.quality_lib import ablation, caixin, cold, goodbooks, report
from benchmarks.quality_lib.cache import Cache
from benchmarks.quality_lib.training import Run
from benchmarks.quality_lib.values import SCHEMA, Row
from recsys_text.steps.inputs import write_parquet

Protocol = Callable[[Run], list[Row]]
PROTOCOLS: dict[str, Protocol] = {
    "caixin": caixin.fixed_cases,
    "caixin-rolling": caixin.rolling,
    "goodbooks": goodbooks.all_items,
    "goodbooks-cold": partial(cold.cold_items, name="goodbooks"),
    "citeulike-cold": partial(cold.cold_items, name="citeulike"),
}
ABLATIONS: dict[str, Protocol] = {
    **{name: partial(ablation.of_zoo, name=name) for name in ablation.ZOO},
    "caixin": ablation.dev_cases,
    "goodbooks": ablation.all_books,
    "goodbooks-cold": partial(ablation.cold_items, name="goodbooks"),
    "citeulike-cold": partial(ablation.cold_items, name="citeulike"),
}
FIRST_SEED = 7


def options() -> argparse.Namespace:
    """What the command line says. Ends the program where it makes no sense."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAME,...", type=lambda names: names.split(","))
    parser.add_argument("--ablation", action="store_true")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--cutoff", type=datetime.fromisoformat)
    parser.add_argument("--cold-modulus", type=int, default=10)
    parser.add_argument("--cold-residue", type=int, default=3)
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("var/quality"))
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    if "RECSYS_TEXT_DATA" not in os.environ:
        parser.error(
            "RECSYS_TEXT_DATA is not set; name the folder that holds caixin, goodbooks10k_sample and citeulike_a"
        )
    protocols = ABLATIONS if chosen.ablation else PROTOCOLS
    chosen.only = chosen.only or list(protocols)
    if unknown := [name for name in chosen.only if name not in protocols]:
        parser.error(f"there is no '{unknown[0]}'; choose from {', '.join(protocols)}")
    if not 0 <= chosen.cold_residue < chosen.cold_modulus:
        parser.error(f"no id leaves {chosen.cold_residue} divided by {chosen.cold_modulus}; give a smaller residue")
    chosen.seeds = chosen.seeds or (5 if chosen.ablation else 3)
    if chosen.cutoff is not None and chosen.cutoff.tzinfo is None:
        chosen.cutoff = chosen.cutoff.replace(tzinfo=UTC)
    data = Path(os.environ["RECSYS_TEXT_DATA"])
    chosen.cases = chosen.cases or data.parent / "benchmarks" / "caixin_dev_impressions.parquet"
    if "caixin" in chosen.only and not chosen.cases.exists():
        parser.error(
            f"there are no cases at {chosen.cases}; name their file with --cases, or leave 'caixin' out of --only"
        )
    return chosen


def main() -> None:
    chosen = options()
    run = Run(
        data=Path(os.environ["RECSYS_TEXT_DATA"]),
        cache=Cache(root=chosen.cache),
        seeds=tuple(range(FIRST_SEED, FIRST_SEED + chosen.seeds)),
        cases=chosen.cases,
        cutoff=chosen.cutoff,
        modulus=chosen.cold_modulus,
        residue=chosen.cold_residue,
    )
    out, table = Console(width=None if Console().is_terminal else 160), pl.DataFrame(schema=SCHEMA)
    for name in chosen.only:
        found = (ABLATIONS if chosen.ablation else PROTOCOLS)[name](run)
        table = pl.concat([table, pl.DataFrame(found, schema=SCHEMA, orient="row")])
        if chosen.out:
            write_parquet(table, chosen.out)
    report.show(out, table, run.cache.used)
    if chosen.out:
        out.print(f"Wrote {chosen.out}", soft_wrap=True)


if __name__ == "__main__":
    main()
