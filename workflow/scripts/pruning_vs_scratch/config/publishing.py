"""Details for the card of an exported model that the study itself does not record."""

from typing import Annotated

from pydantic import Field

from pruning_vs_scratch.config.base import Name, Section

Line = Annotated[str, Field(pattern=r"^\S[^\r\n]*$")]


class PublishingConfig(Section):
    """Licences, language and parent of exported models. These settings do not change a model."""

    license: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+-]*$")] | None = None
    """Licence of exported models, by the hub's name for it, such as mit or llama3.1."""
    language: list[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]] = []
    """Languages of the text, as ISO 639 codes such as en."""
    base_model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")] | None = None
    """The parent on the hub, if published there: owner and name."""
    parent_license: Line | None = None
    """Licence of the parent, in words."""
    data_licenses: dict[Name, Line] = {}
    """Licences of the text, in words, by keys of corpus.sources."""
