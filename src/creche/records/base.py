"""What every record has in common."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A result that crosses a module boundary or is written as JSON; a key that it does not know is
    refused.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
