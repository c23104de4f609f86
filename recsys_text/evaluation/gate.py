"""Whether a challenger may replace the champion. Knows two vectors of nDCG, no models.

Shapes: N impressions, the same for both.
"""

from dataclasses import dataclass

from recsys_text.errors import ContractError
from recsys_text.evaluation.bootstrap import Double, Int, interval


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The challenger's gain in nDCG over the champion, its 95% interval and what follows from it."""

    promote: bool
    gain: float
    low: float
    high: float
    min_gain: float

    @property
    def line(self) -> str:
        """One line for people: the gain, its interval and the bar."""
        outcome = "clears" if self.promote else "does not clear"
        return (
            f"challenger's gain over the champion {self.gain:+.4f} [{self.low:+.4f}, {self.high:+.4f}] "
            f"{outcome} gate.min_gain = {self.min_gain:g}"
        )


def decide(
    challenger_N: Double, champion_N: Double, users_N: Int, *, min_gain: float, seed: int, resamples: int = 1000
) -> Verdict:
    """Promotes where the lower bound of the paired bootstrap interval of the gain lies above `min_gain`.

    challenger_N, champion_N: nDCG of the same impressions, NaN where undefined. Too little evidence for an
    interval (no impression, or one user) never promotes. Raises ContractError for vectors of different lengths.
    """
    if len(challenger_N) != len(champion_N):
        raise ContractError(
            f"{len(challenger_N)} impressions of the challenger and {len(champion_N)} of the champion; "
            "evaluate both on the same ones"
        )
    gain = interval(challenger_N - champion_N, users_N, resamples=resamples, seed=seed)
    return Verdict(promote=gain.low > min_gain, gain=gain.mean, low=gain.low, high=gain.high, min_gain=min_gain)
