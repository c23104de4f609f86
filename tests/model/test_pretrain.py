import numpy as np
import pytest
import torch

from recsys_text.model.optimise import weights_digest
from recsys_text.model.pretrain import distillation, pretrain, start_bag, teacher_of
from recsys_text.model.scorer import build, item_vectors
from tests.model.conftest import SETTINGS, TRAINING, VOCABULARY


def test_the_teacher_keeps_who_is_near_whom():
    wide_IW = np.array([[1, 0, 0, 0], [0.9, 0.1, 0, 0], [0, 0, 1, 0], [0, 0, 0.9, 0.1], [0, 0, 0, 0]], np.float32)
    teacher_ID = teacher_of(wide_IW, dim=6, seed=1)
    assert teacher_ID.shape == (5, 6)
    assert teacher_ID.dtype == np.float32
    likeness = teacher_ID @ teacher_ID.T
    assert likeness[0, 1] > 0.9
    assert likeness[2, 3] > 0.9
    assert abs(likeness[0, 2]) < 0.1
    np.testing.assert_allclose(np.linalg.norm(teacher_ID[:4], axis=1), 1, rtol=1e-5)
    assert (teacher_ID[4] == 0).all()


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (4, 1)])
def test_a_catalogue_too_small_to_teach(shape):
    assert (teacher_of(np.ones(shape, np.float32), dim=4, seed=1) == 0).all()


def test_the_bag_starts_as_the_teacher_in_closed_form(world):
    shape = SETTINGS.model_copy(update={"kernel_sizes": (), "rnn": "none"})
    model = build(shape, VOCABULARY, seed=1)

    def away() -> float:
        vec_ID = torch.from_numpy(item_vectors(model, world.tokens_IT, world.lengths_I))
        return distillation(vec_ID, torch.from_numpy(world.teacher_ID)).item()

    before = away()
    start_bag(model.encoder, world.tokens_IT, world.lengths_I, world.teacher_ID)
    assert away() < 0.1 < before
    assert (model.encoder.bag.weight[0] == 0).all()


def test_distillation_by_hand():
    vec_ID = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    teacher_ID = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    assert distillation(vec_ID, teacher_ID).item() == pytest.approx((0 + 0.4) / 2)
    assert distillation(vec_ID, torch.zeros(3, 2)).item() == 0


def test_the_pupil_learns_from_the_teacher(world):
    teacher_ID = torch.from_numpy(world.teacher_ID)
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
