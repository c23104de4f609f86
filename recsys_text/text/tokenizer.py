"""A trained subword tokenizer for any language. Knows texts and token ids, no items and no model.

Text is normalised (NFKC, lower case) and split at white space, punctuation and around every Han
character, which makes Chinese one token per character: the convolutions learn its words. Everything
else is byte-pair encoded. A character that the training texts had fewer than twice is spelt in its
UTF-8 bytes, so that no text is lost and the byte tokens are trained as well.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as _Backend

from recsys_text.errors import ConfigError, ContractError

PADDING, UNKNOWN = 0, 1
_RESERVED = ("<pad>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)))
_SMALLEST = len(_RESERVED) + 64
_CHUNK = 10_000


class Tokenizer:
    """Texts to token ids: 0 is padding, 1 stands for a text that has no token. Made by `train_tokenizer`."""

    def __init__(self, backend: _Backend) -> None:
        self._backend = backend

    @property
    def vocabulary(self) -> int:
        """Number of token ids, padding and unknown among them."""
        return self._backend.get_vocab_size()

    def encode(self, texts: Sequence[str], max_tokens: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Cuts each text after `max_tokens` tokens.

        Returns:
            ids_NT, padded with 0 to the width `max_tokens`, and lengths_N, from 1 to `max_tokens`.
        """
        rows = [
            (encoding.ids[:max_tokens] or [UNKNOWN])
            for start in range(0, len(texts), _CHUNK)
            for encoding in self._backend.encode_batch_fast(texts[start : start + _CHUNK], add_special_tokens=False)
        ]
        lengths_N = np.fromiter(map(len, rows), dtype=np.int32, count=len(rows))
        ids_NT = np.zeros((len(rows), max_tokens), dtype=np.int32)
        ids_NT[np.arange(max_tokens) < lengths_N[:, None]] = np.fromiter(
            (token for row in rows for token in row), dtype=np.int32, count=int(lengths_N.sum())
        )
        return ids_NT, lengths_N

    def encode_views(
        self, texts: Sequence[str], max_tokens: int, views: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """As `encode`, and beside it each of the first `views` lines of a text by itself, as wide as the whole.

        Returns:
            ids_NT, of width `max_tokens * (1 + views)`: the whole, then the lines, a missing one all 0; and the
            lengths_N of the whole.
        """
        ids_NT, lengths_N = self.encode(texts, max_tokens)
        lines = [(text.split("\n") + [""] * views)[:views] for text in texts]
        parts = [ids_NT]
        for line_N in zip(*lines, strict=True) if lines else [()] * views:
            part_NT, _ = self.encode(line_N, max_tokens)
            part_NT[np.array([not line.strip() for line in line_N], np.bool_)] = PADDING
            parts.append(part_NT)
        return np.hstack(parts), lengths_N

    def tokens(self, text: str) -> list[str]:
        """The tokens of one text as strings, uncut."""
        return list(self._backend.encode(text, add_special_tokens=False).tokens)

    def to_json(self) -> str:
        return self._backend.to_str()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ContractError where the text is not a saved tokenizer."""
        try:
            return cls(_Backend.from_str(text))
        except Exception as error:  # the backend raises nothing narrower
            raise ContractError(f"not a saved tokenizer: {error}") from None


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """Learns at most `vocabulary` token ids; the same texts give the same tokenizer.

    Raises ConfigError where `vocabulary` leaves no room beside the padding, unknown and byte tokens.
    """
    if vocabulary < _SMALLEST:
        raise ConfigError(f"model.vocabulary = {vocabulary} is too small; use at least {_SMALLEST}")
    backend = _Backend(models.BPE(unk_token=_RESERVED[UNKNOWN], byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(r"\p{Han}"), "isolated"),
            pre_tokenizers.Punctuation(),
        ]
    )
    letters: Counter[str] = Counter()
    for text in texts:
        letters.update(backend.normalizer.normalize_str(text))
    repeated = sum(count > 1 for letter, count in letters.items() if not letter.isspace())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=list(_RESERVED),
        limit_alphabet=min(repeated, vocabulary - len(_RESERVED)),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    saved = json.loads(backend.to_str())
    saved["added_tokens"] = []  # or a text that spells "<pad>" would be padding
    return Tokenizer.from_json(json.dumps(saved, ensure_ascii=False))
