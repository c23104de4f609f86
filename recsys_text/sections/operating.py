"""What watches over models and scores: gate and tracking."""

from recsys_text.sections.base import Section


class Gate(Section):
    min_gain: float = 0.0


class Tracking(Section):
    uri: str | None = None
