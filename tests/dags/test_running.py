"""How long tasks wait between tries, who is told of failures, and which words never come to a log."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.definitions.retry_policy import RetryAction
from airflow.sdk.exceptions import AirflowSkipException, AirflowTaskTimeout

from recsys_text.config import Settings, load
from recsys_text.errors import LakeChanged, UnavailableError
from recsys_text.provider.projects import CONFIGS, DEFAULT_ARGS, problems, projects
from recsys_text.provider.running import LONGEST_DELAY, Backoff, notifiers, notify, secrets, skip_if_overtaken, step

CONFIG = """
[project]
name = "books"
[sources.items]
kind = "sql"
uri = "postgresql://shop:p%40ss@db:5432/shop"
query = "select 1"
[sources.events]
kind = "file"
path = "s3://key:word@bucket/events.parquet"
[store]
url = "redis://u:${REDIS_PASSWORD}@host:6379/0"
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REDIS_PASSWORD", "two")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = tmp_path / "recsys.toml"
    path.write_text(CONFIG)
    return path


def with_notifier(config: Path, **named: str) -> Settings:
    fields = ", ".join(f'{key} = "{value}"' for key, value in named.items())
    config.write_text(config.read_text() + f"[schedule]\nnotify = [{{ {fields} }}]\n")
    return load(config)


def test_each_wait_is_about_twice_as_long_and_none_like_another() -> None:
    policy, error = Backoff(), UnavailableError("down")
    waits, retries = [], int(DEFAULT_ARGS["retries"])
    for tried in range(1, retries + 1):
        of_try = [policy.evaluate(error, tried, 20) for _ in range(20)]
        assert {decision.action for decision in of_try} == {RetryAction.RETRY}
        delays = [decision.retry_delay for decision in of_try if decision.retry_delay is not None]
        assert len(set(delays)) == len(of_try)  # the tasks of one bucket each do not come back at once
        longest = min(LONGEST_DELAY, timedelta(seconds=30) * 2 ** (tried - 1))
        assert all(longest / 2 <= delay <= longest for delay in delays)
        waits.append(delays)
    assert sum(map(min, waits), timedelta()) > timedelta(minutes=45)
    assert sum(map(max, waits), timedelta()) < timedelta(minutes=95)


def test_a_task_that_ran_out_of_time_is_not_tried_again() -> None:
    assert Backoff().evaluate(AirflowTaskTimeout("Timeout, PID: 1"), 1, 8).action == RetryAction.FAIL


def test_a_publication_that_the_lake_overtook_is_a_skip() -> None:
    def overtaken() -> dict[str, Any]:
        raise LakeChanged("the lake changed")

    with pytest.raises(AirflowSkipException, match="the lake changed"):
        step(skip_if_overtaken(overtaken))()
    with pytest.raises(LakeChanged):  # begun anew, it may succeed
        step(overtaken)()


def test_notifiers_are_made_of_their_arguments(config: Path, tmp_path: Path) -> None:
    told = tmp_path / "told.txt"
    settings = with_notifier(
        config,
        **{
            "class": "tests.dags.live.notifier.FileNotifier",
            "path": str(told),
            "message": "{{ who }}: {{ exception }}",
        },
    )
    notify(notifiers(settings, config), {"who": "monitor"}, "nDCG fell")
    assert told.read_text() == "monitor: nDCG fell\n"


@pytest.mark.parametrize(
    ("named", "because"),
    [
        ({"class": "tests.dags.nowhere.Pager"}, "cannot be imported"),
        ({"class": "tests.dags.live.notifier.Pager"}, "cannot be imported"),
        ({"class": "tests.dags.live.notifier.FileNotifier", "paht": "x"}, "does not take these arguments"),
        ({"class": "pathlib.PurePath"}, "is no notifier"),
    ],
)
def test_a_wrong_notifier_is_an_import_error_that_names_it(
    config: Path, monkeypatch: pytest.MonkeyPatch, named: dict[str, str], because: str
) -> None:
    with_notifier(config, **named)
    monkeypatch.setenv(CONFIGS, str(config))
    assert projects() == []
    (line,) = problems()
    assert because in line
    assert all(part in line for part in (str(config), "schedule.notify[0]", named["class"]))


def test_secrets_are_the_passwords_of_all_addresses(config: Path) -> None:
    assert secrets(load(config)) == {"p%40ss", "p@ss", "word", "two"}


def test_a_password_behind_the_question_mark_is_a_secret(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_TEXT_STORE__URL", "redis://host:6379/0?ssl_password=three&prefix=x")
    assert secrets(load(config)) == {"p%40ss", "p@ss", "word", "three"}
