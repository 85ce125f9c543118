"""What all sections have in common."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def from_json(given: Any, expected: str) -> Any:
    """What an environment variable or a flag says of something that is no plain value; raises ValueError.

    :param expected: what kind of JSON it is, in words
    """
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError as error:
        raise ValueError(f"{expected} in JSON was expected: {error}") from error
