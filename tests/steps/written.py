"""Files as people write them: one meaning, in any of the styles that YAML has, with comments wherever they may stand."""

from __future__ import annotations

import random
from typing import Any

_FIRST = ["", "", "# top\n", "---\n", "%YAML 1.1\n---\n", "\n\n"]
_LAST = ["", "", "# end\n", "\n\n", "...\n"]


def written(items: list[Any], chance: random.Random) -> str:
    """Write a list of steps and the like. Comments on lines of their own begin with `# own`."""
    writer = _Writer(chance)
    base = chance.choice([0, 0, 0, 2])
    text = chance.choice(_FIRST) + "".join(writer.item(item, base) for item in items) + chance.choice(_LAST)
    if chance.random() < 0.1:
        text = text.rstrip("\n")
    if chance.random() < 0.15:
        text = text.replace("\n", "\r\n")
    return f"\ufeff{text}" if chance.random() < 0.05 else text


class _Writer:
    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.number = 0

    def item(self, value: Any, column: int) -> str:
        dash = self._own(column) + " " * column + "-"
        if isinstance(value, dict) and value and self.chance.random() > 0.2:
            if self.chance.random() < 0.1:
                return dash + self._behind() + "\n" + self._pairs(value, column + 3)
            gap = " " * self.chance.choice([1, 1, 1, 3])
            inner = column + 1 + len(gap)
            return dash + gap + self._pairs(value, inner, comment=False).lstrip(" ")
        shown = self._flow(value) if isinstance(value, dict | list) else self._scalar(value) or "null"
        return f"{dash} {shown}{self._behind()}\n"

    def _pairs(self, values: dict[str, Any], column: int, *, comment: bool = True) -> str:
        text = ""
        for key, value in values.items():
            # A comment before the first key behind a dash would be one of the line above.
            text += (self._own(column) if comment else "") + " " * column + self._key(key) + ":" + self._value(value, column)
            comment = True
        return text

    def _key(self, key: str) -> str:
        return self.chance.choice([key, key, key, f'"{key}"', f"'{key}'"]) + self.chance.choice(["", "", "", " "])

    def _value(self, value: Any, column: int) -> str:
        if isinstance(value, dict | list) and (not value or self.chance.random() < 0.15):
            return f" {self._flow(value)}{self._behind()}\n"
        if isinstance(value, dict):
            return self._behind() + "\n" + self._pairs(value, column + self.chance.choice([2, 2, 3, 4, 8]))
        if isinstance(value, list):
            inner = column + self.chance.choice([0, 0, 2, 4])
            return self._behind() + "\n" + "".join(self.item(item, inner) for item in value)
        if isinstance(value, str) and " " in value and value[0].isalpha() and self.chance.random() < 0.4:
            return self._lines(value, column)
        shown = self._scalar(value)
        return (" " * self.chance.choice([1, 1, 1, 3]) + shown if shown else "") + self._behind() + "\n"

    def _lines(self, value: str, column: int) -> str:
        style = self.chance.choice(["|-", ">-", ""])
        if style:
            return f" {style}{self._behind()}\n{' ' * (column + 3)}{value}\n" + self.chance.choice(["", "\n"])
        if any(mark in value for mark in ":#,[]{}"):
            return f" '{value}'{self._behind()}\n"
        return " " + value.replace(" ", "\n" + " " * (column + 2), 1) + self._behind() + "\n"

    def _flow(self, value: Any) -> str:
        space = self.chance.choice(["", " "])
        below = "\n" + " " * 40
        between = self.chance.choice([", ", ",", ",", " , ", f",{below}", f",  # behind{below}"])
        if isinstance(value, dict):
            inner = between.join(f"{key}: {self._flow(item)}" for key, item in value.items())
            return "{" + space + inner + space + "}"
        if isinstance(value, list):
            inner = between.join(map(self._flow, value))
            return f"[{space}{inner}{self.chance.choice(['', ',']) if value else ''}{space}]"
        return self._scalar(value) or "null"

    def _scalar(self, value: Any) -> str:
        if value is None:
            return self.chance.choice(["null", "~", ""])
        if not isinstance(value, str):
            return str(value).lower()
        style = self.chance.choice("psd")
        if style == "p" and value and value[0].isalpha() and not any(mark in value for mark in ":#,[]{}"):
            return value
        return "'" + value.replace("'", "''") + "'" if style == "s" else '"' + value.replace('"', '\\"') + '"'

    def _behind(self) -> str:
        self.number += 1
        return self.chance.choice(["", "", "", f"  # behind {self.number}", f' # "behind {self.number}: {{x"'])

    def _own(self, column: int) -> str:
        self.number += 1
        own = f"# own {self.number}: [\n"
        return self.chance.choice([""] * 8 + ["\n", " " * column + own, own])
