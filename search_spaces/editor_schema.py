"""The JSON Schema of a space file, for completion and checks in editors.

`python -m search_spaces.editor_schema` writes it anew after a change to the models.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from search_spaces.schema import SearchSpace

SCHEMA_FILE = Path(__file__).with_name("space.schema.json")


def editor_schema() -> dict[str, Any]:
    """Returns the JSON Schema of a space file, derived from the models."""
    schema = SearchSpace.model_json_schema()
    schema["properties"]["epochs"] = {
        "type": "integer",
        "minimum": 1,
        "description": "Passes over the training images at most; short for `fixed: {epochs: …}`.",
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def render() -> str:
    """Returns the text of `space.schema.json`."""
    return json.dumps(editor_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(render(), encoding="utf-8")
