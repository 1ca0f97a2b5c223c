"""`Confirmation`: how a study confirms its leaders, once its search is over."""

from __future__ import annotations

from pydantic import BaseModel, Field

from search_spaces.parameters import STRICT


class Confirmation(BaseModel):
    """The leaders of a search are trained again, over other seeds and grouped folds, and ranked by the mean."""

    model_config = STRICT

    top: int = Field(default=3, ge=0)
    """How many leading configurations; 0 for no confirmation."""
    baseline: bool = False
    """Whether the first known configuration is confirmed too, so that the gain over it is not flattered."""
    seeds: int = Field(default=2, ge=1)
    """Trainings of each, with seeds that the search did not use."""
    folds: int | None = Field(default=None, ge=1, le=20)
    """Folds by patient that each training has; those of the search if left out, or 5 where it has a hold-out."""
    image_size: int | None = Field(default=None, ge=32, le=1024)
    """Side of the images in px, if it shall be another than in the search."""
