import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_text.model.encoder import Encoder
from recsys_text.model.scorer import build
from recsys_text.sections import Model

VOCABULARY = 50
SMALL = {"embedding": 6, "channels": 3, "hidden": 5, "dim": 8, "max_tokens": 12}
READERS = [("none", "attention"), *itertools.product(["rnn", "lstm", "gru"], ["attention", "last"])]


@st.composite
def shapes(draw: st.DrawFn) -> Model:
    rnn, readout = draw(st.sampled_from(READERS))
    kernel_sizes = tuple(draw(st.lists(st.integers(1, 5), max_size=3, unique=True)))
    return Model(
        **SMALL,
        kernel_sizes=kernel_sizes,
        stride=draw(st.integers(1, 3)),
        padding=draw(st.sampled_from(["same", "valid"])),
        pool=draw(st.sampled_from(["max", "avg"])),
        pool_size=draw(st.integers(1, 3)),
        rnn=rnn,
        bidirectional=draw(st.booleans()),
        readout=readout,
        bag=(rnn == "none" and not kernel_sizes) or draw(st.booleans()),
        sequence=draw(st.integers(3, 12)),
    )


SHAPES = shapes()


def _encoder(shape: Model) -> Encoder:
    return build(shape, VOCABULARY, seed=1).encoder.eval()


def _texts(lengths: list[int], width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    lengths_B = torch.tensor(lengths)
    ids_BT = torch.randint(2, VOCABULARY, (len(lengths), width), generator=torch.Generator().manual_seed(seed))
    return ids_BT * (torch.arange(width) < lengths_B[:, None]), lengths_B


@settings(max_examples=30, deadline=None)
@given(shape=SHAPES, lengths=st.lists(st.integers(1, 12), min_size=2, max_size=6), seed=st.integers(0, 99))
def test_a_vector_does_not_depend_on_its_batch_or_padding(shape, lengths, seed):
    encoder = _encoder(shape)
    ids_BT, lengths_B = _texts(lengths, 12, seed)
    with torch.no_grad():
        together_BD = encoder(ids_BT, lengths_B)
        for row, length in enumerate(lengths):
            alone_1D = encoder(ids_BT[row : row + 1, :length], lengths_B[row : row + 1])
            torch.testing.assert_close(alone_1D[0], together_BD[row], atol=1e-5, rtol=1e-4)
    assert torch.isfinite(together_BD).all()


@settings(max_examples=30, deadline=None)
@given(shape=SHAPES, lengths=st.lists(st.integers(0, 12), min_size=4, max_size=12), group=st.integers(1, 4))
def test_groups_of_like_length_give_the_same_vectors_and_gradients(shape, lengths, group):
    encoder = _encoder(shape)
    ids_BT, lengths_B = _texts(lengths, 12)
    weights_BD = torch.randn(len(lengths), 8, generator=torch.Generator().manual_seed(0))
    found = []
    for size in (len(lengths), group):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("recsys_text.model.encoder._GROUP", size)
            vec_BD = encoder(ids_BT, lengths_B)
        gradients = torch.autograd.grad((vec_BD * weights_BD).sum(), list(encoder.parameters()), allow_unused=True)
        found.append((vec_BD, [each for each in gradients if each is not None]))
    (whole_BD, whole), (grouped_BD, grouped) = found
    torch.testing.assert_close(grouped_BD, whole_BD, atol=1e-5, rtol=1e-4)
    for one, other in zip(grouped, whole, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("rnn", "readout", "padding", "pool"),
    list(itertools.product(["rnn", "lstm", "gru"], ["attention", "last"], ["same", "valid"], ["max", "avg"])),
)
def test_every_weight_learns_and_every_token_counts(rnn, readout, padding, pool):
    shape = Model(**SMALL | {"channels": 8}, rnn=rnn, readout=readout, padding=padding, pool=pool, bag=False, dropout=0)
    encoder = _encoder(shape)
    ids_BT, lengths_B = _texts([12, 9], 12)
    vec_BD = encoder(ids_BT, lengths_B)
    (vec_BD * torch.linspace(-1, 1, 8)).sum().backward()
    for name, weight in encoder.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name
    gradient_V = encoder.embedding.weight.grad.abs().sum(1)
    if pool == "avg":
        assert (gradient_V[ids_BT[0]] > 0).all()
    assert gradient_V[0] == 0


def test_the_bag_adds_a_path_of_its_own():
    ids_BT, lengths_B = _texts([4], 12)
    with_bag = build(Model(**SMALL, bag=True), VOCABULARY, seed=1).encoder.eval()
    without = build(Model(**SMALL, bag=False), VOCABULARY, seed=1).encoder.eval()
    without.load_state_dict(
        {name: w for name, w in with_bag.state_dict().items() if name not in ("bag.weight", "rarity")}, strict=False
    )
    assert not torch.allclose(with_bag(ids_BT, lengths_B), without(ids_BT, lengths_B), atol=1e-3)
    with torch.no_grad():
        with_bag.bag.weight.zero_()
    torch.testing.assert_close(with_bag(ids_BT, lengths_B), without(ids_BT, lengths_B))


def test_an_average_is_over_real_positions_only():
    """Identity convolution, average of one partial window: 3 tokens in windows of 2."""
    shape = Model(**SMALL | {"embedding": 1, "channels": 1}, kernel_sizes=(1,), pool="avg", pool_size=2, bag=False)
    encoder = _encoder(shape)
    with torch.no_grad():
        encoder.convolutions[0].weight.fill_(1)
        encoder.convolutions[0].bias.fill_(1)
    text_BTE = torch.tensor([[[1.0], [3.0], [5.0], [0.0]], [[1.0], [2.0], [3.0], [4.0]]])
    pooled_BNC, lengths_B = encoder._convolve(text_BTE, torch.tensor([3, 4]))
    assert pooled_BNC[..., 0].tolist() == [[3.0, 6.0], [2.5, 4.5]]
    assert lengths_B.tolist() == [2, 2]


def test_positions_follow_stride_and_padding():
    text_BTE = torch.zeros(3, 9, 6)
    lengths_B = torch.tensor([1, 4, 9])
    for padding, stride, expected in [("same", 1, [1, 4, 9]), ("same", 2, [1, 2, 5]), ("valid", 2, [1, 1, 4])]:
        shape = Model(**SMALL, kernel_sizes=(2, 3), stride=stride, padding=padding, pool_size=1)
        pooled_BNC, positions_B = _encoder(shape)._convolve(text_BTE, lengths_B)
        assert positions_B.tolist() == expected
        assert pooled_BNC.shape == (3, max(expected), 2 * SMALL["channels"])


def test_a_text_without_tokens_has_a_vector():
    for padding in ("same", "valid"):
        encoder = _encoder(Model(**SMALL, padding=padding))
        vec_BD = encoder(torch.zeros(2, 12, dtype=torch.int32), torch.tensor([0, 0]))
        assert torch.isfinite(vec_BD).all()


def test_views_are_read_apart_and_an_empty_one_counts_for_nothing():
    encoder = build(Model(**SMALL, views=True, bag=False), VOCABULARY, seed=1).encoder.eval()
    whole_BT, lengths_B = _texts([7, 7], 12)
    first_BT, _ = _texts([5, 5], 12, seed=1)
    other_BT, _ = _texts([0, 3], 12, seed=2)
    nothing_BT = torch.zeros_like(first_BT)

    def read(*views: torch.Tensor) -> torch.Tensor:
        return encoder(torch.cat([whole_BT, *views], dim=1), lengths_B)

    with torch.no_grad():
        alone, either, swapped = (
            read(*views) for views in ((first_BT, nothing_BT), (first_BT, other_BT), (other_BT, first_BT))
        )
    torch.testing.assert_close(alone[0], either[0])
    assert not torch.allclose(alone[1], either[1], atol=1e-3)
    torch.testing.assert_close(either, swapped)
    assert torch.isfinite(read(nothing_BT, nothing_BT)).all()
