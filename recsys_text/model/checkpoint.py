"""Weights and training states as safetensors + JSON in a folder: the one file of this room that does I/O.

Knows names, tensors and JSON values, nothing of what they mean; never reads a pickle.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from recsys_text.errors import ConfigError, ContractError, UnavailableError
from recsys_text.model.scorer import Interest
from recsys_text.sections import Model

_STATE, _BEGUN = "checkpoint.json", "begun.json"
_WEIGHTS, _SHAPE = "model.safetensors", "model.json"


class Checkpoint:
    """The last finished epoch of a training in `folder`, replaced as a whole or not at all.

    The tensors go to a file named by their checksum; `checkpoint.json` names it and is replaced last,
    so that a reader finds the former checkpoint or the new one wherever the writer was killed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, fingerprint: str, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Raises UnavailableError where the folder cannot be written."""
        content = save(dict(tensors))
        digest = hashlib.sha256(content).hexdigest()
        name = f"state-{digest[:16]}.safetensors"
        pointer = {"fingerprint": fingerprint, "tensors": name, "sha256": digest, "state": dict(state)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _replace(self.folder / name, content)
            _replace(self.folder / _STATE, json.dumps(pointer, indent=1).encode())
            self._remove_but({name, _STATE})
        except OSError as error:
            raise UnavailableError(f"cannot write the checkpoint in {self.folder}: {error}") from None

    def load(self, fingerprint: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The tensors and the state that were saved last; None where nothing was.

        Raises ConfigError for a checkpoint of other data or settings, ContractError for a damaged one.
        """
        if not (self.folder / _STATE).exists():
            return None
        try:
            pointer = json.loads((self.folder / _STATE).read_bytes())
            content = (self.folder / pointer["tensors"]).read_bytes()
            if hashlib.sha256(content).hexdigest() != pointer["sha256"]:
                raise ValueError("checksum")
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ContractError(f"the checkpoint in {self.folder} is damaged ({error}); remove the folder") from None
        if pointer["fingerprint"] != fingerprint:
            raise ConfigError(
                f"the checkpoint in {self.folder} was made with other data, settings or weights; "
                "remove the folder or give another one"
            )
        return load(content), pointer["state"]

    def begin(self, values: Mapping[str, Any]) -> None:
        """Keeps what was decided for this training, for one that goes on. Raises UnavailableError as `save`."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _replace(self.folder / _BEGUN, json.dumps(dict(values)).encode())
        except OSError as error:
            raise UnavailableError(f"cannot write the checkpoint in {self.folder}: {error}") from None

    def begun(self) -> dict[str, Any] | None:
        """What `begin` kept last; None where nothing was. Raises ContractError for a damaged file."""
        try:
            return dict(json.loads((self.folder / _BEGUN).read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise ContractError(f"the checkpoint in {self.folder} is damaged ({error}); remove the folder") from None

    def clear(self) -> None:
        """Removes what this class wrote, and the folder where nothing else is in it."""
        for name in (_STATE, _BEGUN):
            (self.folder / name).unlink(missing_ok=True)
        self._remove_but(set())
        with suppress(OSError):
            self.folder.rmdir()

    def _remove_but(self, names: set[str]) -> None:
        for pattern in ("state-*.safetensors", "*.tmp"):
            for path in self.folder.glob(pattern):
                if path.name not in names:
                    path.unlink(missing_ok=True)


def save_model(folder: Path, model: Interest) -> None:
    """Writes `model.safetensors` and `model.json` (shape and vocabulary size), the JSON last."""
    weights = {name: weight.detach().cpu().contiguous() for name, weight in model.state_dict().items()}
    content = save(weights)
    shape = {
        "settings": model.settings.model_dump(mode="json"),
        "vocabulary": model.vocabulary,
        "items": 0 if model.table is None else len(model.table),
        "people": 0 if model.long_term is None else len(model.long_term),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / _WEIGHTS, content)
        _replace(folder / _SHAPE, json.dumps(shape, indent=1).encode())
    except OSError as error:
        raise UnavailableError(f"cannot write the model in {folder}: {error}") from None


def load_model(folder: Path) -> Interest:
    """The model that `save_model` wrote, on the CPU. Raises ContractError where it is missing or damaged."""
    try:
        shape = json.loads((folder / _SHAPE).read_bytes())
        content = (folder / _WEIGHTS).read_bytes()
        if hashlib.sha256(content).hexdigest() != shape["sha256"]:
            raise ValueError("checksum")
        model = Interest(Model(**shape["settings"]), shape["vocabulary"], shape["items"], shape["people"])
        model.load_state_dict(load(content))
    except OSError as error:
        raise ContractError(f"no model in {folder}: {error}") from None
    except (ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise ContractError(f"the model in {folder} is damaged: {error}") from None
    return model.eval()


def _replace(path: Path, content: bytes) -> None:
    """Writes beside the name and renames: nobody sees half a file, and a power cut keeps the old one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
