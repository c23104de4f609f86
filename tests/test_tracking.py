import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import mlflow
import pytest

import recsys_text
from recsys_text.errors import ConfigError, UnavailableError
from recsys_text.tracking import Tracker
from recsys_text.tracking import tracker as tracker_module


def a_tracker(folder: Path) -> Tracker:
    folder.mkdir(exist_ok=True)
    return Tracker(f"sqlite:///{folder}/mlflow.db", "shop", folder)


def test_two_projects_of_one_process_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    first, second = a_tracker(tmp_path / "a"), a_tracker(tmp_path / "b")
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "bundle.json").write_text("{}")
    with first.run(params={"a": {"b": 1}}, datasets={"items": "ab" * 32}):
        version = first.register(bundle, {"history": ["x"], "candidates": ["y"]}, ["clicks_2h"])
    first.set_alias("champion", version)
    first.tag(version, {"cutoff": "2024-05-01"})
    assert (first.version("champion"), second.version("champion")) == ("1", None)
    assert first.tags(version)["cutoff"] == "2024-05-01"
    assert [path.name for path in first.bundle(version).iterdir()] == ["bundle.json"]
    assert "MLFLOW_TRACKING_URI" not in os.environ
    with pytest.raises(ConfigError, match="no version '77'"):
        first.bundle("77")


def test_a_failed_run_is_marked_failed(tmp_path: Path) -> None:
    tracker = a_tracker(tmp_path / "a")
    with pytest.raises(OSError, match="not MLflow's"), tracker.run(params={}, datasets={}) as run:
        raise OSError("not MLflow's")
    assert mlflow.MlflowClient(f"sqlite:///{tmp_path}/a/mlflow.db").get_run(run).info.status == "FAILED"


def test_a_run_that_cannot_be_described_is_marked_failed(tmp_path: Path) -> None:
    tracker = a_tracker(tmp_path / "a")
    with pytest.raises(ConfigError, match="refused"), tracker.run(params={"": 1}, datasets={}):
        raise AssertionError("never reached")
    runs = mlflow.MlflowClient(f"sqlite:///{tmp_path}/a/mlflow.db").search_runs(["1"])
    assert [run.info.status for run in runs] == ["FAILED"]


def test_a_run_within_a_run_that_is_taken_up_again(tmp_path: Path) -> None:
    tracker = a_tracker(tmp_path / "a")
    with tracker.run(params={"a": 1}, datasets={}) as parent, tracker.run(params={}, datasets={}, nested=True) as first:
        tracker.mark({"outcome": "pruned"})
    with tracker.run(params={"a": 1}, datasets={}, resume=parent) as again:
        with pytest.raises(KeyboardInterrupt), tracker.run(params={}, datasets={}, nested=True) as second:
            raise KeyboardInterrupt
        with tracker.run(params={}, datasets={}, nested=True) as third:
            pass
    assert again == parent
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/a/mlflow.db")
    below = {run: client.get_run(run).data.tags["mlflow.parentRunId"] for run in (first, second, third)}
    assert set(below.values()) == {parent}
    status = [client.get_run(run).info.status for run in (parent, first, second, third)]
    assert status == ["FINISHED", "FINISHED", "KILLED", "FINISHED"]
    assert client.get_run(first).data.tags["outcome"] == "pruned"


def test_a_run_that_is_gone_is_begun_anew(tmp_path: Path) -> None:
    tracker = a_tracker(tmp_path / "a")
    with tracker.run(params={}, datasets={}) as deleted:
        pass
    mlflow.MlflowClient(f"sqlite:///{tmp_path}/a/mlflow.db").delete_run(deleted)
    for gone in (deleted, "0" * 32):
        with tracker.run(params={}, datasets={}, resume=gone) as run:
            pass
        assert run != gone


def test_a_machine_without_git_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with a_tracker(tmp_path / "a").run(params={}, datasets={}) as run:
        pass
    tags = mlflow.MlflowClient(f"sqlite:///{tmp_path}/a/mlflow.db").get_run(run).data.tags
    assert "torch" in tags
    assert "mlflow.source.git.commit" not in tags


def test_a_package_within_somebodys_repository_has_no_commit_of_its_own(tmp_path: Path) -> None:
    package = Path(recsys_text.__file__).parent
    shutil.copytree(package / "tracking", tmp_path / "lib" / "tracking", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".gitignore").write_text("lib")
    commands = ["git init -q", "git add .gitignore", "git -c user.name=a -c user.email=a@b.c commit -q -m one"]
    for command in commands:
        subprocess.run(command.split(), cwd=tmp_path, check=True)
    code = "import environment; print(environment.environment())"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "lib" / "tracking", capture_output=True, text=True, check=True
    )  # fmt: skip
    assert "'torch'" in told.stdout
    assert "'processor'" in told.stdout
    assert "git.commit" not in told.stdout


def test_bundles_that_nobody_uses_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker_module, "_BUNDLES", 2)
    bundle, tracker = tmp_path / "bundle", a_tracker(tmp_path / "a")
    bundle.mkdir()
    (bundle / "bundle.json").write_text("{}")
    for _ in range(3):
        with tracker.run(params={}, datasets={}):
            version = tracker.register(bundle, {"history": ["x"], "candidates": ["y"]}, [])
    assert tracker.versions().keys() == {"1", "2", version}

    def kept() -> list[str]:
        return sorted(path.name.partition("-")[0] for path in (tmp_path / "a" / "bundles").glob("[!.]*"))

    for number, name in enumerate(("1", "2", "1")):
        os.utime(tracker.bundle(name), (number, number))
    assert kept() == ["1", "2"]
    assert (tracker.bundle("3") / "bundle.json").exists()
    assert kept() == ["1", "3"], "the one that was not used for the longest time has gone"
    assert (tracker.bundle("2") / "bundle.json").exists(), "and comes again where it is wanted"


def test_a_new_registry_never_gives_the_model_of_the_old_one(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    found = []
    for name in ("old", "new"):
        (bundle / "bundle.json").write_text(name)
        tracker = Tracker(f"sqlite:///{tmp_path}/{name}.db", "shop", tmp_path)
        with tracker.run(params={}, datasets={}):
            version = tracker.register(bundle, {"history": ["x"], "candidates": ["y"]}, [])
        found.append((version, (tracker.bundle(version) / "bundle.json").read_text()))
    assert found == [("1", "old"), ("1", "new")]


@pytest.mark.parametrize("password", ["secret", "secret@home", "sec/ret secret"])
def test_no_password_in_an_error(tmp_path: Path, password: str) -> None:
    with pytest.raises(UnavailableError, match="out of reach") as caught:
        Tracker(f"http://me:{password}@127.0.0.1:9", "shop", tmp_path)
    assert "secret" not in str(caught.value)


def test_a_database_without_its_driver_is_a_mistake_of_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(ConfigError, match=r"//127\.0\.0\.1:9/db needs a package"):
        Tracker("mysql+pymysql://me:secret@127.0.0.1:9/db", "shop", tmp_path)


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_a_server_refuses(tmp_path: Path, status: int) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(ConfigError, match=f"refused: .*{status}"):
            Tracker(f"http://127.0.0.1:{server.server_port}", "shop", tmp_path)
        server.shutdown()


def test_two_tasks_that_meet_an_empty_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = a_tracker(tmp_path / "a")
    ask = mlflow.MlflowClient.get_experiment_by_name
    early_questions = iter([None])  # the second asks before the first creates

    def asked(client: mlflow.MlflowClient, name: str) -> object:
        return next(early_questions, ask(client, name))

    monkeypatch.setattr(mlflow.MlflowClient, "get_experiment_by_name", asked)
    with a_tracker(tmp_path / "a").run(params={}, datasets={}) as late:
        pass
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/a/mlflow.db")
    with first.run(params={}, datasets={}) as early:
        pass
    assert client.get_run(late).info.experiment_id == client.get_run(early).info.experiment_id


def test_an_address_that_mlflow_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="refused"):
        Tracker("foo://bar", "shop", tmp_path)


def test_a_database_that_cannot_be_opened_is_out_of_reach(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").mkdir()
    with pytest.raises(UnavailableError, match=r"mlflow\.db is out of reach"):
        Tracker(f"sqlite:///{tmp_path}/mlflow.db", "shop", tmp_path)
