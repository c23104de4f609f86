from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recsys_text.config import load
from recsys_text.errors import ConfigError
from recsys_text.sections import Candidates

MINIMAL = """
[project]
name = "shop"
[sources.items]
kind = "file"
path = "items.parquet"
[sources.events]
kind = "file"
path = "s3://bucket/clicks/*.parquet"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recsys.toml"
    path.write_text(text)
    return path


def test_relative_paths_start_at_the_file_and_urls_stay(tmp_path: Path) -> None:
    settings = load(write(tmp_path, MINIMAL))
    assert settings.project.root == tmp_path / "var"
    assert settings.sources.items.path == str(tmp_path / "items.parquet")
    assert settings.sources.events.path == "s3://bucket/clicks/*.parquet"
    assert settings.store_url == f"file:{tmp_path}/var/store"


@pytest.mark.parametrize(
    ("uri", "meant"),
    [
        ("sqlite:///mlflow.db", "sqlite:///{folder}/mlflow.db"),
        ("sqlite+pysqlite:///a/b.db?timeout=9", "sqlite+pysqlite:///{folder}/a/b.db?timeout=9"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("./mlruns", "{folder}/mlruns"),
        ("http://mlflow.example:5000", "http://mlflow.example:5000"),
        ("postgresql://mlflow@db.example/mlflow", "postgresql://mlflow@db.example/mlflow"),
        ("databricks", "databricks"),
    ],
)
def test_files_of_mlflow_start_at_the_file_and_servers_stay(tmp_path: Path, uri: str, meant: str) -> None:
    settings = load(write(tmp_path, MINIMAL + f'[tracking]\nuri = "{uri}"\n'))
    assert settings.tracking_uri == meant.format(folder=tmp_path)


def test_schedule_is_times_of_day_durations_and_notifiers(tmp_path: Path) -> None:
    notify = 'notify = [{ class = "my.alerts.Pager", team = "shop", level = 2 }]'
    schedule = load(write(tmp_path, MINIMAL + f'[schedule]\ndeadline = "06:30"\nrefresh = "15m"\n{notify}\n')).schedule
    assert schedule.due == timedelta(hours=6, minutes=30)
    assert schedule.refresh == timedelta(minutes=15)
    assert [(one.path, one.arguments) for one in schedule.notify] == [("my.alerts.Pager", {"team": "shop", "level": 2})]
    assert "shop" not in repr(schedule)
    empty = load(write(tmp_path, MINIMAL)).schedule
    assert (empty.due, empty.refresh, empty.notify) == (None, None, ())


@pytest.mark.parametrize("end", ['"2017-08-30"', "2017-08-30", "2017-08-30T00:00:00Z", '"2017-08-30T02:00+02:00"'])
def test_the_end_of_a_log_is_a_time_with_or_without_quotes(tmp_path: Path, end: str) -> None:
    schedule = load(write(tmp_path, MINIMAL + f"[schedule]\nend = {end}\n")).schedule
    assert schedule.end == datetime(2017, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('deadline = "6:30"', "schedule.deadline"),
        ('deadline = "24:00"', "schedule.deadline"),
        ("refresh = 15", "schedule.refresh"),
        ("end = 2017", "schedule.end"),
        ('end = "summer"', "schedule.end"),
        ('notify = [{ team = "shop" }]', "schedule.notify.0.class"),
        ('notify = [{ class = "Pager" }]', "schedule.notify.0.class"),
        ('dead_line = "06:30"', "schedule.deadline"),
    ],
)
def test_a_wrong_schedule_is_named(tmp_path: Path, line: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load(write(tmp_path, MINIMAL + f"[schedule]\n{line}\n"))


def test_defaults_and_durations(tmp_path: Path) -> None:
    settings = load(write(tmp_path, MINIMAL + '[candidates]\nactive = "90m"\n'))
    assert settings.candidates.active == timedelta(minutes=90)
    assert settings.training.seed == 7


def test_a_preset_is_a_papers_model_and_keys_beside_it_count(tmp_path: Path) -> None:
    model = load(write(tmp_path, MINIMAL + '[model]\npreset = "lstur"\ndim = 16\n')).model
    assert (model.user, model.long_term, model.rnn, model.kernel_sizes, model.wide) == (
        "gru",
        True,
        "none",
        (3,),
        False,
    )
    assert (model.dim, model.channels) == (16, 300)
    assert load(write(tmp_path, MINIMAL + '[model]\npreset = "naml"\n')).model.views


def test_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_TEXT_TRAINING__EPOCHS", "9")
    monkeypatch.setenv("RECSYS_TEXT_PROJECT__ROOT", str(tmp_path / "elsewhere"))
    settings = load(write(tmp_path, MINIMAL + "[training]\nepochs = 2\nseed = 3\n"))
    assert (settings.training.epochs, settings.training.seed) == (9, 3)
    assert settings.project.root == tmp_path / "elsewhere"
    assert settings.project.name == "shop"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ('[model]\npreset = "bert"\n', r"model\.preset"),
        ('[model]\nlong_term = true\nuser = "mean"\n', "take 'gru'"),
        ('[model]\nviews = true\nrnn = "none"\nkernel_sizes = []\n', "give kernel_sizes or an rnn"),
        ('[training]\ntask = "hidden"\n', r"needs model\.clicks = 'learned'"),
        (
            '[windows]\nlength = "1h"\nlate = 24\n[service]\nkeep_impressions = "25h"\n',
            r"service.keep_impressions = '25h' is too short: windows.late = 24 .* until they are 26h old",
        ),
        ("[training]\nepoch = 4\n", r"unknown key 'training.epoch'; did you mean 'training.epochs'\?"),
        ("[trainnig]\nepochs = 4\n", r"unknown key 'trainnig'; did you mean 'training'\?"),
        ("[training]\nepochs = 'x'\n", r"'training.epochs' = 'x': Input should be a valid integer"),
        ("[training]\nepochs = 0\n", r"'training.epochs' = 0: .*greater than 0"),
        ("[candidates]\nactive = '24 hours'\n", r"'24 hours' is not a duration"),
        ("[model]\nrnn = 'lstn'\n", r"'model.rnn' = 'lstn': .*'lstm'"),
        ("[candidates]\nactive = 24\n", r"'candidates.active' = 24: .*such as '24h'"),
        ("[candidates]\nactive = '99999999999d'\n", r"too long a duration; write at most 36500d"),
        ("[store]\nurl = '${NOT_SET_ANYWHERE}'\n", r"no environment variable NOT_SET_ANYWHERE is set"),
        ("[training\n", r"not readable as TOML"),
    ],
)
def test_a_fault_is_named_in_one_line(tmp_path: Path, extra: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(write(tmp_path, MINIMAL + extra))
    assert "\n" not in str(caught.value).removesuffix("\n") or "TOML" in message


def test_impressions_are_kept_as_long_as_they_are_extracted(tmp_path: Path) -> None:
    text = MINIMAL + '[windows]\nlength = "1h"\nlate = 24\n[service]\nkeep_impressions = "26h"\n'
    assert load(write(tmp_path, text)).service.keep_impressions == timedelta(hours=26)
    assert load(write(tmp_path, MINIMAL)).service.keep_impressions is None


def test_a_source_without_its_query_is_refused(tmp_path: Path) -> None:
    text = MINIMAL.replace('kind = "file"\npath = "s3://bucket/clicks/*.parquet"', 'kind = "sql"\nuri = "sqlite:x.db"')
    with pytest.raises(ConfigError, match="needs a query"):
        load(write(tmp_path, text))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "[project]",
            '[project]\nroot = "s3://key:secret@bucket/x"',
            r"'project\.root' = 's3://bucket/x': .*local folder",
        ),
        ('path = "items.parquet"', 'path = "items.parquet"\nquery = "select 1"', r"'sources\.items': .*takes no query"),
        (
            'kind = "file"\npath = "items.parquet"',
            'kind = "sql"\nuri = "sqlite:x"\nquery = "select 1"\npath = "x"',
            r"'sources\.items': .*'sql' takes no path",
        ),
    ],
)
def test_what_would_be_ignored_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(write(tmp_path, MINIMAL.replace(old, new)))


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("RECSYS_TEXT_MODEL__KERNEL_SIZES", "abc", "RECSYS_TEXT_MODEL__KERNEL_SIZES is not JSON"),
        ("RECSYS_TEXT_MODEL", "{", "RECSYS_TEXT_MODEL is not JSON"),
        ("RECSYS_TEXT_TRANING__EPOCHS", "3", r"RECSYS_TEXT_TRANING__EPOCHS .*mean RECSYS_TEXT_TRAINING__EPOCHS\?"),
        ("RECSYS_TEXT_TRAINING__EPOCH", "3", r"RECSYS_TEXT_TRAINING__EPOCH .*mean RECSYS_TEXT_TRAINING__EPOCHS\?"),
        ("RECSYS_TEXT_SOURCES__EVENTS__PAHT", "x", r"mean RECSYS_TEXT_SOURCES__EVENTS__PATH\?"),
        ("RECSYS_TEXT_TRAINING__EPOCHS", "many", "'training.epochs' = 'many'"),
    ],
)
def test_a_faulty_variable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=message):
        load(write(tmp_path, MINIMAL))


def test_lists_maps_and_what_others_read_may_come_from_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATA", "TOKEN", "CONFIGS", "TRAIN_POOL"):
        monkeypatch.setenv(f"RECSYS_TEXT_{name}", "x")
    monkeypatch.setenv("RECSYS_TEXT_MODEL__KERNEL_SIZES", "[5]")
    monkeypatch.setenv("RECSYS_TEXT_SOURCES__EVENTS__COLUMNS__ITEM_ID", "sku")
    settings = load(write(tmp_path, MINIMAL))
    assert settings.model.kernel_sizes == (5,)
    assert settings.sources.events.columns == {"item_id": "sku"}


@pytest.mark.parametrize("span", ["1m", "90m", "24h", "7d", "36500d"])
def test_a_duration_survives_json(span: str) -> None:
    rules = Candidates.model_validate({"active": span})
    assert Candidates.model_validate_json(rules.model_dump_json()) == rules


def test_a_store_of_another_kind_is_told_without_its_secrets(tmp_path: Path) -> None:
    settings = load(write(tmp_path, MINIMAL + '[store]\nurl = "s3://key:secret@bucket"\n'))
    with pytest.raises(ConfigError, match=r"'file:FOLDER'.*'s3:") as caught:
        settings.store_url  # noqa: B018
    assert "secret" not in str(caught.value)


def test_a_store_in_redis_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("redis://localhost:6379/0", "rediss://shop@host/1?ssl_ca_certs=/etc/ca.pem&prefix=shop:"):
        assert load(write(tmp_path, MINIMAL + f'[store]\nurl = "{url}"\n')).store_url == url
    path = write(tmp_path, MINIMAL + '[store]\nurl = "redis://shop:${REDIS_PASSWORD}@host/0"\n')
    monkeypatch.setenv("REDIS_PASSWORD", "geheim")
    settings = load(path)
    assert settings.store_url == "redis://shop:geheim@host/0"
    assert "geheim" not in repr(settings)
    monkeypatch.setenv("RECSYS_TEXT_STORE__URL", "redis://:geheim2@other/0")
    assert load(path).store_url == "redis://:geheim2@other/0"


@pytest.mark.parametrize(
    "url",
    [
        "redis://:geheim@host/0",
        "redis://shop:gehe/im@host/0",
        "redis://shop:a@geheim@host/0",
        "redis://shop:${NAME}geheim@host/0",
        "redis://host/0?db=1&password=geheim",
        "rediss://host/0?ssl_password=geheim",
    ],
)
def test_a_password_in_the_file_is_refused_and_not_shown(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"\$\{REDIS_PASSWORD\}.*RECSYS_TEXT_STORE__URL") as caught:
        load(write(tmp_path, MINIMAL + f'[store]\nurl = "{url}"\n'))
    assert "geheim" not in str(caught.value)


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="recsys-text init"):
        load(tmp_path / "nowhere.toml")


def test_settings_are_frozen(tmp_path: Path) -> None:
    settings = load(write(tmp_path, MINIMAL))
    with pytest.raises(ValueError, match="frozen"):
        settings.training.epochs = 3  # type: ignore[misc]


def test_impressions_are_an_optional_source_like_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(write(tmp_path, MINIMAL)).sources.impressions is None
    with_shown = MINIMAL + '[sources.impressions]\nkind = "file"\npath = "shown.parquet"\n'
    monkeypatch.setenv("RECSYS_TEXT_SOURCES__IMPRESSIONS__MIN_ROWS", "3")
    found = load(write(tmp_path, with_shown)).sources.impressions
    assert found is not None
    assert (found.path, found.min_rows) == (str(tmp_path / "shown.parquet"), 3)
    with pytest.raises(ConfigError, match=r"unknown key .*did you mean 'sources.impressions.path'"):
        load(write(tmp_path, with_shown + 'pathh = "x"\n'))
    monkeypatch.setenv("RECSYS_TEXT_SOURCES__IMPRESSIONS__MIN_ROW", "3")
    with pytest.raises(ConfigError, match=r"did you mean RECSYS_TEXT_SOURCES__IMPRESSIONS__MIN_ROWS"):
        load(write(tmp_path, with_shown))
