import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from recsys_text.errors import ConfigError, ContractError
from recsys_text.model.checkpoint import Checkpoint
from recsys_text.model.data import TrainSet, batch_of, batches, libraries
from recsys_text.model.fit import evaluate, fit, listwise_loss
from recsys_text.model.optimise import adamw, learning_rate, resolve_device, weights_digest
from recsys_text.model.scorer import build
from recsys_text.progress import EpochResult, Silent
from tests.model.conftest import ITEMS, SETTINGS, TRAINING, VOCABULARY, rows

EMPTY = TrainSet(history_NH=np.zeros((0, 5), np.int32), candidates_NC=np.zeros((0, 5), np.int32))


class Recorder(Silent):
    def __init__(self) -> None:
        self.steps: list[tuple[str, int, int]] = []
        self.epochs: list[EpochResult] = []

    def on_step(self, stage, loss, samples_per_second, step, steps) -> None:
        assert math.isfinite(loss)
        assert samples_per_second > 0
        self.steps.append((stage, step, steps))

    def on_epoch(self, result) -> None:
        self.epochs.append(result)


class Interrupt(Recorder):
    """Ctrl-C in the middle of an epoch."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def on_step(self, stage, loss, samples_per_second, step, steps) -> None:
        if len(self.epochs) == self.after and stage == "train":
            raise KeyboardInterrupt


def _fit(world, training=TRAINING, *, valid=None, model=None, **options):
    model = model or build(SETTINGS, VOCABULARY, seed=1)
    valid = world.valid if valid is None else valid
    texts = world.tokens_IT, world.lengths_I, world.teacher
    results = fit(model, *texts, world.train, valid, world.known_I, training, **options)
    return model, results


def _fit_libraries(world, *, epochs=2, **options):
    clicks_UI = csr_matrix((np.random.default_rng(4).random((40, ITEMS)) < 0.3).astype(np.float32))
    settings = SETTINGS.model_copy(update={"clicks": "learned", "user": "mean"})
    model = build(settings, VOCABULARY, seed=1, items=ITEMS)
    results = fit(
        model, world.tokens_IT, world.lengths_I, world.teacher, libraries(clicks_UI, world.known_I, 0.3, 30, 10),
        replace(world.valid, learned=True), world.known_I,
        TRAINING.model_copy(update={"task": "hidden", "epochs": epochs, "patience": 0}), **options,
    )  # fmt: skip
    return model, results


def _upset(world) -> TrainSet:
    """Validation rows whose users want the other topic: they get worse from the first epoch on."""
    history_NH, candidates_NC = world.valid.history_NH, world.valid.candidates_NC
    full = (candidates_NC >= 0).all(1) & (history_NH >= 0).any(1)
    return TrainSet(history_NH=history_NH[full], candidates_NC=candidates_NC[full][:, ::-1].copy())


def _same(first: EpochResult, second: EpochResult) -> bool:
    names = ("epoch", "loss", "valid_loss", "valid_ndcg", "best")
    return all(getattr(first, name) == getattr(second, name) for name in names)


def test_learns_who_reads_what(world):
    before = evaluate(build(SETTINGS, VOCABULARY, seed=1), world.tokens_IT, world.lengths_I, world.valid)
    model, results = _fit(world)
    after = evaluate(model, world.tokens_IT, world.lengths_I, world.valid)
    assert after[0] < 0.6 * before[0]
    assert after[1] > max(0.85, before[1])
    assert [result.epoch for result in results] == [1, 2, 3]
    assert results[-1].loss < results[0].loss


def test_learns_from_what_is_hidden_of_each_users_clicks(world):
    """Users stay with one topic, and clicks have vectors of their own: nothing of a history is encoded."""
    draw = np.random.default_rng(4)
    topic_U1 = np.arange(80)[:, None] % 2
    clicks_UI = csr_matrix(((np.arange(ITEMS) % 2 == topic_U1) & (draw.random((80, ITEMS)) < 0.5)).astype(np.float32))
    learned = SETTINGS.model_copy(update={"clicks": "learned", "user": "mean"})
    training = TRAINING.model_copy(update={"task": "hidden", "epochs": 12, "patience": 12, "batch_size": 20})
    model = build(learned, VOCABULARY, seed=1, items=ITEMS)
    valid = replace(world.valid, learned=True)
    before = evaluate(model, world.tokens_IT, world.lengths_I, valid)
    results = fit(
        model, world.tokens_IT, world.lengths_I, world.teacher, libraries(clicks_UI, world.known_I, 0.3, 30, 10),
        valid, world.known_I, training,
    )  # fmt: skip
    after = evaluate(model, world.tokens_IT, world.lengths_I, valid)
    assert after[1] > max(0.85, before[1])
    assert results[-1].loss < results[0].loss


def test_of_libraries_the_weights_end_on_the_way_from_the_start_to_the_end(monkeypatch, world):
    def ended(way: float) -> dict[str, torch.Tensor]:
        monkeypatch.setattr("recsys_text.model.fit.WAY", way)
        return _fit_libraries(world)[0].state_dict()

    start, way, end = ended(0.0), ended(0.3), ended(1.0)
    assert any(not torch.equal(start[name], end[name]) for name in start)
    for name, weight in way.items():
        torch.testing.assert_close(weight, 0.7 * start[name] + 0.3 * end[name])


def test_the_loss_of_several_clicks_by_hand(monkeypatch, world):
    """Two clicks beside two others, each told from the others alone; padding counts for nothing."""
    model = build(SETTINGS, VOCABULARY, seed=1)
    interest = torch.tensor([[1.0, 2.0, 0.0, 0.5, -torch.inf], [3.0, 1.0, -torch.inf, -torch.inf, -torch.inf]])
    monkeypatch.setattr(model, "forward", lambda *_: interest)
    batch = replace(batch_of(np.zeros((2, 1), np.int32), np.zeros((2, 5), np.int32)), clicks_B=torch.tensor([2, 1]))
    others = 1 + math.exp(0.5)
    expected = [math.log(1 + others / math.e), math.log(1 + others / math.e**2), math.log(1 + math.e**-2)]
    tokens, lengths = torch.from_numpy(world.tokens_IT), torch.from_numpy(world.lengths_I)
    assert listwise_loss(model, tokens, lengths, batch)[1].item() == pytest.approx(sum(expected) / 3, rel=1e-5)


def test_same_seed_same_weights_and_the_random_state_is_left_alone(world):
    state = torch.random.get_rng_state()
    first, results = _fit(world)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()
    torch.manual_seed(99)
    second, again = _fit(world)
    assert weights_digest(first) == weights_digest(second)
    assert all(_same(a, b) for a, b in zip(results, again, strict=True))
    other, _ = _fit(world, TRAINING.model_copy(update={"seed": 4}))
    assert weights_digest(other) != weights_digest(first)


def test_each_distinct_item_of_a_batch_is_encoded_once(world):
    model = build(SETTINGS, VOCABULARY, seed=1)
    encoded: list[int] = []
    model.encoder.register_forward_hook(lambda _module, inputs, _output: encoded.append(len(inputs[0])))
    tokens, lengths = torch.from_numpy(world.tokens_IT), torch.from_numpy(world.lengths_I)
    distinct = []
    for batch in batches(world.train, 64, np.arange(len(world.train))):
        listwise_loss(model, tokens, lengths, batch)
        start = len(distinct) * 64
        slots = np.hstack([world.train.history_NH, world.train.candidates_NC])[start : start + 64]
        distinct.append(len(np.unique(slots[slots >= 0])))
    assert encoded == distinct
    assert sum(encoded) < (world.train.candidates_NC >= 0).sum() / 2


def test_the_loss_ignores_padded_negatives(world):
    model = build(SETTINGS, VOCABULARY, seed=1).eval()
    tokens, lengths = torch.from_numpy(world.tokens_IT), torch.from_numpy(world.lengths_I)
    history_BH = np.array([[1, 2]], np.int32)
    bare, padded, alone = (
        listwise_loss(model, tokens, lengths, batch_of(history_BH, np.array([row], np.int32)))[1].item()
        for row in ([3, 4], [3, 4, -1, -1], [3, -1, -1])
    )
    assert bare == pytest.approx(padded, abs=1e-5)
    assert bare > 0
    assert alone == 0


@pytest.mark.parametrize("trained", [_fit, partial(_fit_libraries, epochs=3)])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_resuming_after_ctrl_c_ends_with_the_same_weights(world, tmp_path, after, trained):
    whole, results = trained(world)
    checkpoint = Checkpoint(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        trained(world, checkpoint=checkpoint, progress=Interrupt(after))
    recorder = Recorder()
    resumed, again = trained(world, checkpoint=checkpoint, progress=recorder)
    assert weights_digest(resumed) == weights_digest(whole)
    assert all(_same(a, b) for a, b in zip(results, again, strict=True))
    assert [result.epoch for result in recorder.epochs] == list(range(after + 1, 4))
    assert not [step for step in recorder.steps if step[0] == "pretrain"]


def test_a_finished_training_is_not_repeated(world, tmp_path):
    checkpoint, recorder = Checkpoint(tmp_path), Recorder()
    whole, results = _fit(world, checkpoint=checkpoint)
    again, same = _fit(world, checkpoint=checkpoint, progress=recorder)
    assert weights_digest(again) == weights_digest(whole)
    assert same == results
    assert not recorder.steps
    assert not recorder.epochs


def test_a_foreign_checkpoint_is_refused(world, tmp_path):
    checkpoint = Checkpoint(tmp_path)
    once = TRAINING.model_copy(update={"epochs": 1})
    _fit(world, once, checkpoint=checkpoint)
    with pytest.raises(ConfigError, match="other data, settings or weights"):
        _fit(world, once.model_copy(update={"learning_rate": 0.5}), checkpoint=checkpoint)
    with pytest.raises(ConfigError, match="other data"):
        _fit(world, once, valid=rows(80, 5), checkpoint=checkpoint)
    with pytest.raises(ConfigError, match="or weights"):
        _fit(world, once, model=build(SETTINGS, VOCABULARY, seed=2), checkpoint=checkpoint)


def test_stops_early_and_keeps_the_best_weights(world):
    upset = _upset(world)
    training = TRAINING.model_copy(update={"epochs": 8, "patience": 2, "pretrain_epochs": 0})
    model, results = _fit(world, training, valid=upset)
    best = min(results, key=lambda result: result.valid_loss)
    assert len(results) == best.epoch + 2 < 8
    assert [result.best for result in results][best.epoch - 1 :] == [True, False, False]
    assert evaluate(model, world.tokens_IT, world.lengths_I, upset) == (best.valid_loss, best.valid_ndcg)


def test_without_validation_rows_the_last_epoch_counts(world):
    model, results = _fit(world, TRAINING.model_copy(update={"epochs": 2, "patience": 1}), valid=EMPTY)
    assert [result.best for result in results] == [True, True]
    assert math.isnan(results[-1].valid_loss)
    assert math.isnan(results[-1].valid_ndcg)
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


def test_without_patience_the_last_epoch_counts(world):
    upset = _upset(world)
    training = TRAINING.model_copy(update={"epochs": 4, "patience": 0, "pretrain_epochs": 0})
    model, results = _fit(world, training, valid=upset)
    assert [result.best for result in results] == [True] * 4
    assert evaluate(model, world.tokens_IT, world.lengths_I, upset)[0] == results[-1].valid_loss > results[0].valid_loss


def test_validation_figures_by_hand(world, monkeypatch):
    """Interests 1, 0, 2 and a padded one: the click is second of three. Then a tie, which counts against it."""
    model = build(SETTINGS, VOCABULARY, seed=1)
    interest = torch.tensor([[1.0, 0.0, 2.0, -torch.inf], [1.0, 1.0, 0.0, -torch.inf]])
    monkeypatch.setattr(model, "forward", lambda *_: interest)
    valid = TrainSet(
        history_NH=np.array([[0], [1]], np.int32), candidates_NC=np.array([[1, 2, 3, -1], [4, 5, 6, -1]], np.int32)
    )
    loss, ndcg = evaluate(model, world.tokens_IT, world.lengths_I, valid)
    first = math.log(math.e + 1 + math.e**2) - 1
    second = math.log(2 * math.e + 1) - 1
    assert loss == pytest.approx((first + second) / 2, rel=1e-6)
    assert ndcg == pytest.approx(1 / math.log2(3), rel=1e-6)


def test_progress_counts_to_the_end(world):
    recorder = Recorder()
    _fit(world, TRAINING.model_copy(update={"epochs": 2, "pretrain_epochs": 2}), progress=recorder)
    pretrain = [step for step in recorder.steps if step[0] == "pretrain"]
    train = [step for step in recorder.steps if step[0] == "train"]
    assert pretrain == [("pretrain", 1, 2), ("pretrain", 2, 2)]
    assert train == [("train", 5, 10), ("train", 10, 10)]


def test_refusals(world):
    with pytest.raises(ContractError, match="no training clicks"):
        fit(
            build(SETTINGS, VOCABULARY, 1),
            world.tokens_IT,
            world.lengths_I,
            world.teacher,
            EMPTY,
            world.valid,
            world.known_I,
            TRAINING,
        )
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"training\.device = 'cuda'"):
            resolve_device("cuda")
    assert resolve_device("cpu").type == "cpu"


def test_decay_spares_biases_norms_and_lone_vectors():
    model = build(SETTINGS, VOCABULARY, seed=1)
    decayed, spared = adamw(model, TRAINING).param_groups
    assert decayed["weight_decay"] == TRAINING.weight_decay
    assert spared["weight_decay"] == 0
    names = {id(weight): name for name, weight in model.named_parameters()}
    spared_names = {names[id(weight)] for weight in spared["params"]}
    assert {"log_scale", "tower.nobody", "encoder.norm.weight", "encoder.project.bias"} <= spared_names
    assert "encoder.embedding.weight" not in spared_names
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


def test_the_rate_warms_up_and_falls_to_zero():
    rates = [learning_rate(step, 100, 2.0) for step in range(101)]
    assert rates[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[100] == pytest.approx(0)
    assert learning_rate(0, 1, 2.0) == 2.0
