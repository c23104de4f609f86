"""The whole pipeline on the books sample, driven by a real Airflow from nothing, and what came of it.

    python scripts/demo.py

Extracts the history but for its last window in one run; the assets then start training, the gate and publishing. The
last window is backfilled as a partition of its own; publishing and monitoring, which measures the published scores on
it, must follow, and training must find that it is not due. Its config is that of the example at a size of minutes.
Starts from empty folders under var/, leaves its results there and no process behind. Takes as long as anything
progresses.
"""

import os
import shutil
import signal
import sys
import time
from typing import Any

import airflow_stack
import mlflow
import polars as pl
import processes
from mlflow import MlflowClient
from processes import ROOT
from rich.table import Table

from recsys_text import terminal
from recsys_text.cli.app import out
from recsys_text.config import Settings, load
from recsys_text.errors import RecsysTextError
from recsys_text.evaluation.table import render, verdict
from recsys_text.lake.store import Lake
from recsys_text.steps.alerts import alerts
from recsys_text.steps.inputs import VIEW, the_store
from recsys_text.steps.store import versions

CONFIG = ROOT / "examples" / "books" / "demo.toml"
START, LAST = "2017-08-15", "2017-08-29"
SHOWN = 10


def drive(settings: Settings) -> None:
    """From empty folders to published and measured scores."""
    started = time.monotonic()
    name = settings.project.name
    for folder in (settings.project.root, airflow_stack.HOME):
        shutil.rmtree(folder, ignore_errors=True)

    def say(line: str, *more: str) -> None:
        print(f"{time.monotonic() - started:5.0f} s  {line}", *(f"{'':9}{each}" for each in more), sep="\n", flush=True)

    airflow = airflow_stack.Airflow(say)
    try:
        airflow.start(str(CONFIG), [name])
        airflow.say(f"{name}_extract is triggered for all windows from {START} to before {LAST}")
        airflow.trigger(f"{name}_extract", {"from": START, "to": LAST})
        airflow.wait([(f"{name}_train", "gate"), (f"{name}_publish", "commit")])
        history = Lake(settings.lake, project=settings.project.name).keys("events")
        airflow.backfill(f"{name}_extract", LAST, LAST)
        airflow.wait([(f"{name}_monitor", "monitor"), (f"{name}_publish", "commit")])
        check_backfill(airflow, settings, history)
    finally:
        airflow.stop()


def check_backfill(airflow: airflow_stack.Airflow, settings: Settings, history: list[str]) -> None:
    """Raises StackError unless the backfill brought the last window alone, and each DAG behind it ran once for it."""
    name = settings.project.name
    runs = {step: airflow.runs(f"{name}_{step}") for step in airflow_stack.STEPS}
    backfilled = [key for kind, key in runs["extract"] if kind == "backfill"]
    followed = {step: [key for _, key in runs[step]].count(LAST) for step in ("train", "publish", "monitor")}
    new = sorted(set(Lake(settings.lake, project=settings.project.name).keys("events")) - set(history))
    if backfilled != [LAST] or new != [LAST] or set(followed.values()) != {1}:
        raise airflow_stack.StackError(
            f"the backfill of {LAST} ran for {backfilled}, brought the windows {new}, and after it ran {followed}"
        )
    airflow.say(f"The backfill brought {LAST} alone; {', '.join(followed)} ran once for it")


def summary(settings: Settings) -> None:
    """What the runs left behind, read from where they left it."""
    lake = Lake(settings.lake, project=settings.project.name)
    keys = lake.keys("events")  # a refused window may have its items already
    # How many items left is told by the run that found it out, and kept nowhere.
    written = {table: {key: lake.manifest(table, key) | {"left": 0} for key in keys} for table in ("items", "events")}
    terminal.extracted(out, {"tables": written}, grace=settings.sources.items.grace)

    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    mlflow.set_tracking_uri(settings.tracking_uri)
    model = MlflowClient().get_model_version_by_alias(settings.project.name, "champion")
    measured = mlflow.artifacts.load_dict(f"runs:/{model.run_id}/evaluation.json")
    table = pl.DataFrame(measured["data"], schema=measured["columns"], orient="row", infer_schema_length=None)
    out.print(render(table), soft_wrap=True)
    out.print(verdict(table))
    out.print(f"\nModel '{model.name}' version {model.version} is champion: {model.tags['gate.reason']}\n")

    terminal.versions(out, {VIEW: versions(settings)[VIEW]})
    quality = lake.read("quality", [LAST]).filter(slice="all").to_dicts()
    terminal.monitored(
        out,
        {
            "rows": quality,
            "window": LAST,
            "version": quality[0]["version"],
            "reason": "",
            "alerts": alerts(settings, LAST),
        },
    )
    one_user(settings, lake)


def one_user(settings: Settings, lake: Lake) -> None:
    """The history of the user who clicked last, beside the best of what was published for them."""
    titles: dict[str, str] = dict(lake.items(lake.keys("items")).select("item_id", "title").iter_rows())
    clicks = lake.read("events").filter(pl.col("event_type").cast(pl.String) == "click").sort("occurred_at")
    user = clicks["user_id"][-1]
    history = clicks.filter(pl.col("user_id") == user)["item_id"].to_list()[-SHOWN:]
    with the_store(settings) as store:
        row: dict[str, Any] | None = store.reader(VIEW).get(user)
    assert row is not None  # every user of the lake has a list
    shown = Table(title=f"User {user}", title_justify="left")
    for heading in ("clicked, oldest first", "ranked for this user", "score"):
        shown.add_column(heading, justify="right" if heading == "score" else "left", max_width=32, no_wrap=True)
    for place in range(SHOWN):
        clicked = titles[history[place]] if place < len(history) else ""
        known = place < len(row["item_id"])
        ranked, score = (titles[row["item_id"][place]], f"{row['score'][place]:.3f}") if known else ("", "")
        shown.add_row(clicked, ranked, score)
    out.print(shown)


def main() -> None:
    if any(processes.alive(processes.recorded(name) or {"pid": -1}) for name in processes.names()):
        sys.exit("demo: the stack is running; `make down` ends it")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    settings = load(CONFIG)
    try:
        drive(settings)
        summary(settings)
    except (airflow_stack.StackError, RecsysTextError) as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    out.print(
        f"\nThe model has learned from {settings.training.max_clicks:,} clicks, so that this takes minutes: "
        f"{CONFIG.relative_to(ROOT)} says what is small; recsys.toml beside it learns from more."
    )
    out.print(f"Everything is under {settings.project.root.resolve()}.")
    out.print("Next: `make up` shows it in Airflow, MLflow and the ranking service; README.md brings in your own data.")


if __name__ == "__main__":
    main()
