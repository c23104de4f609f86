"""Lists of six candidates with one click each, and methods that see the clicks more or less well."""

import numpy as np
import polars as pl
import pytest

from recsys_text.evaluation.lists import Catalogue, surprise
from recsys_text.evaluation.measure import evaluation_table
from recsys_text.ranking.log import Impressions

NUMBER, LENGTH = 300, 6


def impressions_of(number=NUMBER):
    random = np.random.default_rng(0)
    clicked = np.zeros((number, LENGTH), bool)
    clicked[np.arange(number), random.integers(LENGTH, size=number)] = True
    return Impressions(
        user=(np.arange(number) // 3).astype(np.int32),
        time=np.arange(number),
        offsets=np.arange(number + 1) * LENGTH,
        item=np.tile(np.arange(LENGTH, dtype=np.int32), number),
        clicked=clicked.ravel(),
    )


def catalogue():
    return Catalogue(
        neutral=np.arange(LENGTH), vectors=np.eye(LENGTH, dtype=np.float32), surprise=surprise(np.zeros(LENGTH, int))
    )


def table_of(scores, impressions, parts=None):
    everything = {"all": np.ones(len(impressions.user), bool)}
    return evaluation_table(scores, impressions, parts or everything, catalogue(), resamples=200, seed=1)


def noisy(impressions, noise, seed):
    """Probabilities that see the clicks through so much noise."""
    random = np.random.default_rng(seed)
    return 1 / (1 + np.exp(1 - impressions.clicked - noise * random.normal(size=len(impressions.item))))


@pytest.fixture(scope="module")
def shown():
    return impressions_of()


@pytest.fixture(scope="module")
def scores(shown):
    return {
        "score": noisy(shown, 0.5, 1),
        "interest": noisy(shown, 0.1, 2),
        "weak": noisy(shown, 2, 3),
        "chance": np.zeros(len(shown.item)),
    }


def one(table, method, metric, part="all"):
    return table.row(
        by_predicate=(pl.col("method") == method) & (pl.col("metric") == metric) & (pl.col("slice") == part), named=True
    )
