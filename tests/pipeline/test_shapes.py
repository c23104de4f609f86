"""Every shape of the text model goes the whole way: trained, saved, loaded, and asked about users and items."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from recsys_text.config import Settings, load
from recsys_text.fitting import fit_text
from recsys_text.model.text_model import TextModel
from recsys_text.steps.inputs import inputs
from tests.pipeline.conftest import Quiet

SMALL = {"dim": 8, "channels": 4, "embedding": 8, "dropout": 0.1}
SHAPES = {
    "lstur": {"preset": "lstur"} | SMALL,
    "naml": {"preset": "naml"} | SMALL,
    "learned": {"clicks": "learned", "user": "attention"},
    "views": {"views": True, "user": "mean"},
}


@pytest.mark.parametrize(("name", "task"), [(name, "next") for name in SHAPES] + [("learned", "hidden")])
def test_a_shape_is_trained_saved_and_asked(published: Settings, tmp_path: Path, name: str, task: str) -> None:
    config = published.project.root.parent / "recsys.toml"
    settings = load(config)
    model = settings.model.model_validate(settings.model.model_dump(exclude_defaults=True) | SHAPES[name])
    training = settings.training.model_copy(update={"task": task})
    settings = settings.model_copy(update={"model": model, "training": training})
    end = datetime(2024, 5, 4, tzinfo=UTC)
    data = inputs(settings, before=end)
    starts = [window.start for window in data.windows]
    text, _, results = fit_text(data.log, data.texts, starts, end=end, settings=settings, progress=Quiet())
    assert np.isfinite([result.loss for result in results]).all()
    text.save(tmp_path)
    loaded = TextModel.load(tmp_path)
    names, ids = [*data.texts, "violin of a new kind"], [*data.log.item_ids, "new"]
    history_NH = np.array([[0, 5], [-1, len(ids) - 1], [-1, -1]], np.int32)
    user_N = np.array([3, -1, 2])
    found = []
    for each in (text, loaded):
        items = each.items(names, ids)
        found.append(each.users(items, history_NH, each.who(user_N, data.log.user_ids)) @ items.candidate.T)
    assert found[0].shape == (3, len(ids))
    assert np.isfinite(found[0]).all()
    np.testing.assert_array_equal(*found)
    assert (text.who(user_N, data.log.user_ids) is not None) == (name == "lstur")
    assert bool(text.item_ids) == (name == "learned")
