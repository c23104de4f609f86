"""Score: lake and bundle to interest and score, of any impressions or of every user. Knows no training."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feature_store import bucket_of
from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.errors import ConfigError, RecsysTextError
from recsys_text.progress import SILENT, Stages, part_of
from recsys_text.publications import SHADOW
from recsys_text.ranking.candidates import pool_impressions
from recsys_text.ranking.log import Int32, Int64, impressions_from_frame
from recsys_text.ranking.topk import topk
from recsys_text.sources.mind import prediction_lines
from recsys_text.steps.inputs import (
    USER_VECTORS,
    VIEW,
    bundle_path,
    inputs,
    part_name,
    the_store,
    write_parquet,
    write_whole,
)
from recsys_text.steps.races import lost
from recsys_text.steps.served import published_at, recalibrated
from recsys_text.steps.vectors import Opened, lists, opened, user_rows


def rank(
    settings: Settings, impressions: Path, out: Path, model: str = "champion", prediction: Path | None = None
) -> dict[str, int]:
    """Scores a Parquet file of impressions, each candidate as of its impression's own time.

    Reads impression_id, user_id, shown_at, candidates; writes impression_id, item_id, interest, score, a row per
    candidate in the order given; to `prediction`, where it is given, the same as ranks in the format of MIND's
    leaderboard. Raises ConfigError for a missing file, ContractError for a missing column or a candidate that the
    catalogue lacks.
    """
    try:
        frame = pl.read_parquet(impressions, glob=False)
    except (OSError, pl.exceptions.ComputeError) as error:
        raise ConfigError(f"{impressions} is not readable as Parquet: {error}") from None
    _, folder = bundle_path(settings, model)
    bundle = Bundle.load(folder)
    data = inputs(settings, with_open=True)
    coded = impressions_from_frame(frame, data.log)
    items = bundle.text.items(data.texts, data.log.item_ids)
    bundle = recalibrated(settings, bundle, data, items, coded.time)
    interest_P, score_P = bundle.score(data.log, items, coded)
    scored = pl.DataFrame(
        {
            "impression_id": frame["impression_id"].gather(coded.row),
            "item_id": pl.Series(data.log.item_ids, dtype=pl.String).gather(coded.item),
            "interest": interest_P,
            "score": score_P,
        }
    )
    write_parquet(scored, out)
    if prediction is not None:
        names = frame["impression_id"].cast(pl.String).to_list()
        lines = prediction_lines(names, coded.offsets, score_P, data.log.neutral[coded.item])
        write_whole(prediction, lambda partial: partial.write_text("".join(lines)))
    return {"impressions": len(coded), "pairs": len(scored)}


def score_bucket(
    settings: Settings, plan: Mapping[str, Any], bucket: int, *, progress: Stages = SILENT
) -> dict[str, int]:
    """Scores the users of one bucket as of the plan's time and writes their parts; a pure function of its inputs.

    plan: as `write_items` returned it; one without views is no work, and so is one whose version another publication
    has published meanwhile. Raises ContractError where the lake has changed since the plan was made.
    """
    nothing = {"bucket": bucket, "users": 0, "pairs": 0}
    if not plan["views"]:
        return nothing
    progress.stage(f"Reading: what bucket {bucket} is scored from")
    ready = opened(settings, plan)
    bundle, log = ready.calibrated(plan["calibration"]), ready.data.log
    mine = [bucket_of(user, len(plan["buckets"])) == bucket for user in log.user_ids]
    users = np.flatnonzero(np.array(mine, dtype=np.bool_)).astype(np.int32)
    progress.stage(f"Scores: {len(users):,} users of bucket {bucket}")
    scores = _score_rows(settings, ready, bundle, users, progress)  # a plan has one view of them
    rows = {USER_VECTORS: user_rows(ready, users), VIEW: scores, SHADOW: scores}
    pairs = 0
    try:
        with the_store(settings) as store:
            for view in (view for view in rows if view in plan["views"]):
                with store.stage(view, plan["version"]).writer(part_name(bucket)) as writer:
                    for batch in rows[view]:
                        writer.write(batch)
                        pairs += len(batch.column("item_id").flatten()) if view != USER_VECTORS else 0
    except RecsysTextError:
        if not lost(settings, plan):
            raise
        return nothing
    return {"bucket": bucket, "users": len(users), "pairs": pairs}


def _score_rows(
    settings: Settings, ready: Opened, bundle: Bundle, users: Int32, progress: Stages
) -> Iterator[pa.RecordBatch]:
    """The lists of these users, some at a time, and first a batch without rows, for where there is no user."""
    log = ready.data.log
    user_ids = pa.array(log.user_ids, pa.string())

    def batch(user_N: Int32, ends: Int64, *columns_P: NDArray[Any]) -> pa.RecordBatch:
        item_P, score_P, interest_P = columns_P
        columns = {
            "user_id": user_ids.take(pa.array(user_N)),
            "item_id": ready.item_lists(ends, item_P),
            "score": lists(ends, pa.array(score_P, pa.float32())),
            "interest": lists(ends, pa.array(interest_P, pa.float32())),
        }
        return pa.RecordBatch.from_pydict(columns)

    none = np.zeros(0, np.int32)
    yield batch(none, np.zeros(1, np.int64), none, none, none)
    done = 0
    served_for = published_at(settings, ready.data).horizon
    for everyone in pool_impressions(log, np.full(len(users), ready.time), users, bundle.candidates, served_for):
        interest_P, score_P = bundle.score(log, ready.items, everyone, on_progress=part_of(progress, done, len(users)))
        ends, best = topk(score_P, log.neutral[everyone.item], everyone.offsets, settings.publish.top_k)
        yield batch(everyone.user, ends, everyone.item[best], score_P[best], interest_P[best])
        done += len(everyone)
