import numpy as np
import pytest
import torch

from recsys_text.model.optimise import weights_digest
from recsys_text.model.pretrain import distillation, pretrain, tfidf_teacher
from recsys_text.model.scorer import build, item_vectors
from tests.model.conftest import SETTINGS, TRAINING, VOCABULARY


def _ids(*texts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    tokens_IT = np.zeros((len(texts), max(map(len, texts))), np.int32)
    for row, text in enumerate(texts):
        tokens_IT[row, : len(text)] = text
    return tokens_IT, np.array([len(text) for text in texts], np.int32)


def test_the_teacher_puts_texts_that_share_words_together():
    tokens_IT, lengths_I = _ids([2, 3, 4], [2, 3, 5], [6, 7, 8], [6, 7, 9], [10, 11, 12])
    teacher_ID = tfidf_teacher(tokens_IT, lengths_I, dim=6, seed=1)
    assert teacher_ID.shape == (5, 6)
    assert teacher_ID.dtype == np.float32
    likeness = teacher_ID @ teacher_ID.T
    assert likeness[0, 1] > 0.9
    assert likeness[2, 3] > 0.9
    assert abs(likeness[0, 2]) < 0.1
    np.testing.assert_allclose(np.linalg.norm(teacher_ID[:4], axis=1), 1, rtol=1e-5)
    assert (teacher_ID[4] == 0).all()


def test_the_teacher_reads_no_padding():
    tokens_IT, lengths_I = _ids([2, 3, 4], [2, 3, 5], [6, 7, 8], [6, 7, 9])
    wide = np.pad(tokens_IT, ((0, 0), (0, 5)))
    np.testing.assert_array_equal(tfidf_teacher(wide, lengths_I, 4, 1), tfidf_teacher(tokens_IT, lengths_I, 4, 1))


def test_the_teacher_repeats_itself(world):
    first, second = (tfidf_teacher(world.tokens_IT, world.lengths_I, 8, seed=3) for _ in range(2))
    assert (first == second).all()


@pytest.mark.parametrize("texts", [[[2, 3]], [[2], [3]], [[2], [2]]])
def test_a_catalogue_too_small_to_teach(texts):
    assert (tfidf_teacher(*_ids(*texts), dim=4, seed=1) == 0).all()


def test_distillation_by_hand():
    vec_ID = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    teacher_ID = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    assert distillation(vec_ID, teacher_ID).item() == pytest.approx((0 + 0.4) / 2)
    assert distillation(vec_ID, torch.zeros(3, 2)).item() == 0


def test_the_pupil_learns_from_the_teacher(world):
    teacher_ID = torch.from_numpy(tfidf_teacher(world.tokens_IT, world.lengths_I, SETTINGS.dim, seed=3))
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
