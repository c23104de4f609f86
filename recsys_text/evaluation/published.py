"""How good published lists were, against the clicks that followed. Knows frames, no store and no lake.

Shapes: U users with a list and a click, P places of all their lists, I items, D dimensions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys_text.evaluation.bootstrap import COVERAGE, Interval, bounds, intervals, ratio, weights
from recsys_text.evaluation.calibration import BINS, gaps
from recsys_text.evaluation.lists import Catalogue, Float32, K, surprise
from recsys_text.evaluation.metrics import Bool, Double, auc, rank_clicked


@dataclass(frozen=True, kw_only=True, eq=False)
class Published:
    """Published lists beside what their users clicked then.

    users: a row of each of the U, with user_id, the number of distinct items `clicked`, and whatever else is known of
    them; places: a row of each place, ordered by user (the row of `users`) and place, with item_id, score, whether the
    item was clicked and whether it was the user's first click.
    """

    users: pl.DataFrame
    places: pl.DataFrame

    @classmethod
    def join(cls, lists: pl.DataFrame, clicks: pl.DataFrame) -> "Published":
        """lists: user_id, item_id and score, lists of one length, best first; clicks: user_id, item_id, occurred_at.

        Users with an empty list, or without one or a click, are left out; a repeated click counts once.
        """
        once = clicks.group_by("user_id", "item_id").agg(pl.col("occurred_at").min())
        # Of clicks at the same time the smaller id is the first: any rule does that always says the same.
        first = (pl.int_range(pl.len()).over("user_id") == 0).alias("first")
        once = once.sort("user_id", "occurred_at", "item_id").with_columns(first).drop("occurred_at")
        users = (
            lists.filter(pl.col("item_id").list.len() > 0)
            .join(once.group_by("user_id").agg(pl.len().alias("clicked")), on="user_id", how="inner")
            .sort("user_id")
        )
        places = (
            users.select(pl.int_range(pl.len()).alias("user"), "user_id", "item_id", "score")
            .explode("item_id", "score")
            .with_columns(pl.int_range(pl.len()).over("user").alias("place"))
            .join(once, on=["user_id", "item_id"], how="left", maintain_order="left")
            .select(
                "user",
                "place",
                "item_id",
                "score",
                pl.col("first").is_not_null().alias("clicked"),
                pl.col("first").fill_null(False),
            )
        )
        return cls(users=users.drop("item_id", "score"), places=places)

    def hits(self) -> dict[str, Double]:
        """How well each list foretold its user's clicks, float64[U] each.

        ndcg@10: every clicked item is relevant, also one that the list lacks (Jarvelin and Kekalainen 2002);
        hit_rate@10: whether one of them is among the first ten; auc: of the clicked against the other items of the
        list, NaN where it lacks either.
        """
        number, places = len(self.users), self.places
        user_P, place_P, clicked_P = (places[name].to_numpy() for name in ("user", "place", "clicked"))
        near_P = clicked_P & (place_P < K)
        gain_U = np.bincount(user_P, weights=near_P / np.log2(place_P + 2.0), minlength=number)
        ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(K) + 2))])
        offsets = np.concatenate(([0], np.cumsum(np.bincount(user_P, minlength=number))))
        return {
            "ndcg@10": gain_U / ideal[np.minimum(self.users["clicked"].to_numpy(), K)],
            "hit_rate@10": (np.bincount(user_P[near_P], minlength=number) > 0).astype(np.float64),
            "auc": auc(rank_clicked(places["score"].to_numpy(), clicked_P, offsets)),
        }

    def described(self, catalogue: pl.DataFrame, vectors_ID: Float32) -> dict[str, Double]:
        """diversity@10 and novelty@10 of each list, float64[U] each, as `lists.Catalogue` says.

        catalogue: a row for each of I items, with item_id and its number of former clicks. NaN for a list with an item
        that is none of them.
        """
        codes = catalogue.select("item_id", code=pl.int_range(pl.len()))
        first = self.places.filter(pl.col("place") < K).join(codes, on="item_id", how="left", maintain_order="left")
        first_UK = np.full((len(self.users), K), -1, np.int32)
        first_UK[first["user"].to_numpy(), first["place"].to_numpy()] = first["code"].fill_null(-1).to_numpy()
        known = Catalogue(
            neutral=np.arange(len(catalogue)), vectors=vectors_ID, surprise=surprise(catalogue["clicks"].to_numpy())
        )
        unknown = first.filter(pl.col("code").is_null())["user"].unique().to_numpy()
        found = known.describe(first_UK)
        for values_U in found.values():
            values_U[unknown] = np.nan
        return found

    def calibration(self, *, resamples: int, seed: int) -> dict[str, Interval]:
        """Whether scores are the probability of the first click that followed, with `bootstrap.bounds` over users.

        Bounds are widened where they do not hold the figure itself.

        calibration_error_top1%: as in `calibration.Calibration`; calibration_ratio: the clicks that the scores promised
        by those that came. A user's later clicks tell nothing: a score is of one click. Empty without places.
        """
        if self.places.is_empty():
            return {}
        user_P, score_P, first_P = (self.places[name].to_numpy() for name in ("user", "score", "first"))
        users = len(self.users)
        gap_UC, size_U = gaps(score_P, first_P, user_P, users, bins=BINS)
        promised_U, clicks_U = (np.bincount(user_P, weights=of_P, minlength=users) for of_P in (score_P, first_P))

        def drawn(weight_RU: Double) -> Double:
            error_R = ratio(np.abs(weight_RU @ gap_UC).sum(axis=1), weight_RU @ size_U)
            return np.column_stack([error_R, ratio(weight_RU @ promised_U, weight_RU @ clicks_U)])

        value_K = drawn(np.ones((1, users)))[0]
        drawn_RK = np.concatenate([drawn(weight_RU) for weight_RU in weights(users, resamples, seed)])
        low_K, high_K = bounds(value_K, drawn_RK, np.full(2, users), (1 - COVERAGE) / 2)
        # Less its bias, an error of noise alone lies below the figure that is told.
        low_K, high_K = np.clip(np.minimum(low_K, value_K), 0, None), np.maximum(high_K, value_K)
        return {
            name: Interval(mean=float(value_K[k]), low=float(low_K[k]), high=float(high_K[k]))
            for k, name in enumerate(("calibration_error_top1%", "calibration_ratio"))
        }


def figures(
    columns: Mapping[str, Double], slices: Mapping[str, Bool], *, resamples: int, seed: int
) -> list[tuple[str, str, Interval]]:
    """Metric, slice and the mean with its 95% interval over users, of each column and slice that have a value."""
    values_UK = np.column_stack(list(columns.values()))
    return [
        (metric, name, found)
        for name, chosen_U in slices.items()
        for metric, found in zip(
            columns,
            intervals(values_UK[chosen_U], np.arange(int(chosen_U.sum())), resamples=resamples, seed=seed),
            strict=True,
        )
        if not np.isnan(found.mean)
    ]
