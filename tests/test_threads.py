"""Threads sleep while they wait, and are as many as the process may use."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_text import threads
from recsys_text.ranking.listwise import fit_network
from recsys_text.torch_threads import one_thread


def groups(root: Path, told: str, files: dict[str, str]) -> Path:
    """A root whose `proc` and `sys` say this."""
    for name, text in {"proc/self/cgroup": told, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("told", "files", "expected"),
    [
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ("0::/a/b\n", {"sys/fs/cgroup/a/cpu.max": "100000 100000", "sys/fs/cgroup/a/b/cpu.max": "max 100000"}, 1),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "20000 100000"}, 1),
        (
            "4:cpu,cpuacct:/docker/x\n3:cpuset:/\n",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            3,
        ),
        (
            "4:cpu:/\n",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            8,
        ),
        ("", {}, 8),
        ("nonsense", {}, 8),
    ],
)
def test_the_quota_of_control_groups_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, files: dict[str, str], expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert threads.processors(groups(tmp_path, told, files)) == expected


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"OMP_NUM_THREADS": "3", "GOMP_SPINCOUNT": "7"}
    threads.share_the_machine(environment)
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["GOMP_SPINCOUNT"] == "7"
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert threads.count() == 3


def test_torch_takes_as_many_threads_as_the_process_has_processors() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import recsys_text, torch; "
    clean = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    told = subprocess.run(
        [sys.executable, "-c", code + "print(torch.get_num_threads(), os.environ['OMP_WAIT_POLICY'])"],
        env=clean,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == ["1", "PASSIVE"]


def test_training_of_a_network_is_the_same_whatever_the_number_of_threads() -> None:
    chance = np.random.default_rng(3)
    features_PF = chance.normal(size=(4000, 6)).astype(np.float32)
    offsets_N1 = np.arange(0, 4001, 40)
    clicked_P = np.zeros(4000, np.bool_)
    clicked_P[offsets_N1[:-1] + chance.integers(0, 40, 100)] = True
    before, found = torch.get_num_threads(), []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            found.append(fit_network(features_PF, clicked_P, offsets_N1, seed=1).predict(features_PF))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(before)
    assert found[0].tobytes() == found[1].tobytes()


def test_the_number_of_threads_is_what_it_was_after_a_failure() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), one_thread():
        _ = torch.get_num_threads() / 0
    assert torch.get_num_threads() == before
