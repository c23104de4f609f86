"""The sections of a config file: every key, its type, its default and what makes it refused. Reads no files."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, field_validator, model_validator

from recsys_text.lake.windows import parse_duration


def _duration(value: Any) -> timedelta:
    if isinstance(value, str):
        return parse_duration(value)
    if not isinstance(value, timedelta):
        raise ValueError("write a duration as a text with its unit, such as '24h'")
    return value


# A text has whole minutes, so what is read comes back from minutes as it was.
Duration = Annotated[
    timedelta, BeforeValidator(_duration), PlainSerializer(lambda span: f"{span // timedelta(minutes=1)}m")
]
PositiveInt = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Project(Section):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    root: Path = Path("var")

    @field_validator("root", mode="before")
    @classmethod
    def _local(cls, root: Any) -> Any:
        if "://" in str(root):
            raise ValueError("the root is a local folder for now; sources may be at any address")
        return root


class Source(Section):
    """Where a table of the lake comes from.

    `columns` maps a column of the lake to the source's own name; `values` gives a constant column.
    `min_rows` refuses a window with fewer rows; `max_rejected` is the share of a window's rows that
    may break the contract. Impressions without a column `clicked` get it from the events: an item was clicked where
    its user had a positive event with it at most `clicks_within` after it was shown.
    """

    kind: Literal["file", "sql"]
    path: str | None = None
    uri: str | None = None
    conn_id: str | None = None
    query: str | None = None
    columns: dict[str, str] = {}
    values: dict[str, str] = {}
    time_zone: str | None = None
    min_rows: int = Field(default=0, ge=0)
    max_rejected: float = Field(default=0.05, ge=0, le=1)
    clicks_within: Duration | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        foreign = {"file": ("uri", "conn_id", "query"), "sql": ("path",)}[self.kind]
        for key in foreign:
            if getattr(self, key) is not None:
                raise ValueError(f"a source of kind '{self.kind}' takes no {key}")
        if self.kind == "file" and self.path is None:
            raise ValueError("a source of kind 'file' needs a path")
        if self.kind == "sql" and (self.query is None or (self.uri is None) == (self.conn_id is None)):
            raise ValueError("a source of kind 'sql' needs a query, and either a uri or a conn_id")
        return self


class Sources(Section):
    """`impressions` are optional: where they are logged, they are learnt from and measured on instead of pools."""

    items: Source
    events: Source
    impressions: Source | None = None

    @model_validator(mode="after")
    def _clicks_of_impressions(self) -> Self:
        if self.items.clicks_within is not None or self.events.clicks_within is not None:
            raise ValueError("clicks_within is of sources.impressions alone")
        return self


class Windows(Section):
    length: Literal["1d", "1h"] = "1d"
    late: int = Field(default=1, ge=0)

    @property
    def span(self) -> timedelta:
        return parse_duration(self.length)


class Candidates(Section):
    pool: Literal["alive", "all"] = "alive"
    active: Duration = timedelta(hours=24)
    fresh: Duration = timedelta(hours=24)


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
    `collaborative` and `content` are the ranks of the parts of the wide path, 0 leaves `content` out; `penalty` is that
    of its regressions, and `curve` how much texts must share to speak for each other (see `model.wide`); `wide` says
    whether interest is the sum of both paths, or the network alone.
    """

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
    match: PositiveInt = 512
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
    """How a bundle is trained. `history` and `blend_windows` count windows before the cutoff: the blend
    and its calibration learn from the last `blend_windows` at most, no more than hold `blend_clicks`, the text model
    from those before, of which it keeps the newest for early stopping. With `task = "next"` each click is to be told
    from `negatives` others of its pool by what was clicked before it; with "hidden", for items that do not age, every
    epoch hides the share `hidden` of each user's clicks, to be told by the rest from all that is hidden in a batch and
    `negatives` more items. With `patience = 0` nothing stops early, and the last of the `epochs` counts. Scheduled
    training runs when the newest window is `every` windows past the newest model.
    """

    history: PositiveInt = 90
    every: PositiveInt = 7
    blend_windows: PositiveInt = 7
    max_clicks: PositiveInt = 100_000
    task: Literal["next", "hidden"] = "next"
    hidden: float = Field(default=0.3, gt=0, lt=1)
    negatives: PositiveInt = 15
    blend_clicks: PositiveInt = 8000
    blend_candidates: PositiveInt = 60
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
    """Which rankers order the candidates: boosted trees, small networks, or the sum of both; see `ranking.blend`."""

    kind: Literal["lightgbm", "mlp", "both"] = "both"


class Evaluation(Section):
    """`windows` newest closed windows are the test, of which at most `max_impressions` are ranked: `at` each "click",
    or once for each user at the start of the "window", which needs an order alone, no clock.
    """

    windows: PositiveInt = 1
    at: Literal["click", "window"] = "click"
    max_impressions: PositiveInt = 4000
    resamples: PositiveInt = 1000
    seed: int = Field(default=7, ge=0)


class PublishChecks(Section):
    """What a version must be to replace the served one; it is refused otherwise. That lists are as long as their
    scores, and no longer than `top_k`, and that scores are probabilities, is asked for always.

    min_users: least share of the served version's users. min_length: least length of a user's list. max_repeated:
    greatest share of a list's items that repeat others. max_drift: greatest population stability index of the scores
    against the served ones, 0.25 being a grave drift by a rule of thumb; not asked for by default, as a new champion
    may well score otherwise. max_age: how old the newest window may be; not asked for by default, as a backfill or a
    sample is older than any night.
    """

    min_users: float = Field(default=0.5, ge=0)
    min_length: int = Field(default=0, ge=0)
    max_repeated: float = Field(default=0.0, ge=0, le=1)
    max_drift: float | None = Field(default=None, gt=0)
    max_age: Duration | None = None


class Publish(Section):
    top_k: PositiveInt = 100
    buckets: PositiveInt = 4
    keep: PositiveInt = 5
    checks: PublishChecks = PublishChecks()

    @model_validator(mode="after")
    def _fillable(self) -> Self:
        if self.checks.min_length > self.top_k:
            raise ValueError(f"checks.min_length = {self.checks.min_length} is above top_k = {self.top_k}; lower it")
        return self


class Store(Section):
    """Where scores are published: `file:FOLDER`, or `redis://` and `rediss://` (by TLS) as redis-py reads them."""

    url: str = Field(default="file:store", repr=False)  # it may hold a password


class Gate(Section):
    min_gain: float = 0.0


class Tracking(Section):
    uri: str | None = None


class Arm(Section):
    """What a share of the users gets: `diversity` in place of the request's, the view `scores` for `user_scores`."""

    share: float = Field(gt=0, le=1)
    diversity: float | None = Field(default=None, ge=0, lt=1)
    scores: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")


class Experiment(Section):
    """Arms by name; their shares are 1 together."""

    arms: dict[str, Arm]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = sum(arm.share for arm in self.arms.values())
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the shares of the arms are {total:g} together; they must be 1")
        return self


class Service(Section):
    """`workers` processes listen on one port. `impressions` is a folder under `project.root` into which every ranking
    and list is logged, where it is given; files there that are older than `keep_impressions` are removed.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: PositiveInt = 1
    max_k: PositiveInt = 1000
    max_candidates: PositiveInt = 2000
    impressions: Path | None = None
    keep_impressions: Duration | None = None
    experiments: dict[str, Experiment] = {}
