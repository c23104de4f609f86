"""Adapters train a twentieth of the weights, and leave the rest and the network's form as they were."""

import copy

import numpy as np
import pytest
import torch

from recsys_text.model.adapters import SHARE, Adapters
from recsys_text.model.checkpoint import load_model, save_model
from recsys_text.model.fit import evaluate, fit
from recsys_text.model.optimise import adamw
from recsys_text.model.resume import grown, resume
from recsys_text.model.scorer import Interest, build, item_vectors
from recsys_text.sections import Model, Training
from tests.model.conftest import ITEMS, SETTINGS, TRAINING, VOCABULARY, World, rows


def lora(**more: object) -> Training:
    return TRAINING.model_copy(update={"adapt": "lora", **more})


def weights(model: Interest) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in model.state_dict().items()}


@pytest.fixture(scope="module")
def trained(world: World) -> Interest:
    model = build(SETTINGS, VOCABULARY, 1)
    fit(model, world.tokens_IT, world.lengths_I, world.teacher, world.train, world.valid, world.known_I, TRAINING)
    return model


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        Model(),
        Model(rnn="lstm", user="gru", bag=False),
        Model(kernel_sizes=(), rnn="none", user="mean"),
        Model(clicks="learned", user="gru", long_term=True),
    ],
)
def test_no_more_than_a_twentieth_of_all_weights_is_trained(settings: Model) -> None:
    model = build(settings, settings.vocabulary, 1, 50, 20)
    adapters = Adapters(model, 3)
    number, every = (sum(map(torch.numel, each.parameters())) for each in (adapters, model))
    assert 0 < number <= SHARE * every
    moved = {id(weight) for group in adamw(adapters, TRAINING).param_groups for weight in group["params"]}
    assert not moved & {id(weight) for weight in model.parameters()}


def test_a_step_is_that_of_low_rank_matrices(world: World) -> None:
    """By torch's own differentiation of W + U D on a single layer."""
    torch.manual_seed(0)
    model = torch.nn.Linear(60, 50, bias=False)
    begun, input_, target = model.weight.detach().clone(), torch.randn(7, 60), torch.randn(7, 50)
    adapters = Adapters(model, 3)
    optimizer = torch.optim.SGD(adapters.parameters(), lr=0.5)
    adapters.follow(optimizer)
    up, down = (each[0].detach().clone().requires_grad_() for each in (adapters.up, adapters.down))
    for _ in range(3):
        optimizer.zero_grad()
        (model(input_) - target).square().mean().backward()
        optimizer.step()
        ours = (input_ @ (begun + up @ down).T - target).square().mean()
        up_grad, down_grad = torch.autograd.grad(ours, (up, down))
        up, down = ((w - 0.5 * g).detach().requires_grad_() for w, g in ((up, up_grad), (down, down_grad)))
    torch.testing.assert_close(model.weight.detach(), (begun + up @ down).detach())
    assert torch.linalg.matrix_rank(model.weight.detach() - begun) == up.shape[1]


def test_all_else_stands_still_and_the_saved_model_has_no_other_form(
    world: World, trained: Interest, tmp_path: object
) -> None:
    model = copy.deepcopy(trained)
    before = weights(model)
    found = resume(model, world.tokens_IT, world.lengths_I, rows(64, 5), lora())
    assert 0 < found.trainable <= SHARE
    after = weights(model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(before[name].ndim >= 2 for name in moved)
    assert all(weight.requires_grad for weight in model.parameters())
    save_model(tmp_path, model)  # type: ignore[arg-type]
    again = load_model(tmp_path)  # type: ignore[arg-type]
    np.testing.assert_array_equal(
        item_vectors(again, world.tokens_IT, world.lengths_I),
        item_vectors(model.cpu(), world.tokens_IT, world.lengths_I),
    )


@pytest.mark.parametrize("adapt", ["all", "lora"])
def test_going_on_learns_and_the_same_seed_gives_the_same_weights(world: World, trained: Interest, adapt: str) -> None:
    training = lora(adapt=adapt)
    newer = rows(400, 8)
    # In the newer clicks the topics have changed places.
    turned = type(newer)(history_NH=newer.history_NH, candidates_NC=newer.candidates_NC ^ 1)
    turned.candidates_NC[newer.candidates_NC < 0] = -1
    found = []
    for _ in range(2):
        model = copy.deepcopy(trained)
        loss, _ = evaluate(model, world.tokens_IT, world.lengths_I, turned)
        resume(model, world.tokens_IT, world.lengths_I, turned, training)
        assert evaluate(model, world.tokens_IT, world.lengths_I, turned)[0] < loss
        found.append(weights(model))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_who_had_a_vector_keeps_it_and_who_is_new_starts_from_the_text_or_zero(world: World) -> None:
    settings = SETTINGS.model_copy(update={"clicks": "learned", "long_term": True})
    model = build(settings, VOCABULARY, 1, 3, 2)
    assert model.long_term is not None
    torch.nn.init.normal_(model.long_term)
    item_rows = np.full(ITEMS, -1)
    item_rows[[4, 7, 9]] = [2, 0, 1]
    larger = grown(model, world.tokens_IT, world.lengths_I, item_rows, np.array([1, -1, 0]))
    assert model.table is not None
    assert larger.table is not None
    assert larger.long_term is not None
    assert torch.equal(larger.table[[4, 7, 9]], model.table[[2, 0, 1]])
    text_ID = item_vectors(model, world.tokens_IT, world.lengths_I) @ model.translation.numpy()
    np.testing.assert_allclose(larger.table.detach().numpy()[0], text_ID[0], rtol=1e-5)
    assert torch.equal(larger.long_term[[0, 2]], model.long_term[[1, 0]])
    assert not larger.long_term[1].any()
    larger.encoder.project.bias.data += 1
    assert not torch.equal(larger.encoder.project.bias, model.encoder.project.bias)
