"""Hashes are those of XXH3 and spread keys over buckets."""

import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import InvalidInput, bucket_of, hash64, hash_keys

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
INT64 = st.integers(-(2**63), 2**63 - 1)


def test_the_hash_of_a_string_is_xxh3_of_its_utf8() -> None:
    assert hash64("") == 0x2D06800538D394C2  # the published XXH3-64 of no bytes, seed 0
    assert hash64("新闻") == xxhash.xxh3_64_intdigest("新闻".encode())
    assert hash64(-2) == xxhash.xxh3_64_intdigest(b"\xfe" + b"\xff" * 7)


@settings(deadline=None)
@given(st.lists(TEXT), st.lists(INT64))
def test_arrays_hash_as_their_elements(texts: list[str], numbers: list[int]) -> None:
    assert hash_keys(pa.array(texts, pa.string())).tolist() == [hash64(text) for text in texts]
    assert hash_keys(pa.array(numbers, pa.int64())).tolist() == [hash64(number) for number in numbers]


def test_buckets_are_even() -> None:
    counts = [0] * 8
    for number in range(8000):
        counts[bucket_of(f"user-{number}", 8)] += 1
    assert min(counts) > 850
    assert max(counts) < 1150


@pytest.mark.parametrize("key", [2**63, -(2**63) - 1, "\ud800"])
def test_what_cannot_be_a_key_is_refused(key: str | int) -> None:
    with pytest.raises(InvalidInput, match="cannot be a key"):
        hash64(key)
