"""Places in a source file, and what is to be said about them, as a compiler would say it."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ast
    from collections.abc import Mapping

_SHOWN = 60  # characters of an expression in one sentence
_WIDEST = 160  # characters of a source line under which a caret can still be found


@dataclass(frozen=True)
class Place:
    """A stretch of one line; lines and columns count from one."""

    line: int
    column: int
    length: int = 1
    """Characters that the caret underlines."""
    cell: int | None = None
    """Of a notebook: which cell, counting all of them from one; `line` is that of the cell."""

    def __str__(self) -> str:
        cell = "" if self.cell is None else f"cell {self.cell}:"
        return f"{cell}{self.line}:{self.column}"


@dataclass(frozen=True)
class Problem:
    """What stands in the way, or is to be known, and where."""

    file: str
    message: str
    place: Place | None = None
    """None: the whole file."""
    shown: str = ""
    """The source line."""
    detail: str = ""
    """Where it comes from, if that is elsewhere."""

    def __str__(self) -> str:
        """The sentence alone: `train.py:12:23: ...`."""
        where = self.file if self.place is None else f"{self.file}:{self.place}"
        return f"{where}: {self.message}"

    def text(self) -> str:
        """Return the sentence, the source line, a caret under it, and the detail.

        Example:
            >>> from vhpack.yaml.places import Place, Problem
            >>> print(Problem("train.py", "no such thing", Place(3, 5, 4), "x = call()").text())
            train.py:3:5: no such thing
                x = call()
                    ^~~~
        """
        lines = [str(self)]
        if self.place is not None and self.shown.strip():
            start, shown = _window(self.shown, self.place.column - 1)
            lines += [f"    {shown}", f"    {_caret(self.shown[start:], self.place.column - 1 - start, self.place.length)}"]
        if self.detail:
            lines.append(f"    {self.detail}")
        return "\n".join(lines)

    def fields(self) -> dict[str, object]:
        """Return what a program wants to know."""
        place = self.place
        return {
            "file": self.file,
            "line": place and place.line,
            "column": place and place.column,
            "cell": place and place.cell,
            "message": self.message,
            "detail": self.detail,
        }


@dataclass(frozen=True)
class Source:
    """A file of Python as it is shown in messages."""

    name: str
    lines: tuple[str, ...]
    """As Python counts them; of a notebook, all cells one after another."""
    cells: Mapping[int, tuple[int, int]] | None = None
    """Of a notebook: a line's number to that of its cell, and of the line in it."""
    magics: frozenset[int] = frozenset()
    """Lines that are no Python, and were put into its words to be followed."""

    def problem(self, node: ast.AST | None, message: str, *, detail: str = "") -> Problem:
        """Say something about a node of the file's syntax tree, or about the whole file."""
        place = None if node is None else self.place(node)
        shown = "" if node is None else self.line(getattr(node, "lineno", 0))
        return Problem(self.name, message, place, shown, detail)

    def place(self, node: ast.AST) -> Place:
        """Return where a node begins, and how far it goes on that line."""
        line: int = getattr(node, "lineno", 1)
        start = self.column(line, getattr(node, "col_offset", 0))
        end = len(self.line(line)) + 1
        if getattr(node, "end_lineno", None) == line:
            end = self.column(line, getattr(node, "end_col_offset", 0))
        return self.at(line, start, max(1, end - start))

    def at(self, line: int, column: int, length: int = 1) -> Place:
        """Return the place of a line's column, in its cell if it has one."""
        if self.cells is None:
            return Place(line, column, length)
        cell, inner = self.cells.get(line, (1, line))
        return Place(inner, column, length, cell)

    def line(self, number: int) -> str:
        """Return a line, empty when there is none of this number."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def column(self, line: int, offset: int) -> int:
        """Return the column that an offset in bytes of UTF-8, which is what syntax trees hold, stands for."""
        return len(self.line(line).encode("utf-8", "surrogatepass")[:offset].decode("utf-8", "replace")) + 1

    def text_of(self, node: ast.AST) -> str:
        """Return a node's source on one line, shortened."""
        first, last = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0) or 0
        if not first:
            return "this"
        if first in self.magics:
            return shortened(self.line(first).strip())
        pieces = [self.line(number) for number in range(first, min(last, first + 3) + 1)]
        begin = self.column(first, getattr(node, "col_offset", 0)) - 1
        if last <= first + 3:
            pieces[-1] = pieces[-1][: self.column(last, getattr(node, "end_col_offset", 0)) - 1]
        pieces[0] = pieces[0][begin:]
        return shortened(" ".join(piece.strip() for piece in pieces))

    def where(self, node: ast.AST) -> str:
        """Return a node's line in words."""
        place = self.place(node)
        return f"line {place.line}" if place.cell is None else f"line {place.line} of cell {place.cell}"


def shortened(text: str) -> str:
    """Return text that fits into a sentence.

    Example:
        >>> from vhpack.yaml.places import shortened
        >>> len(shortened("a" * 1000))
        60
    """
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _window(line: str, column: int) -> tuple[int, str]:
    """Return the part of a long line that has the column in it, and where that part begins."""
    start = max(0, column - _WIDEST // 2) if len(line) > _WIDEST else 0
    return start, line[start : start + _WIDEST].rstrip()


def _caret(line: str, column: int, length: int) -> str:
    """Return a caret that stands under the column on a terminal: tabs stay tabs, wide characters take two places."""
    before = "".join("\t" if char == "\t" else " " * _width(char) for char in line[:column])
    under = sum(_width(char) for char in line[column : column + min(length, _WIDEST - column)])
    return before + "^" + "~" * (under - 1)


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
