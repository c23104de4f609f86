"""The sizes of a training's stages, as decided for one machine and budget. Measures nothing itself."""

from typing import Self

from pydantic import Field

from recsys_text.config import Settings
from recsys_text.sections.base import PositiveInt, Section

_SECTIONS: dict[str, tuple[str, ...]] = {
    "model": ("match",),
    "training": ("regression_items", "max_clicks", "epochs", "pretrain_epochs", "blend_clicks", "blend_candidates"),
    "evaluation": ("max_impressions",),
}


class Plan(Section):
    """The sizes that fit the budget, which are kept with a version; None is for a size that the settings decide.

    Each has the name of its key of [model], [training] or [evaluation]. With the same data, settings and plan the same
    weights come out, on however fast a machine.
    """

    match: PositiveInt | None = None
    regression_items: PositiveInt | None = None
    max_clicks: PositiveInt | None = None
    epochs: PositiveInt | None = None
    pretrain_epochs: int | None = Field(default=None, ge=0)
    blend_clicks: PositiveInt | None = None
    blend_candidates: PositiveInt | None = None
    max_impressions: PositiveInt | None = None

    @classmethod
    def undecided(cls, settings: Settings) -> Self:
        """The largest sizes, for the keys that the configuration does not set: what it sets is not touched."""
        return cls(
            **{
                name: getattr(getattr(settings, section), name)
                for section, names in _SECTIONS.items()
                for name in names
                if name not in getattr(settings, section).model_fields_set
            }
        )

    def at_most(self, **sizes: int) -> Self:
        """The plan with none of these sizes larger; those that the settings decide stay so."""
        own = self.model_dump(exclude_none=True)
        return self.model_copy(update={name: min(own[name], size) for name, size in sizes.items() if name in own})

    def applied(self, settings: Settings) -> Settings:
        """The settings with these sizes."""
        sizes = self.model_dump(exclude_none=True)
        sections = {
            section: getattr(settings, section).model_copy(
                update={name: sizes[name] for name in names if name in sizes}
            )
            for section, names in _SECTIONS.items()
        }
        return settings.model_copy(update=sections)


#: The plan of a training whose every size the settings decide.
AS_SET = Plan()
