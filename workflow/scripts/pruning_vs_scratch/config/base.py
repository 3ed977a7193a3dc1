"""What every section of the configuration shares."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pruning_vs_scratch.errors import UserError

Ratio = Annotated[float, Field(gt=0, lt=1)]
PositiveInt = Annotated[int, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values never change after parsing."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @classmethod
    def from_option(cls, option: str, values: Any) -> Self:
        """The section that an option of a command gives as plain values.

        Raises:
            UserError: they are no such section.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UserError(f"{option} is not valid: {error}") from error
