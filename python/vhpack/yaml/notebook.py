"""Notebooks as Python: code cells one after another, what IPython reads differently put into Python's words."""

from __future__ import annotations

import ast
import json
import keyword
import re
import warnings
from dataclasses import dataclass
from typing import Final

# Magics that neither set a name nor run Python of the notebook. Others count as ones that may set anything.
_QUIET: Final = frozenset(
    [
        "alias",
        "autoawait",
        "autoreload",
        "autosave",
        "cat",
        "cd",
        "clear",
        "colors",
        "conda",
        "config",
        "cp",
        "dhist",
        "dirs",
        "doctest_mode",
        "gui",
        "hist",
        "history",
        "javascript",
        "latex",
        "less",
        "lf",
        "lk",
        "ll",
        "load_ext",
        "loadpy",
        "ls",
        "lsmagic",
        "lx",
        "magic",
        "man",
        "matplotlib",
        "mkdir",
        "mamba",
        "more",
        "mv",
        "notebook",
        "page",
        "pastebin",
        "pdef",
        "pdoc",
        "pfile",
        "pinfo",
        "pinfo2",
        "pip",
        "popd",
        "pprint",
        "precision",
        "profile",
        "psearch",
        "psource",
        "pushd",
        "pwd",
        "pycat",
        "quickref",
        "recall",
        "reload_ext",
        "rm",
        "rmdir",
        "save",
        "sx",
        "system",
        "tensorboard",
        "unalias",
        "unload_ext",
        "uv",
        "who",
        "who_ls",
        "whos",
        "writefile",
        "xmode",
    ]
)
_SHOWN: Final = frozenset(
    ["file", "html", "HTML", "javascript", "js", "latex", "markdown", "svg", "SVG", "sx", "system", "writefile", "!"]
)
# Programs of their own; options of theirs, or words, name what their outcome is put under.
_PROGRAMS: Final = frozenset(
    ["bash", "bigquery", "cmd", "perl", "pypy", "python", "python2", "python3", "ruby", "script", "sh", "sql"]
)
_RUNS_PYTHON: Final = frozenset({"time", "capture", "prun"})
_ENVIRONMENT: Final = frozenset({"dotenv", "env", "set_env"})
# In a cell of one line they are magics without `%`, too, also where the line would be Python, as `store -r` is.
_SETTING: Final = frozenset({"edit", "load", "macro", "pylab", "rerun", "reset", "reset_selective", "run", "store"})
_BARE_SETTING: Final = frozenset({"pylab", "reset"})
_BARE = re.compile(r"(?P<name>\w+)(?:[ \t]+(?![ \t=,(\[])(?P<rest>[^\r\n]*))?")
_SETS = re.compile(r"(?:--?[\w-]+=)?(?P<name>[^\W\d]\w*)")
_INTO = re.compile(r"\b(?P<name>[^\W\d]\w*)\s*<<")
_VARIABLE = re.compile(r"(?P<name>[^\W\d]\w*)(?:\s*=|\s+\S).*")
_ASSIGNED = re.compile(r"(?P<left>[^=!<>%#'\"]*[^=!<>%#'\"\s])\s*=\s*(?P<escape>!{1,2}|%)(?P<rest>.*)", re.DOTALL)
_HELP = re.compile(r"\s*%{0,2}[\w.*\[\]'\"]+\?{1,2}\s*(#.*)?")
_UNKNOWN: Final = "__magic__()"
_ANYTHING: Final = "__anything__"
_ANY_VARIABLE: Final = f"__magic__.environ[__magic__] = {_UNKNOWN}"
_EXPANDED = re.compile(r"\{[^{}]*\(")  # IPython evaluates what stands in braces; what has no call does nothing
_EARLIER = re.compile(r"_{1,3}|_\d+|Out|_oh")  # what an earlier cell's last expression gave
_SAID = re.compile(r"_i{1,3}|_i\d+")  # the source of an earlier cell


@dataclass(frozen=True)
class Cell:
    """A code cell."""

    number: int
    """Among all cells, counting from one."""
    source: str


def cells(content: str) -> list[Cell]:
    r"""Return the code cells of a notebook.

    Raises:
        ValueError: the text is no notebook of format 4.

    Example:
        >>> from vhpack.yaml.notebook import cells
        >>> cells('{"nbformat": 4, "cells": [{"cell_type": "code", "source": ["x = 1\\n", "y = 2"]}]}')
        [Cell(number=1, source='x = 1\ny = 2')]
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"this is no notebook: {error}") from None
    if isinstance(found, dict) and found.get("type") == "notebook":
        found = found.get("content")
    if not isinstance(found, dict) or not isinstance(found.get("nbformat"), int):
        raise ValueError("this is no notebook: it has no number 'nbformat'")  # noqa: TRY004 - the text is wrong, no argument
    listed = found.get("cells")
    if not isinstance(listed, list):
        raise ValueError(f"a notebook of format {found['nbformat']} has no 'cells'; save it again with a current Jupyter")  # noqa: TRY004
    return [
        Cell(number, _source(cell.get("source")))
        for number, cell in enumerate(listed, 1)
        if isinstance(cell, dict) and cell.get("cell_type") == "code"
    ]


def _source(found: object) -> str:
    lines = [found] if isinstance(found, str) else found
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ValueError("a cell's source is neither text nor a list of texts")
    return "".join(lines)


def python(source: str) -> str:
    r"""Return a cell's source as Python: every line keeps its number, and what stays keeps its column.

    Magics and shell lines become `pass`, or calls of `__magic__`, and `__anything__` where they may set any name.

    Example:
        >>> from vhpack.yaml.notebook import python
        >>> print(python("%matplotlib inline\n!pip install x\nfiles = !ls\nx = 1"))
        pass
        pass
        files = __magic__()
        x = 1
    """
    said = _without_percent(source)
    if said is not None:
        return said
    if _is_python(source):
        return source
    lines = re.split(r"\r\n|\r|\n", source)
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    if lines[first].startswith("%%"):
        return _cell_magic(lines, first)
    return "\n".join(_Lines(lines).translated())


def _is_python(source: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _without_percent(source: str) -> str | None:
    """Return a cell of one line that is a magic without its `%` in Python's words, else None."""
    text = source.rstrip()
    end = source[len(text) :]
    found = _BARE.fullmatch(text)
    if found is None:
        return None
    name, rest = found["name"], found["rest"] or ""
    if name in _SETTING and (rest or name in _BARE_SETTING):
        return _ANYTHING + end
    known = name == "time" or name in _QUIET or name in _ENVIRONMENT
    return _line_magic(f"{name} {rest}") + end if known and rest and not _is_python(source) else None


def _cell_magic(lines: list[str], first: int) -> str:
    name, _, rest = lines[first][2:].partition(" ")
    name = name.strip()
    if _EXPANDED.search(lines[first]):
        return "\n".join([*([""] * first), _ANYTHING, *([""] * (len(lines) - first - 1))])
    above, below = [""] * first, lines[first + 1 :]
    if name in _RUNS_PYTHON and not (name == "prun" and rest.strip()):  # which runs what stands on its line, too
        kept = [found["name"] for found in map(_SETS.fullmatch, rest.split()) if found] if name == "capture" else []
        if not set(kept).isdisjoint(re.findall(r"\w+", "\n".join(below))):
            # What the cell sets by that name is replaced when it ends.
            return "\n".join([*above, _ANYTHING, *([""] * len(below))])
        return "\n".join([*above, _unknown(kept), *_Lines(below).translated()])
    if name in _PROGRAMS or name in _SHOWN or name.startswith("!"):
        names = [found["name"] for found in map(_SETS.fullmatch, rest.split()) if found] if name in _PROGRAMS else []
        names += [found["name"] for line in (rest, *below) for found in _INTO.finditer(line)] if name == "sql" else []
        return "\n".join([*above, _unknown(names), *([""] * len(below))])
    return "\n".join([*above, _ANYTHING, *([""] * len(below))])


def _unknown(names: list[str]) -> str:
    """Return a statement that sets names to what nobody can tell."""
    return "".join(f"{name} = " for name in dict.fromkeys(names) if not keyword.iskeyword(name)) + _UNKNOWN if names else ""


class _Lines:
    """Finds the lines that begin a statement: those inside brackets and long texts are Python's own."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._quote = ""
        self._depth = 0
        self._goes_on = False

    def translated(self) -> list[str]:
        """Return the lines in Python's words."""
        found: list[str] = []
        while len(found) < len(self._lines):
            line = self._lines[len(found)]
            begins = not self._quote and not self._depth and not self._goes_on
            said = _translated(line) if begins else None
            if said is None:
                self._pass(line)
                found.append(line)
                continue
            found.append(said)
            begun = len(found) - 1
            while self._lines[len(found) - 1].endswith("\\") and len(found) < len(self._lines):
                found.append("")  # a magic's line goes on, too
            if said.strip().startswith("pass") and _EXPANDED.search("".join(self._lines[begun : len(found)])):
                found[begun] = said.replace("pass", _ANYTHING, 1)
        return found

    def _pass(self, line: str) -> None:
        """Go through a line of Python, to know in what it ends."""
        at = 0
        self._goes_on = False
        while at < len(line):
            at = self._in_text(line, at) if self._quote else self._in_code(line, at)
        if len(self._quote) == 1 and not self._goes_on:
            self._quote = ""  # a text that is not closed on its line; Python will say so

    def _in_text(self, line: str, at: int) -> int:
        if line[at] == "\\":
            self._goes_on = at == len(line) - 1
            return at + 2
        if line.startswith(self._quote, at):
            at += len(self._quote)
            self._quote = ""
            return at
        return at + 1

    def _in_code(self, line: str, at: int) -> int:
        char = line[at]
        if char == "#":
            return len(line)
        if char in "'\"":
            self._quote = char * 3 if line.startswith(char * 3, at) else char
            return at + len(self._quote)
        self._depth = max(0, self._depth + (char in "([{") - (char in ")]}"))
        self._goes_on = char == "\\" and at == len(line) - 1
        return at + 1


def _translated(line: str) -> str | None:
    """Return a line that begins a statement in Python's words, None where it is Python."""
    text = line.lstrip()
    indent = line[: len(line) - len(text)]
    if text.startswith("!"):
        return f"{indent}pass"
    if text.startswith("%"):
        return f"{indent}{_line_magic(text[1:])}"
    if text.startswith("?") or _HELP.fullmatch(text):
        return f"{indent}pass"
    if text.startswith(("/", ",", ";")):
        return f"{indent}{_ANYTHING}"  # calls a function, which may be the notebook's own
    assigned = _ASSIGNED.fullmatch(text)
    return None if assigned is None else f"{indent}{assigned['left']} = {_outcome(assigned['escape'], assigned['rest'])}"


def _outcome(escape: str, command: str) -> str:
    """Return what the right side of `x = !command` or `x = %magic` is worth in Python's words."""
    if _EXPANDED.search(command):
        return _ANYTHING
    magic, _, rest = command.strip().partition(" ")
    if escape == "%" and magic in _ENVIRONMENT:
        return _environment(rest) or _UNKNOWN
    return _UNKNOWN if escape != "%" or magic in _QUIET else _ANYTHING


def _line_magic(text: str) -> str:
    name, _, rest = text.partition(" ")
    if name == "time" and rest.strip():
        # As far to the right as it was.
        return f"0;{' ' * (len(text) - len(rest) - 1)}{rest}"
    if _EXPANDED.search(rest):
        return _ANYTHING
    if name in _ENVIRONMENT:
        return _environment(rest if name != "dotenv" else "{}") or "pass"
    return "pass" if name.lstrip("%") in _QUIET else _ANYTHING


def _environment(text: str) -> str:
    """Return what `%env` does with these words as a statement that sets a variable; empty where it only shows some."""
    if "$" in text or "{" in text:
        return _ANY_VARIABLE  # of a name, or to a value, that is put in first
    found = _VARIABLE.fullmatch(text.strip())
    return f"__magic__.environ[{found['name']!r}] = {_UNKNOWN}" if found else ""


def keep_results(bodies: list[list[ast.stmt]]) -> None:
    """Hand what the cells' expressions give to something unknown, if the notebook has a name for it: `_`, `Out[3]`.

    Names of what the cells say themselves (`_i`, `_i3`) are set to that before each cell.
    """
    names = {node.id for body in bodies for node in ast.walk(ast.Module(body, [])) if isinstance(node, ast.Name)}
    for name in filter(_SAID.fullmatch, names):
        for body in filter(None, bodies):
            said = ast.Assign([ast.Name(name, ast.Store())], ast.Call(ast.Name("__magic__", ast.Load()), [], []))
            body.insert(0, ast.fix_missing_locations(ast.copy_location(said, body[0])))
    if not any(map(_EARLIER.fullmatch, names)):
        return
    for body in bodies:
        for node in body:
            if isinstance(node, ast.Expr):
                kept = ast.Call(ast.copy_location(ast.Name("__magic__", ast.Load()), node.value), [node.value], [])
                node.value = ast.copy_location(kept, node.value)
