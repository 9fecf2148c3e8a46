"""What the sections of a recipe have in common."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from creche.contract.cells import spell_text

# A value of a category or text, in its canonical spelling.
CategoryValue = Annotated[str, AfterValidator(spell_text)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class RecipeSection(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
