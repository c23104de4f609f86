"""Score: lake and bundle to interest and score, of any impressions or of every user. Knows no training."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from feature_store import bucket_of
from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.errors import ConfigError
from recsys_text.following import followed
from recsys_text.lake.mind import prediction_lines
from recsys_text.ranking.candidates import pool_chunks
from recsys_text.ranking.log import Impressions, impressions_from_frame, micros
from recsys_text.ranking.topk import topk
from recsys_text.steps.inputs import (
    bundle_path,
    check_unchanged,
    inputs,
    part_name,
    the_store,
    write_parquet,
    write_whole,
)

SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.list_(pa.string())),
        pa.field("score", pa.list_(pa.float32())),
        pa.field("interest", pa.list_(pa.float32())),
    ]
)


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
        frame = pl.read_parquet(impressions)
    except (OSError, pl.exceptions.ComputeError) as error:
        raise ConfigError(f"{impressions} is not readable as Parquet: {error}") from None
    _, folder = bundle_path(settings, model)
    bundle = Bundle.load(folder)
    data = inputs(settings)
    coded = impressions_from_frame(frame, data.log)
    items = bundle.text.items(data.texts, data.log.item_ids)
    bundle = followed(bundle, data.log, items, coded.time, windows=data.spans, evaluation=settings.evaluation)
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


def score_bucket(settings: Settings, plan: Mapping[str, Any], bucket: int) -> dict[str, int]:
    """Scores the users of one bucket as of the plan's time and writes their part; a pure function of its inputs.

    Raises ContractError where the lake has changed since the plan was made.
    """
    bundle = Bundle.load(Path(plan["bundle"]))
    as_of = datetime.fromisoformat(plan["as_of"])
    check_unchanged(settings, plan)
    data = inputs(settings, before=as_of)
    log = data.log
    mine = [bucket_of(user, len(plan["buckets"])) == bucket for user in log.user_ids]
    users = np.flatnonzero(np.array(mine, dtype=np.bool_)).astype(np.int32)
    items = bundle.text.items(data.texts, data.log.item_ids)
    item_ids = np.array(log.item_ids, dtype=object)
    user_ids = np.array(log.user_ids, dtype=object)
    times = np.full(len(users), micros(as_of), dtype=np.int64)
    bundle = followed(bundle, log, items, times, windows=data.spans, evaluation=settings.evaluation)
    pairs = 0
    with the_store(settings) as store, store.stage(plan["view"], plan["version"]).writer(part_name(bucket)) as writer:
        writer.write(pa.RecordBatch.from_pylist([], schema=SCHEMA))
        for part, offsets, item in pool_chunks(log, times, users, bundle.candidates):
            everyone = Impressions(
                user=users[part],
                time=times[part],
                offsets=offsets,
                item=item,
                clicked=np.zeros(len(item), dtype=np.bool_),
            )
            interest_P, score_P = bundle.score(log, items, everyone)
            ends, best = topk(score_P, log.neutral[item], offsets, settings.publish.top_k)
            pairs += len(best)
            writer.write(_lists(user_ids[users[part]], ends, item_ids[item[best]], score_P[best], interest_P[best]))
    return {"bucket": bucket, "users": len(users), "pairs": pairs}


def _lists(users: Any, offsets: Any, items: Any, scores: Any, interests: Any) -> pa.RecordBatch:
    ends = pa.array(offsets, type=pa.int32())
    columns = [
        pa.ListArray.from_arrays(ends, pa.array(values, type=field.type.value_type))
        for field, values in zip(list(SCHEMA)[1:], (items, scores, interests), strict=True)
    ]
    return pa.RecordBatch.from_arrays([pa.array(users, type=pa.string()), *columns], schema=SCHEMA)
