"""Whether a challenger may replace the champion. Knows scores of impressions, no models.

The gain in nDCG@10 alone decides for it; guards can only refuse (see `evaluation.guards`).

What an interval of 95% that must clear `min_gain = 0` lets through, as simulated in tests/evaluation/test_gate.py with
400 users (and with 20, whose few values make intervals too narrow; fewer than that decide nothing, as of two users the
luckiest quarter of all challengers would pass): of challengers that are no better and no worse 2.7%
(4.1%), so that a project that trains every night swaps champions for nothing ten times a year, and one that trains
every seven windows once or twice. That costs nothing but a publication. Of challengers that are worse by one standard
error of the gain .19% (.4%), by two .003% (.008%): one that is clearly worse does not pass by a lucky window. Asking
again is no new chance, as the draws are seeded; training one challenger after the other on one window until one passes
is. Where swaps for nothing are unwelcome take more `evaluation.windows`, or a `min_gain` above 0.

Shapes: N impressions, the same for both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recsys_text.errors import ContractError
from recsys_text.evaluation.bootstrap import Double, Int, interval, places
from recsys_text.evaluation.guards import FEWEST, Guard


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The challenger's gain in nDCG@10 over the champion, its 95% interval, the guards, and what follows from them."""

    gain: float
    low: float
    high: float
    min_gain: float
    guards: Sequence[Guard] = ()

    @property
    def gains(self) -> bool:
        return self.low > self.min_gain

    @property
    def promote(self) -> bool:
        return self.gains and all(guard.passed for guard in self.guards)

    @property
    def line(self) -> str:
        """One line for people: the gain, its interval and the bar, and the guards that refuse."""
        line = f"challenger's gain over the champion {self.gain:+.4f} "
        if np.isnan(self.low):
            line += f"is one of fewer than {FEWEST} users, too few to tell; take more evaluation.windows"
        else:
            outcome = "clears" if self.gains else "does not clear"
            line += f"[{self.low:+.4f}, {self.high:+.4f}] {outcome} gate.min_gain = {self.min_gain:g}"
        refusals = [_refusal(guard) for guard in self.guards if not guard.passed]
        return f"{line}; {'but' if self.gains else 'and'} {'; '.join(refusals)}" if refusals else line

    def to_json(self) -> dict[str, Any]:
        """What is told of it, in JSON's words: null where a number is unknown."""
        told = {"gain": self.gain, "low": self.low, "high": self.high, "min_gain": self.min_gain}
        guards = [_known(asdict(guard)) | {"passed": guard.passed} for guard in self.guards]
        return _known(told) | {"gains": self.gains, "guards": guards}


def decide(
    challenger_N: Double,
    champion_N: Double,
    users_N: Int,
    *,
    min_gain: float,
    seed: int,
    resamples: int = 1000,
    guards: Sequence[Guard] = (),
) -> Verdict:
    """Promotes where the lower bound of the paired bootstrap interval of the gain lies above `min_gain` and all pass.

    challenger_N, champion_N: nDCG of the same impressions, NaN where undefined. Of fewer than `guards.FEWEST` users
    there is no interval, and nothing is promoted. Raises ContractError for vectors of different lengths.
    """
    if len(challenger_N) != len(champion_N):
        raise ContractError(
            f"{len(challenger_N)} impressions of the challenger and {len(champion_N)} of the champion; "
            "evaluate both on the same ones"
        )
    gain_N = challenger_N - champion_N
    gain = interval(gain_N, users_N, resamples=resamples, seed=seed)
    few = places(users_N[~np.isnan(gain_N)])[1] < FEWEST
    low, high = (np.nan, np.nan) if few else (gain.low, gain.high)
    return Verdict(gain=gain.mean, low=low, high=high, min_gain=min_gain, guards=tuple(guards))


def _refusal(guard: Guard) -> str:
    """Why a guard refuses: what it measured, where, and how far that is from what would have passed."""
    where = f" in slice {guard.part}" if guard.part else ""
    drawn = "" if guard.low == guard.high else f" [{guard.low:.4f}, {guard.high:.4f}]"
    side = "below" if guard.at_least else "above"
    return f"{guard.what}{where} {guard.value:.4f}{drawn} is {side} {guard.bound:g} (gate.{guard.key})"


def _known(told: Mapping[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in told.items()}
