"""Mutated files as tables to guess a configuration from: each gives a draft or one line, whatever is wrong with it."""

import os
import random
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from recsys_text.draft import draft
from recsys_text.environment import expand
from recsys_text.errors import RecsysTextError
from recsys_text.sources.guess import guess
from recsys_text.sources.sample import Sample, sample
from tests.sources.test_fuzz import FILES, mutated

#: How many mutations of each format are sampled; a longer run is made by hand.
COUNT = int(os.environ.get("RECSYS_TEXT_FUZZ", "300"))
EVENTS = Sample(
    name="clicks",
    columns={
        "user_id": ["u1", "u2", "u3"],
        "item_id": ["i1", "i2", "i3"],
        "occurred_at": ["2026-10-01T10:00:00Z"] * 3,
    },
    source={"kind": "file", "path": "clicks.csv"},
)


@pytest.mark.parametrize("name", FILES)
def test_mutated_files_give_a_draft_or_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    data = FILES[name]()
    outcomes: Counter[str] = Counter()
    for number in range(COUNT):
        path.write_bytes(mutated(name, data, random.Random(f"sample {name} {number}")))
        try:
            sampled = sample(str(path))
            text = draft(guess([*sampled.tables, EVENTS]), tmp_path)
        except RecsysTextError as error:
            outcomes[type(error).__name__] += 1
            lines = [str(error)]
        else:
            outcomes["draft"] += 1
            raw = tomllib.loads(text.encode().decode())
            assert expand(raw) == raw, number
            lines = sampled.left_out
        for line in lines:
            assert line.isprintable(), number
    print(name, dict(outcomes))
    assert {"draft", "ContractError"} <= set(outcomes)
