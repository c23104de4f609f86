"""Which arm of an experiment a user is in. Knows no store and no HTTP."""

from feature_store import hash64
from recsys_text.sections import Experiment

_HASHES = 2**64


def assigned(name: str, experiment: Experiment, user_id: str) -> str:
    """The user's arm, the same on every machine for as long as the arms and their order stay.

    XXH3-64 of the experiment's name, a line feed and the user's id, as a share of 2**64, lies in the span of one
    arm: [0, share of the first), and so on. The name is hashed too, so that experiments split users independently.
    """
    place = hash64(f"{name}\n{user_id}") / _HASHES
    end = 0.0
    for arm, settings in experiment.arms.items():
        end += settings.share
        if place < end:
            return arm
    # Shares such as three thirds may add up to a little less than one.
    return arm
