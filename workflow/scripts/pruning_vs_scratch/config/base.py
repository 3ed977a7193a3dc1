"""What every section of the configuration shares."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pruning_vs_scratch.cli import relative_name
from pruning_vs_scratch.config.explain import explained
from pruning_vs_scratch.errors import UserError

Ratio = Annotated[float, Field(gt=0, lt=1)]
PositiveInt = Annotated[int, Field(gt=0)]
LONGEST_NAME = 64
"""Maximum length of a name. Names of runs, files and folders are built from such names."""
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=LONGEST_NAME)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, numbers are finite, values never change after parsing."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @classmethod
    def from_option(cls, option: str, values: Any) -> Self:
        """Parse the plain values given by a command's option.

        Raises:
            UserError: the values are invalid.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UserError(f"{option} is not valid: {'; '.join(explained(error, cls))}") from error

    def without_folders(self) -> dict[str, Any]:
        """The section's values for an output, without this machine's folders."""
        values: dict[str, Any] = self.model_dump(mode="json")
        return {key: _relative(key, value) for key, value in values.items()}


def _relative(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {inner: _relative(inner, held) for inner, held in value.items()}
    return relative_name(Path(value)) if key == "path" else value
