"""Types of what `prepare()` takes."""

from __future__ import annotations

from typing import Any, TypeAlias

ParameterDict: TypeAlias = "dict[str, Any]"
"""Name to default: a bool, int, float or str, a list of one of them, None, or a specification `{"default": ..., ...}`."""

InputDict: TypeAlias = "dict[str, Any]"
"""Name to a URL, a local path or pattern, a list of them, or a specification `{"default": ..., ...}`."""
