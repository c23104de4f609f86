import numpy as np

from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.ranking.features import FEATURES, INTEREST_FEATURES
from recsys_text.steps.evaluate import evaluate, impressions_of, newest_windows
from recsys_text.steps.inputs import bundle_path, inputs


def test_the_score_without_interest_sees_no_text(published: Settings) -> None:
    bundle = Bundle.load(bundle_path(published, "champion")[1])
    assert set(FEATURES) - set(bundle.without_interest.features) == set(INTEREST_FEATURES)
    data = inputs(published)
    windows = newest_windows(published, bundle.cutoff)
    impressions, _ = impressions_of(published, data, windows, bundle.candidates, bundle.at)
    items = bundle.text.items(data.texts, data.log.item_ids)
    interest_P, score_P, without_P = bundle.compare(data.log, items, impressions)
    for one, other in zip((interest_P, score_P), bundle.score(data.log, items, impressions), strict=True):
        np.testing.assert_array_equal(one, other)
    turned = np.random.default_rng(0).permutation(len(data.texts))
    other = bundle.text.items([data.texts[place] for place in turned], data.log.item_ids)
    changed_P = bundle.compare(data.log, other, impressions)
    assert (changed_P[0] != interest_P).any()
    np.testing.assert_array_equal(changed_P[2], without_P)


def test_it_is_a_line_of_the_table(published: Settings) -> None:
    table = evaluate(published).table
    assert "score without interest" in table["method"].to_list()
