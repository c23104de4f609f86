"""How a bundle is made and measured: model, training, blend, evaluation."""

from datetime import timedelta
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from recsys_text.sections.base import Duration, PositiveInt, Section

#: Architectures of papers, which are trained as all others are. LSTUR: An et al. 2019, "Neural News Recommendation with
#: Long- and Short-term User Representations" (LSTUR-ini, without topics); NAML: Wu et al. 2019, "Neural News
#: Recommendation with Attentive Multi-View Learning" (a category is read as a text).
_PAPER = {"bag": False, "wide": False, "rnn": "none", "kernel_sizes": (3,), "pool_size": 1, "embedding": 300}
PRESETS: dict[str, dict[str, Any]] = {
    "lstur": _PAPER | {"channels": 300, "dim": 300, "user": "gru", "long_term": True, "dropout": 0.2},
    "naml": _PAPER | {"channels": 400, "dim": 400, "user": "attention", "views": True, "dropout": 0.2},
}


class Model(Section):
    """The shape of the text model; widths are numbers of features, lengths are tokens or clicks.

    The bag reads `max_tokens` of a text; convolutions (none where `kernel_sizes` is empty) and the RNN read the first
    `sequence`. `user` says how the last `history` clicks become a user; a click is the vector of its `text`, or one
    that is `learned` for each item that training knew, which pays where items live long. With `views`, convolutions and
    RNN read each field of an item by itself, and attention joins them; with `long_term`, the GRU starts from a vector
    of each user that training knew. `preset` is what a paper calls its model; keys beside it still count. `match`,
    `collaborative` and `content` are the ranks of the parts of the wide path, 0 leaves `content` out, and where `match`
    is not set it is at most 2,048 and as large as `training.budget` lets it be; `penalty` is that
    of its regressions, and `curve` how much texts must share to speak for each other (see `model.wide`), both chosen by
    items held out where they are not set (see `model.kernel_choice`); `wide` says whether interest is the sum of both
    paths, or the network alone.
    """

    AUTO: ClassVar[frozenset[str]] = frozenset({"curve", "penalty", "match"})

    preset: Literal["lstur", "naml"] | None = None
    vocabulary: PositiveInt = 8000
    max_tokens: PositiveInt = 96
    sequence: PositiveInt = 32
    embedding: PositiveInt = 64
    kernel_sizes: tuple[PositiveInt, ...] = (2, 3, 4)
    channels: PositiveInt = 32
    stride: PositiveInt = 1
    padding: Literal["same", "valid"] = "same"
    pool: Literal["max", "avg"] = "max"
    pool_size: PositiveInt = 2
    rnn: Literal["none", "rnn", "lstm", "gru"] = "gru"
    hidden: PositiveInt = 32
    bidirectional: bool = True
    readout: Literal["attention", "last"] = "attention"
    bag: bool = True
    dim: PositiveInt = 64
    dropout: float = Field(default=0.1, ge=0, lt=1)
    history: PositiveInt = 30
    user: Literal["mean", "attention", "gru", "gru+attention"] = "gru+attention"
    clicks: Literal["text", "learned"] = "text"
    views: bool = False
    long_term: bool = False
    wide: bool = True
    match: PositiveInt = 2048
    penalty: float = Field(default=0.3, gt=0)
    collaborative: PositiveInt = 128
    content: int = Field(default=512, ge=0)
    curve: float = Field(default=4.0, gt=0, le=20)

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        return PRESETS.get(str(given.get("preset")), {}) | given if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if self.long_term and "gru" not in self.user:
            raise ValueError(f"long_term is where a GRU starts, and user = '{self.user}' has none; take 'gru'")
        if self.views and self.rnn == "none" and not self.kernel_sizes:
            raise ValueError("views are read by convolutions or an RNN; give kernel_sizes or an rnn")
        if self.rnn == "none" and not self.kernel_sizes and not self.bag:
            raise ValueError("without kernel_sizes, rnn and bag nothing reads the text; give one of them")
        if self.rnn == "none" and self.readout == "last":
            raise ValueError("readout = 'last' is the last state of an rnn; with rnn = 'none' take 'attention'")
        return self


class Training(Section):
    """How a bundle is trained.

    A training takes about `budget`, its measurement included: of `regression_items`, whose texts teach the text
    regression, `max_clicks`, `epochs`, `pretrain_epochs`, `blend_clicks`, `blend_candidates` and
    `evaluation.max_impressions`, those that are not set are made smaller until they fit.

    `history` and `blend_windows` count windows before the cutoff: the blend and its calibration learn from the last
    `blend_windows` at most, no more than hold `blend_clicks`, the text model from those before, of which it keeps the
    newest for early stopping. With `task = "next"` each click is to be told
    from `negatives` others of its pool by what was clicked before it; with "hidden", for items that do not age, every
    epoch hides the share `hidden` of each user's clicks, to be told by the rest from all that is hidden in a batch and
    `negatives` more items. With `patience = 0` nothing stops early, and the last of the `epochs` counts. Scheduled
    training runs when the newest window is `every` windows past the newest model. With `full_every` it starts from the
    champion, and anew only where the champion's last whole training is so many windows old; without it, always anew.
    A warm start learns from the newer clicks and from older ones, which are the share `replay` of what it sees; `adapt`
    says whether it trains "all" of the network or, with "lora", adapters of at most 5% of its weights.
    """

    budget: Duration = timedelta(minutes=10)
    history: PositiveInt = 90
    every: PositiveInt = 7
    full_every: PositiveInt | None = None
    adapt: Literal["all", "lora"] = "all"
    replay: float = Field(default=0.5, ge=0, lt=1)
    blend_windows: PositiveInt = 60
    max_clicks: PositiveInt = 100_000
    regression_items: PositiveInt = 16_384
    task: Literal["next", "hidden"] = "next"
    hidden: float = Field(default=0.3, gt=0, lt=1)
    negatives: PositiveInt = 15
    blend_clicks: PositiveInt = 8000
    blend_candidates: PositiveInt = 300
    pretrain_epochs: int = Field(default=10, ge=0)
    distillation: float = Field(default=1.0, ge=0)
    epochs: PositiveInt = 3
    patience: int = Field(default=1, ge=0)
    batch_size: PositiveInt = 512
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    seed: int = Field(default=7, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"


class Blend(Section):
    """Which rankers order the candidates: boosted trees, small networks, or the sum of both; see `ranking.blend`. Where
    `kind` is not set, users held out decide how much each of them counts; see `ranking.mixture`.
    """

    AUTO: ClassVar[frozenset[str]] = frozenset({"kind"})

    kind: Literal["lightgbm", "mlp", "both"] = "both"


class Evaluation(Section):
    """`windows` newest closed windows are the test, of which at most `max_impressions` are ranked: `at` each "click",
    or once for each user at the start of the "window", which needs an order alone, no clock. Where `at` is not set, the
    times of the training windows decide; see `fitting.recipe`.
    """

    AUTO: ClassVar[frozenset[str]] = frozenset({"at"})

    windows: PositiveInt = 1
    at: Literal["click", "window"] = "click"
    max_impressions: PositiveInt = 4000
    resamples: PositiveInt = 1000
    seed: int = Field(default=7, ge=0)
