"""Readers of the local backend follow swaps without making anybody wait, also in a forked child."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from feature_store import LocalStore
from feature_store.local import reader as reader_module
from feature_store.local.layout import ViewFolder
from feature_store.local.manifest import Manifest
from tests.contracts.store_data import numbered, publish


def test_the_old_version_answers_while_the_new_one_is_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(root, follow_seconds=1e-6)
    publish(store, "v1", {"p": numbered(1, ["k"])})
    reader = store.reader("user_scores")
    opening, may_open = threading.Event(), threading.Event()
    open_served = reader_module.open_served

    def slowly(folder: reader_module.ViewFolder) -> reader_module.LocalSnapshot:
        opening.set()
        assert may_open.wait(60)
        return open_served(folder)

    monkeypatch.setattr(reader_module, "open_served", slowly)
    publish(store, "v2", {"p": numbered(2, ["k"])})
    assert reader.get("k") == {"key": "k", "value": 1}
    assert opening.wait(60)
    assert reader.get("k") == {"key": "k", "value": 1}
    may_open.set()
    # Waits for the thread that opens it.
    reader.refresh()
    assert reader.get("k") == {"key": "k", "value": 2}


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_forked_while_a_version_is_opened_follows_by_itself(store: LocalStore) -> None:
    publish(store, "v1", {"p": numbered(1, ["k"])})
    reader = store.reader("user_scores")
    publish(store, "v2", {"p": numbered(2, ["k"])})
    with reader._alone:
        child = os.fork()
        if child == 0:
            os._exit(0 if reader.get("k") == {"key": "k", "value": 2} else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert reader.get("k") == {"key": "k", "value": 2}


def test_a_thread_that_cannot_be_started_is_done_without(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(root, follow_seconds=1e-6)
    publish(store, "v1", {"p": numbered(1, ["k"])})
    reader = store.reader("user_scores")

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    publish(store, "v2", {"p": numbered(2, ["k"])})
    assert reader.get("k") == {"key": "k", "value": 2}


def test_what_else_is_in_the_folders_is_no_view_and_no_version(store: LocalStore, root: Path) -> None:
    publish(store, "v1", {"p": numbered(1, ["k"])})
    (root / "lost+found").mkdir()
    (root / "user_scores" / ".staging" / ".DS_Store").write_text("")
    assert store.views() == ["user_scores"]
    assert [info.version for info in store.versions("user_scores")] == ["v1"]
    assert store.prune("user_scores", 1) == []


def test_a_version_that_goes_while_versions_are_listed_is_left_out(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (1, 2):
        publish(store, f"v{value}", {"p": numbered(value, ["k"])})
    manifest = ViewFolder.manifest

    def deleted(folder: ViewFolder, version: str) -> Manifest:
        if version == "v1":
            shutil.rmtree(folder.version(version), ignore_errors=True)
        return manifest(folder, version)

    monkeypatch.setattr(ViewFolder, "manifest", deleted)
    assert [info.version for info in store.versions("user_scores")] == ["v2"]
