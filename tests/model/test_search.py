import pytest

from recsys_text.model.search import SPACE, Choice, Range, changed, present, space_around
from recsys_text.sections import Blend, Model, Training

KINDS = {"model": Model, "training": Training, "blend": Blend}
SECTIONS = {name: kind().model_dump() for name, kind in KINDS.items()}


@pytest.mark.parametrize("key", SPACE)
def test_every_value_of_the_space_is_a_valid_setting(key: str) -> None:
    section, _, name = key.partition(".")
    bounds = SPACE[key]
    values = bounds.values if isinstance(bounds, Choice) else (bounds.low, bounds.high)
    assert len(set(values)) == len(values) > 1
    for value in values:
        made = KINDS[section].model_validate({name: value})
        assert getattr(made, name) == value
        assert type(getattr(made, name)) is type(value)


def test_the_defaults_need_no_wider_space() -> None:
    assert space_around(present(SECTIONS)) == SPACE


def test_the_present_values_are_always_in_the_space() -> None:
    odd = {"model.rnn": "odd", "training.weight_decay": 0.0, "training.learning_rate": 0.5}
    wider = space_around(present(changed(SECTIONS, odd)))
    assert wider["model.rnn"] == Choice(values=("rnn", "lstm", "gru", "odd"))
    assert wider["training.weight_decay"] == Range(low=0.0, high=0.1)
    assert wider["training.learning_rate"] == Range(low=5e-4, high=0.5)


def test_a_change_leaves_the_rest_and_what_it_was_made_of_alone() -> None:
    before = {"training": {"epochs": 3, "seed": 7}, "store": {"url": "file:x"}}
    after = changed(before, {"training.epochs": 5, "model.rnn": "lstm"})
    assert after == {"training": {"epochs": 5, "seed": 7}, "store": {"url": "file:x"}, "model": {"rnn": "lstm"}}
    assert before["training"] == {"epochs": 3, "seed": 7}
