"""The same nights as the scheduler's, one step after the other in one process: what must come out of them.

python clean_run.py FOLDER FIRST-DAY
"""

import logging
import sys
from datetime import datetime
from pathlib import Path

from recsys_text.config import load
from recsys_text.errors import ContractError
from recsys_text.lake.windows import parse_window
from recsys_text.progress import Silent
from recsys_text.steps.extract import extract
from recsys_text.steps.gate import gate
from recsys_text.steps.monitor import monitor
from recsys_text.steps.publish import publish
from recsys_text.steps.schedule import due
from recsys_text.steps.train import train
from tests.dags.live.catalogue import BROKEN, DAYS, FORMER_TASTE, LATE, Catalogue


class Quiet(Silent):
    def stage(self, name: str) -> None: ...


def main(catalogue: Catalogue) -> None:
    settings = load(catalogue.config)

    def bring(days: list[int]) -> None:
        extract(settings, [parse_window(catalogue.key(day), settings.windows.span) for day in days])

    def learn(cutoff: datetime | None = None, seed: int | None = None) -> dict[str, object]:
        chosen = settings
        if seed is not None:
            training = settings.training.model_copy(update={"seed": seed})
            chosen = settings.model_copy(update={"training": training})
        verdict = gate(settings, train(chosen, cutoff=cutoff, progress=Quiet()).version)
        print(verdict, flush=True)
        return verdict

    catalogue.arrive(range(FORMER_TASTE))
    for day in range(FORMER_TASTE):
        bring([day])
    assert due(settings)[0]
    assert learn()["promoted"]
    catalogue.arrive(range(FORMER_TASTE, DAYS - 1))
    for day in range(FORMER_TASTE, DAYS - 1):
        try:
            bring([day])
        except ContractError:
            assert day == BROKEN
    assert not due(settings)[0]
    publish(settings)
    catalogue.arrive_late()
    catalogue.arrive([DAYS - 1])
    bring([*LATE, DAYS - 1])
    monitor(settings, catalogue.key(DAYS - 1))
    assert due(settings)[0]
    assert learn()["promoted"]
    assert not learn(cutoff=parse_window(catalogue.key(FORMER_TASTE - 1), settings.windows.span).start, seed=11)[
        "promoted"
    ]
    print(publish(settings))


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    catalogue = Catalogue(folder=Path(sys.argv[1]), first=datetime.fromisoformat(sys.argv[2]))
    catalogue.begin()
    main(catalogue)
