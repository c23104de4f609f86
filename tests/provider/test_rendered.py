"""What Airflow makes of templates, also of those that find nothing, is what the operators understand."""

from pathlib import Path
from typing import Any, TypeVar

import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from recsys_text.config import load
from recsys_text.errors import ConfigError
from recsys_text.provider.operators import ExtractOperator, MonitorOperator, TrainOperator
from recsys_text.provider.rendered import flag, given, number
from recsys_text.provider.sensor import ScoresPublishedSensor
from recsys_text.steps.inputs import tracker
from recsys_text.steps.lineage import config_of

Operator = TypeVar("Operator", bound=BaseOperator)
EMPTY = {"cutoff": None, "seed": None, "warm_start": False, "window": None, "as_of": ""}


def rendered(operator: Operator, *, native: bool = False, **params: Any) -> Operator:
    """The operator as its task finds it, in a run by hand: the DAG's form with what is filled in."""
    operator.dag = DAG("own", schedule=None, render_template_as_native_obj=native)
    context: Any = {"params": EMPTY | params, "dag_run": {"partition_key": None}}
    operator.render_template_fields(context)
    return operator


def training(config: Path, *, native: bool = False, **params: Any) -> Any:
    operator = TrainOperator(
        task_id="train",
        config=config,
        cutoff="{{ params.cutoff }}",
        seed="{{ params.seed }}",
        warm_start="{{ params.warm_start }}",
    )
    return rendered(operator, native=native, **params).execute({})


@pytest.fixture
def extracted(small_config: Path) -> Path:
    ExtractOperator(task_id="extract", config=small_config, start="2024-05-01", end="2024-05-06").execute({})
    return small_config


def test_a_training_takes_what_the_form_holds(extracted: Path) -> None:
    settings = load(extracted)
    assert training(extracted)["cutoff"] == "2024-05-05T00:00:00+00:00"
    assert training(extracted, native=True, seed=11, cutoff="2024-05-04")["cutoff"] == "2024-05-04T00:00:00+00:00"
    training(extracted, seed=12)
    configs = [config_of(tracker(settings), version) or {} for version in ("1", "2", "3")]
    assert [config["training"]["seed"] for config in configs] == [settings.training.seed, 11, 12]
    for native in (False, True):
        with pytest.raises(AirflowFailException, match="champion"):  # from which it would start
            training(extracted, native=native, warm_start=True)
    with pytest.raises(AirflowFailException, match="seed='-1' is no whole number"):
        training(extracted, seed=-1)


def test_a_window_of_nothing_is_the_newest(extracted: Path) -> None:
    monitor = MonitorOperator(task_id="monitor", config=extracted, window="{{ params.window }}")
    assert rendered(monitor).execute({})["window"] == "2024-05-05"


def test_what_is_not_given_leaves_the_other(small_config: Path) -> None:
    extract = ExtractOperator(
        task_id="extract",
        config=small_config,
        window="{{ params.window }}",
        start="{{ params.start }}",
        end="{{ params.end }}",
    )
    assert rendered(extract, start="2024-05-01", end="2024-05-03").execute({})["windows"] == [
        "2024-05-01",
        "2024-05-02",
    ]
    by_hand = "{{ dag_run.partition_key or params.window }}"
    sensor = ScoresPublishedSensor(task_id="scores", config=small_config, window=by_hand, as_of="{{ params.as_of }}")
    assert not rendered(sensor, window="2024-05-05").poke({}).is_done
    sensor = ScoresPublishedSensor(task_id="scores", config=small_config, window="{{ dag_run.partition_key }}")
    with pytest.raises(AirflowFailException, match="scores has window=None and as_of=None; give it one of the two"):
        rendered(sensor).poke({})


def test_texts_of_templates() -> None:
    assert [given(value) for value in ("", "None", None, "x", 0, False)] == [None, None, None, "x", 0, False]
    assert [number("seed", value) for value in ("", "None", None, "11", 11, 0)] == [None, None, None, 11, 11, 0]
    for text in ("-1", "1.5", "seven", -1):
        with pytest.raises(ConfigError, match="no whole number"):
            number("seed", text)
    assert [flag("warm_start", value) for value in ("True", "true", True)] == [True] * 3
    assert [flag("warm_start", value) for value in ("", "None", "False", "false", False)] == [False] * 5
    with pytest.raises(ConfigError, match="warm_start='maybe' is neither true nor false"):
        flag("warm_start", "maybe")
