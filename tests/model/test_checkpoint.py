import json

import numpy as np
import pytest
import torch

from recsys_text.errors import ConfigError, ContractError, UnavailableError
from recsys_text.model import checkpoint as module
from recsys_text.model.checkpoint import Checkpoint, load_model, save_model
from recsys_text.model.optimise import weights_digest
from recsys_text.model.scorer import build, item_vectors
from tests.model.conftest import SETTINGS, VOCABULARY

ONE, TWO = {"x": torch.tensor([1.0, 2.0])}, {"x": torch.tensor([3.0]), "y": torch.tensor(4)}


def test_the_last_save_comes_back(tmp_path):
    checkpoint = Checkpoint(tmp_path / "deep" / "er")
    assert checkpoint.load("a") is None
    checkpoint.save("a", ONE, {"epoch": 1})
    checkpoint.save("a", TWO, {"epoch": 2, "loss": 0.1 + 0.2})
    tensors, state = checkpoint.load("a")
    assert state == {"epoch": 2, "loss": 0.1 + 0.2}
    assert tensors.keys() == TWO.keys()
    assert all(torch.equal(tensors[name], TWO[name]) for name in TWO)
    assert len(list(checkpoint.folder.iterdir())) == 2
    checkpoint.clear()
    assert checkpoint.load("a") is None
    assert not checkpoint.folder.exists()


@pytest.mark.parametrize("survived", [0, 1])
def test_a_writer_killed_between_files_leaves_the_former_checkpoint(tmp_path, monkeypatch, survived):
    checkpoint = Checkpoint(tmp_path)
    checkpoint.save("a", ONE, {"epoch": 1})
    real, calls = module._replace, []

    def killed(path, content):
        calls.append(path)
        if len(calls) > survived:
            path.with_name(path.name + ".tmp").write_bytes(content[: len(content) // 2])
            raise KeyboardInterrupt
        real(path, content)

    monkeypatch.setattr(module, "_replace", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save("a", TWO, {"epoch": 2})
    monkeypatch.undo()
    tensors, state = checkpoint.load("a")
    assert state == {"epoch": 1}
    assert torch.equal(tensors["x"], ONE["x"])
    checkpoint.save("a", TWO, {"epoch": 2})
    assert len(list(tmp_path.iterdir())) == 2


def test_refusals(tmp_path):
    checkpoint = Checkpoint(tmp_path)
    checkpoint.save("a", ONE, {})
    with pytest.raises(ConfigError, match="other data, settings or weights"):
        checkpoint.load("b")
    tensors = next(tmp_path.glob("*.safetensors"))
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"?")
    with pytest.raises(ContractError, match="checksum"):
        checkpoint.load("a")
    tensors.unlink()
    with pytest.raises(ContractError, match=r"damaged .*No such file"):
        checkpoint.load("a")
    for content in ("[]", "{", "{}"):
        (tmp_path / "checkpoint.json").write_text(content)
        with pytest.raises(ContractError, match="damaged"):
            checkpoint.load("a")


def test_a_folder_out_of_reach_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnavailableError, match="cannot write the checkpoint"):
        Checkpoint(tmp_path / "file").save("a", ONE, {})
    with pytest.raises(UnavailableError, match="cannot write the model"):
        save_model(tmp_path / "file", build(SETTINGS, VOCABULARY, seed=1))
    assert Checkpoint(tmp_path / "file").load("a") is None


def test_a_model_round_trip_keeps_weights_and_vectors(tmp_path, world):
    model = build(SETTINGS, VOCABULARY, seed=1)
    save_model(tmp_path / "model", model)
    again = load_model(tmp_path / "model")
    assert weights_digest(again) == weights_digest(model)
    assert again.settings == SETTINGS
    assert again.vocabulary == VOCABULARY
    assert not again.training
    first, second = (item_vectors(each, world.tokens_IT, world.lengths_I) for each in (model, again))
    assert np.array_equal(first, second)


def test_saving_the_same_model_writes_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_model(tmp_path / name, build(SETTINGS, VOCABULARY, seed=1))
    for file in ("model.safetensors", "model.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_missing_or_damaged_model_is_refused(tmp_path):
    with pytest.raises(ContractError, match="no model in"):
        load_model(tmp_path)
    save_model(tmp_path, build(SETTINGS, VOCABULARY, seed=1))
    shape = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(shape | {"vocabulary": VOCABULARY + 1}))
    with pytest.raises(ContractError, match="damaged"):
        load_model(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps(shape))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(ContractError, match="checksum"):
        load_model(tmp_path)
