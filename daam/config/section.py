"""What all groups of settings share."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1000)]
Embedding = Literal["pooled", "bottleneck"]
Auto = Literal["auto"]


class Section(BaseModel):
    """A group of settings: immutable, strictly typed, unknown names refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)
