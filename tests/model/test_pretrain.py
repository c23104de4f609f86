import numpy as np
import pytest
import torch

from recsys_text.model.optimise import weights_digest
from recsys_text.model.pretrain import distillation, pretrain, start_bag, teacher_of
from recsys_text.model.scorer import build, item_vectors
from tests.model.conftest import SETTINGS, TRAINING, VOCABULARY


def test_the_teacher_keeps_who_is_near_whom():
    wide_IW = np.array([[1, 0, 0, 0], [0.9, 0.1, 0, 0], [0, 0, 1, 0], [0, 0, 0.9, 0.1], [0, 0, 0, 0]], np.float32)
    click_IW = np.array([[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0], [1, 0, 1, 0]], np.float32)
    teacher = teacher_of(wide_IW, click_IW, dim=6, seed=1)
    assert teacher.item_ID.shape == teacher.click_ID.shape == (5, 6)
    assert teacher.item_ID.dtype == teacher.click_ID.dtype == np.float32
    said = teacher.click_ID @ teacher.item_ID.T
    expected = click_IW @ wide_IW.T
    np.testing.assert_allclose(said, expected * (said[0, 0] / expected[0, 0]), atol=0.15)
    for vec_ID in (teacher.item_ID, teacher.click_ID):
        assert np.mean(np.sum(vec_ID**2, axis=1)) == pytest.approx(1, rel=1e-5)
    assert (teacher.item_ID[4] == 0).all()


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (4, 1)])
def test_a_catalogue_too_small_to_teach(shape):
    found = teacher_of(np.ones(shape, np.float32), np.ones(shape, np.float32), dim=4, seed=1)
    assert (found.item_ID == 0).all()
    assert (found.click_ID == 0).all()


def test_the_bag_starts_as_the_teacher_in_closed_form(world):
    shape = SETTINGS.model_copy(update={"kernel_sizes": (), "rnn": "none"})
    model = build(shape, VOCABULARY, seed=1)

    def away() -> float:
        vec_ID = torch.from_numpy(item_vectors(model, world.tokens_IT, world.lengths_I))
        return distillation(vec_ID, torch.from_numpy(world.teacher.item_ID)).item()

    before = away()
    start_bag(model.encoder, world.tokens_IT, world.teacher.item_ID, world.known_I)
    assert away() < 0.1 < before
    assert (model.encoder.bag.weight[0] == 0).all()


def test_distillation_by_hand():
    vec_ID = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    teacher_ID = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    assert distillation(vec_ID, teacher_ID).item() == pytest.approx((0 + 0.16 + 0.64) / 2)
    assert distillation(vec_ID, torch.zeros(3, 2)).item() == 0


def test_the_pupil_learns_from_the_teacher(world):
    teacher_ID = torch.from_numpy(world.teacher.item_ID)
    training = TRAINING.model_copy(update={"pretrain_epochs": 60})

    def taught() -> tuple[str, float]:
        model = build(SETTINGS, VOCABULARY, seed=1)
        torch.manual_seed(1)
        tokens, lengths = torch.from_numpy(world.tokens_IT), torch.from_numpy(world.lengths_I)
        losses: list[float] = []
        generator = torch.Generator().manual_seed(1)
        pretrain(model.encoder, tokens, lengths, teacher_ID, training, generator, lambda loss, *_: losses.append(loss))
        vec_ID = torch.from_numpy(item_vectors(model, world.tokens_IT, world.lengths_I))
        assert len(losses) == 60
        return weights_digest(model), distillation(vec_ID, teacher_ID).item()

    first, second = taught(), taught()
    assert first == second
    assert first[1] < 0.2
