"""Sparse TF-IDF rows of n-grams, in any language. Knows texts, no items and no users."""

import json
from collections.abc import Sequence
from typing import Self

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

# A word, or one character of a script that writes no spaces between words.
_UNSPACED = r"\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_TOKEN = rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+"
_ORDERS = (1, 3)
# Of a large catalogue the commonest ones: rarer n-grams hardly ever meet in two texts, and memory is bounded.
_MAX_TERMS = 1 << 17


class Terms:
    """The n-grams (1 to 3 words, or characters where words are not spaced) that two texts share, and their weights.

    Rows have length 1, or are empty for a text without a known n-gram; a count c weighs (1 + log c) * idf, with
    idf = 1 + log((1 + texts) / (1 + texts with the n-gram)) (Salton and Buckley 1988, as scikit-learn smooths it).
    """

    def __init__(self, terms: Sequence[str], idf: Sequence[float]) -> None:
        self._vectorizer = _vectorizer(vocabulary=list(terms))
        if terms:
            self._vectorizer.idf_ = np.asarray(idf, np.float32)

    def __len__(self) -> int:
        return len(self._vectorizer.vocabulary)

    @classmethod
    def fit(cls, texts: Sequence[str]) -> Self:
        """Learns the n-grams of at least two texts, the commonest 131,072 of them."""
        fitted = _vectorizer(min_df=2, max_features=_MAX_TERMS)
        try:
            fitted.fit(texts)
        except ValueError:  # what scikit-learn raises when no n-gram is left
            return cls([], [])
        return cls(fitted.get_feature_names_out().tolist(), fitted.idf_.tolist())

    def transform(self, texts: Sequence[str]) -> csr_matrix:
        """float32[texts, terms]."""
        if not len(self):
            return csr_matrix((len(texts), 0), dtype=np.float32)
        return self._vectorizer.transform(texts) if len(texts) else csr_matrix((0, len(self)), dtype=np.float32)

    def to_json(self) -> str:
        idf = self._vectorizer.idf_.tolist() if len(self) else []
        return json.dumps({"terms": self._vectorizer.vocabulary, "idf": idf}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads what `to_json` wrote."""
        read = json.loads(text)
        return cls(read["terms"], read["idf"])


def _vectorizer(**options: object) -> TfidfVectorizer:
    return TfidfVectorizer(token_pattern=_TOKEN, ngram_range=_ORDERS, sublinear_tf=True, dtype=np.float32, **options)
