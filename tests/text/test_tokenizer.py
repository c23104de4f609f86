import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.errors import ConfigError, ContractError
from recsys_text.text.tokenizer import PADDING, UNKNOWN, Tokenizer, train_tokenizer

TEXTS = [
    "The old man and the sea, a novel",
    "The old house by the sea: novels",
    "新能源汽车方兴未艾",
    "新能源汽车补贴政策",
    "Ｆａｃｃ 公司 FACC",
] * 3


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, 400)


def test_same_texts_give_the_same_tokenizer(tokenizer):
    assert train_tokenizer(TEXTS, 400).to_json() == tokenizer.to_json()


def test_learns_subwords_within_the_vocabulary(tokenizer):
    assert "novel" in tokenizer.tokens("novel")
    letters = {letter for text in TEXTS for letter in text.lower()}
    assert 258 + len(letters) < tokenizer.vocabulary <= 400
    words = [f"{a}{b}{c}" for a in "abcdefgh" for b in "abcdefgh" for c in "xyz"] * 2
    assert train_tokenizer(words, 330).vocabulary == 330


def test_chinese_needs_no_spaces(tokenizer):
    assert tokenizer.tokens("新能源FACC汽车,") == ["新", "能", "源", *tokenizer.tokens("facc"), "汽", "车", ","]


def test_case_and_width_do_not_matter(tokenizer):
    ids_NT, _ = tokenizer.encode(["ＦＡＣＣ Novel", "facc novel"], 8)
    assert (ids_NT[0] == ids_NT[1]).all()


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40))
def test_no_character_is_lost(tokenizer, text):
    """Unseen characters are spelt in bytes: whatever is left of the text after NFKC comes back."""
    parts = [
        bytes([int(token[3:5], 16)]) if token.startswith("<0x") else token.encode() for token in tokenizer.tokens(text)
    ]
    normal = tokenizer._backend.normalizer.normalize_str(text)
    assert b"".join(parts).decode() == "".join(normal.split())


def test_unseen_text_gets_its_own_ids(tokenizer):
    ids_NT, lengths_N = tokenizer.encode(["龘龘", "🦄"], 16)
    assert lengths_N.tolist() == [6, 4]
    assert not np.isin(ids_NT[:, :4], [PADDING, UNKNOWN]).any()


def test_padding_and_lengths(tokenizer):
    ids_NT, lengths_N = tokenizer.encode(["新能", "", "新能源汽车方兴未艾", " \n"], 4)
    assert ids_NT.dtype == lengths_N.dtype == np.int32
    assert ids_NT.shape == (4, 4)
    assert lengths_N.tolist() == [2, 1, 4, 1]
    assert ids_NT[1].tolist() == ids_NT[3].tolist() == [UNKNOWN, PADDING, PADDING, PADDING]
    assert ((ids_NT != PADDING).sum(axis=1) == lengths_N).all()


def test_no_texts(tokenizer):
    ids_NT, lengths_N = tokenizer.encode([], 4)
    assert ids_NT.shape == (0, 4)
    assert lengths_N.shape == (0,)


def test_a_text_cannot_spell_a_reserved_token(tokenizer):
    ids_NT, _ = tokenizer.encode(["<pad><unk>"], 16)
    assert not np.isin(ids_NT[0, :3], [PADDING, UNKNOWN]).any()


def test_json_round_trip(tokenizer):
    again = Tokenizer.from_json(tokenizer.to_json())
    assert again.vocabulary == tokenizer.vocabulary
    assert (again.encode(TEXTS, 12)[0] == tokenizer.encode(TEXTS, 12)[0]).all()


def test_refusals():
    with pytest.raises(ConfigError, match="vocabulary = 100"):
        train_tokenizer(TEXTS, 100)
    with pytest.raises(ContractError, match="not a saved tokenizer"):
        Tokenizer.from_json("{}")


def test_views_are_the_whole_and_each_line_by_itself(tokenizer):
    texts = ["new novel\n\nfacc", "plain", ""]
    ids_NT, lengths_N = tokenizer.encode_views(texts, 6, 3)
    whole_NT, whole_N = tokenizer.encode(texts, 6)
    assert ids_NT.shape == (3, 24)
    assert (ids_NT[:, :6] == whole_NT).all()
    assert (lengths_N == whole_N).all()
    first_NT, _ = tokenizer.encode(["new novel", "plain"], 6)
    third_NT, _ = tokenizer.encode(["facc"], 6)
    assert (ids_NT[:2, 6:12] == first_NT).all()
    assert (ids_NT[0, 18:] == third_NT[0]).all()
    assert not ids_NT[:, 12:18].any()
    assert not ids_NT[1:, 18:].any()
    assert not ids_NT[2, 6:].any()
    assert tokenizer.encode_views([], 6, 3)[0].shape == (0, 24)
