"""What the default settings reach on real logs of different kinds, beside the best simple method of each.

    RECSYS_TEXT_DATA=FOLDER python benchmarks/zoo.py [--only NAME,...] [--quick] [--out FILE.parquet] [--work var/zoo]

retail     purchases of a wholesaler's shop (zoo/online_retail), 5 to 9 December 2011
quantum    questions, answers and comments (zoo/stackexchange_quantum), the newest 13 weeks
caixin     clicks on a news site, 18 to 20 March 2014
goodbooks  each reader's last ten liked books; the log has an order, and benchmarks/logs.py lays a clock
citeulike  ten saved papers of each reader, in an order that is drawn

Each log is a config file with its sources, the number of its test windows and nothing else. It is extracted and trained
by the command line, which is timed. The table has the nDCG@10 of the score as published, of the best simple method
(popularity, repeat count, BM25, EASE, ALS, TF-IDF, recency and the like, all as published too), and the paired gain
with its 95% interval over users, for all impressions and in the slices of cold starts. --out: the whole evaluation
tables, with the columns of `recsys-text evaluate` and log, seconds and peak_mb.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import mlflow
import polars as pl
from mlflow import MlflowClient
from rich.console import Console
from rich.table import Table

from benchmarks import logs
from benchmarks.quality_lib.report import machine
from recsys_text.config import load
from recsys_text.evaluation.measure import FRESH, HEADLINE, SCORE, WITHOUT_TEXT, baselines
from recsys_text.evaluation.table import gain, interval, short
from recsys_text.toml import dumps

#: Slices that a row is printed of, where they have as many impressions.
SLICES, FEWEST = ("all", "no_history", "never_clicked"), 100


@dataclass(frozen=True, kw_only=True)
class Split:
    """Where a log lies, and what is trained and tested on: [first, start) and [start, end), in daily windows.

    The sources are as in a config file, with paths below the data folder or, where `clocked`, below the work folder.
    """

    items: dict[str, object]
    events: dict[str, object]
    first: date
    start: date
    end: date
    windows: int
    clocked: bool = False


LOGS = {
    "retail": Split(
        items={"path": "zoo/online_retail/items.parquet"},
        events={"path": "zoo/online_retail/events.parquet"},
        first=date(2010, 12, 1), start=date(2011, 12, 5), end=date(2011, 12, 10), windows=5,
    ),
    "quantum": Split(
        items={"path": "zoo/stackexchange_quantum/items.parquet"},
        events={"path": "zoo/stackexchange_quantum/events.parquet"},
        first=date(2018, 3, 12), start=date(2018, 6, 2), end=date(2018, 9, 2), windows=91,
    ),
    "caixin": Split(
        items={"path": "caixin/news.parquet", "columns": {"item_id": "news_id"}},
        events={
            "path": "caixin/clicks.parquet",
            "columns": {"item_id": "news_id", "occurred_at": "read_at"},
            "values": {"event_type": "click"},
        },
        first=date(2014, 2, 28), start=date(2014, 3, 18), end=date(2014, 3, 21), windows=3,
    ),
    **{
        name: Split(
            items={"path": f"{name}-items.parquet"},
            events={"path": f"{name}-events.parquet"},
            first=first, start=date(2019, 12, 31), end=date(2020, 1, 1), windows=1, clocked=True,
        )
        for name, first in (("goodbooks", date(2019, 12, 13)), ("citeulike", date(2019, 11, 21)))
    },
}  # fmt: skip
#: Clicks of a user in a window of a log whose clock is laid.
PER_WINDOW = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAME,...", type=lambda names: names.split(","), default=list(LOGS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", type=Path, default=Path("var/zoo"))
    chosen = parser.parse_args()
    if "RECSYS_TEXT_DATA" not in os.environ:
        parser.error("RECSYS_TEXT_DATA is not set; name the folder that holds zoo, caixin and the other logs")
    if unknown := [name for name in chosen.only if name not in LOGS]:
        parser.error(f"there is no log '{unknown[0]}'; choose from {', '.join(LOGS)}")
    data, out = Path(os.environ["RECSYS_TEXT_DATA"]).absolute(), Console(width=None if sys.stdout.isatty() else 160)
    found = []
    for name in chosen.only:
        config = prepared(name, LOGS[name], data, chosen.work.absolute())
        found.append(trained(name, config, LOGS[name], quick=chosen.quick))
        if chosen.out:
            pl.concat(found).write_parquet(chosen.out)
    show(out, pl.concat(found))


def prepared(name: str, split: Split, data: Path, work: Path) -> Path:
    """The config file of a log whose windows are in its lake."""
    folder = data
    if split.clocked:
        folder = work
        write_clocked(name, data, work)
    sources = {
        table: {"kind": "file", **source, "path": str(folder / str(source["path"]))}
        for table, source in (("items", split.items), ("events", split.events))
    }
    project = {"name": name, "root": str(work / name)}
    config = work / f"{name}.toml"
    work.mkdir(parents=True, exist_ok=True)
    config.write_text(dumps({"project": project, "sources": sources, "evaluation": {"windows": split.windows}}))
    command(config, "extract", "--from", split.first.isoformat(), "--to", split.end.isoformat())
    return config


def write_clocked(name: str, data: Path, work: Path) -> None:
    """Lays a clock over a log that has an order alone, and writes its tables."""
    folders = {"goodbooks": "goodbooks10k_sample", "citeulike": "citeulike_a"}
    known: logs.Clicks = getattr(logs, name)(data / folders[name])
    work.mkdir(parents=True, exist_ok=True)
    known.items.select("item_id", title="text").write_parquet(work / f"{name}-items.parquet")
    logs.clocked(known.items, known.clicks, PER_WINDOW).events.write_parquet(work / f"{name}-events.parquet")


def trained(name: str, config: Path, split: Split, *, quick: bool) -> pl.DataFrame:
    """The evaluation table of a training, with the time that it took and the memory that it needed."""
    began = time.monotonic()
    peak_mb = command(config, "train", "--cutoff", split.start.isoformat(), *(["--quick"] if quick else []))
    seconds = time.monotonic() - began
    settings = load(config)
    # Given to each call: set for the process, it would go on to the trainings of the other logs.
    place = settings.tracking_uri
    versions = MlflowClient(place).search_model_versions(f"name='{name}'")
    newest = max(versions, key=lambda version: int(version.version))
    kept = mlflow.artifacts.download_artifacts(
        run_id=newest.run_id, artifact_path="evaluation.json", tracking_uri=place
    )
    measured = json.loads(Path(kept).read_text())
    table = pl.DataFrame(measured["data"], schema=measured["columns"], orient="row", infer_schema_length=None)
    return table.with_columns(log=pl.lit(name), seconds=pl.lit(seconds), peak_mb=pl.lit(peak_mb))


def command(config: Path, step: str, *options: str) -> float:
    """Runs a step of the command line and returns the most memory that it held, in MB; ends the program where it fails.

    What it says is kept beside the config file.
    """
    words = [str(Path(sys.executable).with_name("recsys-text")), step, "--config", str(config), *options]
    said = config.with_suffix(f".{step}.log")
    with said.open("w") as to:
        process = subprocess.Popen(words, stdout=to, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)  # of this process alone
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 4):  # 4: registered, and the gate said no
        sys.exit(f"{step} of {config} failed:\n{said.read_text()[-2000:]}")
    return usage.ru_maxrss / 1024


def show(out: Console, table: pl.DataFrame) -> None:
    shown = Table(title="nDCG@10 of the score as published, by the default settings", title_justify="left")
    for heading in (
        "log",
        "slice",
        "impr.",
        "score",
        "best simple method",
        "",
        "gain",
        "without text",
        "fresh",
        "s",
        "MB",
    ):
        shown.add_column(heading, justify="left" if heading in ("log", "slice", "best simple method") else "right")
    for (name,), of_log in table.group_by("log", maintain_order=True):
        for part in SLICES:
            rows = {
                row["method"]: row
                for row in of_log.filter((pl.col("slice") == part) & (pl.col("metric") == HEADLINE)).iter_rows(
                    named=True
                )
            }
            if SCORE not in rows or rows[SCORE]["impressions"] < FEWEST:
                continue
            best = baselines(of_log, part).sort("value", descending=True, nulls_last=True).row(0, named=True)
            shown.add_row(
                str(name), part, f"{rows[SCORE]['impressions']:,}", interval(rows[SCORE]), best["method"],
                short(best["value"]), gain(best), gain(rows[WITHOUT_TEXT]), short(rows[FRESH]["value"]),
                f"{of_log['seconds'][0]:.0f}", f"{of_log['peak_mb'][0]:,.0f}",
            )  # fmt: skip
    out.print(shown)
    out.print(machine(), soft_wrap=True)


if __name__ == "__main__":
    main()
