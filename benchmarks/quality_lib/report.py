"""The table that is printed: our figures beside known ones and those to reach, and what they cost."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import torch
from rich.console import Console
from rich.table import Table

#: Figures of existing systems on the same protocols, and what ours are to reach; see the file's columns.
KNOWN = Path(__file__).with_name("known.csv")
HEADLINE = "ndcg@10"
# Metrics of a protocol up to which each has its interval beside it.
_ROOM = 2


def show(out: Console, table: pl.DataFrame, used: Sequence[dict[str, Any]]) -> None:
    """A line for each model of a protocol, beside what is known of it, and then what each step of the work cost.

    The intervals are those of HEADLINE and of a protocol's other metrics where there is room; all are in the table.
    """
    known = pl.read_csv(KNOWN, schema_overrides={"existing": pl.Float64, "reach": pl.Float64})
    whole = table.join(known, on=["dataset", "protocol", "model", "metric"], how="left", maintain_order="left")
    for (dataset, protocol), part in whole.group_by("dataset", "protocol", maintain_order=True):
        shown = Table(title=f"{dataset}, {protocol}", title_justify="left")
        metrics = part["metric"].unique(maintain_order=True).to_list()
        bounded = metrics if len(metrics) <= _ROOM else [HEADLINE]
        for name in ("model", *metrics, "seeds", "existing", "to reach"):
            shown.add_column(name, justify="left" if name == "model" else "right", no_wrap=name in metrics)
        for (model,), lines in part.group_by("model", maintain_order=True):
            of = {line["metric"]: line for line in lines.iter_rows(named=True)}
            figures = [_figure(of[metric], metric in bounded) if metric in of else "" for metric in metrics]
            beside = [
                ", ".join(f"{metric} {line[name]:.4g}" for metric, line in of.items() if line[name] is not None)
                for name in ("existing", "reach")
            ]
            shown.add_row(str(model), *figures, str(lines["seeds"].max()), *beside)
        out.print(shown)
    costs = Table(title="What it cost, when it was computed", title_justify="left")
    for name in ("step", "cutoff", "seed", "date", "seconds", "of them", "samples/s", "peak MiB"):
        costs.add_column(name, justify="left" if name in ("step", "of them") else "right")
    for about in {about["key"]: about for about in used}.values():
        stages = [f"{name.lower()} {seconds:.0f}" for name, seconds in about.get("stages", {}).items() if seconds >= 1]
        speed = about.get("samples_per_second")
        seed = about["depends"].get("settings", {}).get("training", {}).get("seed", "")
        cutoff = (about["depends"].get("cutoff") or about["depends"].get("day after", "")).partition("T")[0]
        costs.add_row(
            about["step"], cutoff, str(seed), about["at"], f"{about['seconds']:.0f}", ", ".join(stages),
            "" if speed is None else f"{speed:,.0f}", f"{about['peak_mib']:,.0f}",
        )  # fmt: skip
    out.print(costs)
    out.print(machine(), soft_wrap=True)


def machine() -> str:
    """The processor, the versions and the date."""
    name = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            name = line.partition(":")[2].strip()
            break
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}, {torch.get_num_threads()} thread(s)"
    return f"{datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores of {name}{gpu}, {platform.system()}, {versions}"


def _figure(line: dict[str, Any], bounded: bool) -> str:
    bounds = f" [{line['low']:.3f}, {line['high']:.3f}]" if bounded and line["low"] is not None else ""
    return f"{line['value']:.4f}{bounds}"
