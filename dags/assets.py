"""Says which configs give no DAGs.

The assets that connect the DAGs of a project are properties of `recsys_text.provider.projects.Project`:
`lake://<project>/news` -> `model://<project>/champion` -> `store://<project>/user_scores`, and of what is published ->
`lake://<project>/quality`. News is told once when the lake is not what it was, as after a whole backfill;
`lake://<project>/items` and `lake://<project>/events` are told of each window, for DAGs of yours. Events carry the key
of a window (news that of the newest one) as their partition key, so a DAG of yours that listens to them needs a
`PartitionedAssetTimetable`. `store://<project>/refreshed_scores` is told of
what is published between two windows; its events have no partition, so any asset schedule hears of them.

This file makes no airflow DAG. A config that does not load must not take down the DAGs of the other
projects, so the files beside this one leave it out, and this one fails in its place: Airflow shows
the error and the config's path among its import errors.
"""

from recsys_text.provider.projects import problems

if lines := problems():
    raise ImportError("; ".join(lines))
