import math

import numpy as np
import pytest

from recsys_text.text.terms import Terms


def test_words_and_characters_by_hand():
    terms = Terms.fit(["red book", "red hat", "熊猫 红", "熊猫 蓝"])
    known = set(terms._vectorizer.vocabulary)
    assert known == {"red", "熊", "猫", "熊 猫"}
    row = terms.transform(["red RED 熊"]).toarray()[0]
    weights = dict(zip(terms._vectorizer.vocabulary, row, strict=True))
    idf = 1 + math.log((1 + 4) / (1 + 2))
    expected = np.array([(1 + math.log(2)) * idf, idf])
    expected /= np.linalg.norm(expected)
    assert weights["red"] == pytest.approx(expected[0], rel=1e-5)
    assert weights["熊"] == pytest.approx(expected[1], rel=1e-5)
    assert weights["猫"] == 0


@pytest.mark.parametrize("texts", [[], ["alone"], ["one", "two"], ["", ""]])
def test_texts_that_share_nothing_have_no_terms(texts):
    terms = Terms.fit(texts)
    assert len(terms) == 0
    assert terms.transform(["one two", ""]).shape == (2, 0)
    assert len(Terms.from_json(terms.to_json())) == 0


def test_what_is_saved_reads_the_same():
    texts = ["a b c", "b c d", "c d e", "日本 語", "日本 人"]
    terms = Terms.fit(texts)
    again = Terms.from_json(terms.to_json())
    assert (terms.transform(texts) != again.transform(texts)).nnz == 0
    assert again.transform([]).shape == (0, len(terms))
    np.testing.assert_allclose(np.sqrt(again.transform(texts).power(2).sum(1)), 1, rtol=1e-5)
