"""What watches over models and scores: gate and tracking."""

from pydantic import Field

from recsys_text.sections.base import Section


class Gate(Section):
    """What a challenger must show to become champion, on impressions of the newest windows that neither has seen.

    min_gain decides: the lower end of the 95% interval of its gain in nDCG@10 must lie above it. All others are guards,
    which can only refuse, and only where their whole interval lies beyond the bound (see `evaluation.guards`); `inf`
    switches one off, and for min_coverage 0.

    max_calibration_error: of its click probabilities, among the highest 1% of them. Good bundles have .01 and less, so
    that .1 is no longer noise of a window but a score that says nothing as a probability. max_calibration_loss: the
    same, as how much more than the champion's; two trainings of one configuration differ by .007. min_coverage: how
    many distinct items its lists of ten have, as a share of the champion's; less than half of them is a ranker that has
    collapsed to what is popular. max_slice_loss: what it may lose in nDCG@10 in a slice, such as new items or users
    without history; the texts, all in all, bring .012 where clicked items are rarely clicked (caixin). max_slowdown:
    how many times the champion's time its scoring may take. A night has room for twice; three times is late, and far
    more than a busy machine makes of equals (see `steps.gate`).

    shadow: publish the challenger's scores too, as the view `user_scores_shadow`, which is served to nobody unless an
    experiment names it.
    """

    min_gain: float = 0.0
    max_calibration_error: float = Field(default=0.1, gt=0)
    max_calibration_loss: float = Field(default=0.02, gt=0)
    min_coverage: float = Field(default=0.5, ge=0, le=1)
    max_slice_loss: float = Field(default=0.01, ge=0)
    max_slowdown: float = Field(default=3.0, gt=1)
    shadow: bool = False


class Tracking(Section):
    uri: str | None = None
