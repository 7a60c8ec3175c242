"""What a script or a notebook says in its calls of `prepare()`, read without running any of it.

Both vhpack and valohai are known, under any name that an import gives them. The file is followed statement by statement as
far as constants go; a value that depends on anything else is a problem with a place, never a guess.
"""

from __future__ import annotations

import ast
import codecs
import difflib
import io
import re
import sys
import tokenize
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from vhpack.errors import StepError
from vhpack.step import describe
from vhpack.yaml import notebook
from vhpack.yaml.memory import TooMuchError
from vhpack.yaml.places import Source, shortened
from vhpack.yaml.statements import Statements
from vhpack.yaml.values import Attributes, Const, Items, Ref, Unknown, assumed_by, same, unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vhpack.step import Step
    from vhpack.yaml.calls import Arguments
    from vhpack.yaml.places import Problem
    from vhpack.yaml.values import Value

_ARGUMENTS: Final = ("step", "default_parameters", "default_inputs", "image", "environment", "multifile", "upload_store")
_LONGEST_SOURCE: Final = 2 << 20  # the syntax tree takes a hundred times as much
_LONGEST_NOTEBOOK: Final = 256 << 20  # with its pictures
_NO_CALL: Final = "there is no call of prepare(); begin with: import vhpack; vhpack.prepare(step='train')"
_MOST_VALUES: Final = 100_000
_DEEPEST: Final = 40
_VERSION: Final = f"{sys.version_info[0]}.{sys.version_info[1]}"
_SLOW: Final = frozenset({"punycode", "idna"})  # for names of machines; of megabytes they take time by the square


@dataclass(frozen=True)
class Prepared:
    """One `prepare()` and the step that it describes."""

    step: Step
    given: frozenset[str]
    """The arguments that it gives, whatever their values."""
    here: Problem
    """Its place, and its source line."""


@dataclass
class Reading:
    """What was found in a file."""

    path: str
    prepared: list[Prepared] = field(default_factory=list)
    """In the order of the file; none while there is a problem."""
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    """What was taken for granted."""


@dataclass
class _Record:
    node: ast.Call
    values: dict[str, object]
    nodes: dict[str, ast.expr]
    problems: dict[str, Problem]
    notes: dict[str, Problem]


def read(path: str, *, content: bytes | None = None) -> Reading:
    r"""Read the calls of `prepare()` in a Python file, or in a notebook if its name ends in `.ipynb`.

    Nothing in it is executed or imported. Time and memory are bounded, whatever it says.

    Args:
        path: The file, as messages are to name it.
        content: Its bytes, if they are at hand.

    Raises:
        OSError: the file cannot be read.

    Example:
        >>> from vhpack.yaml.reading import read
        >>> source = b"import vhpack as vh\nvh.prepare(step='train', default_parameters={'lr': 10 ** -3})"
        >>> found = read("train.py", content=source)
        >>> found.prepared[0].step.parameters[0].default
        0.001
    """
    reading = Reading(path)
    longest = _LONGEST_NOTEBOOK if path.endswith(".ipynb") else _LONGEST_SOURCE
    if content is None:
        with open(path, "rb") as file:
            content = file.read(longest + 1)
    nowhere = Source(path, ())
    if len(content) > longest:
        reading.problems.append(nowhere.problem(None, f"this is larger than {longest >> 20} MiB, and is not read"))
        return reading
    try:
        source, trees = _parsed(path, content, reading)
    except (ValueError, SyntaxError, LookupError) as error:
        reading.problems.append(nowhere.problem(None, str(error)))
        return reading
    if reading.problems:
        return reading
    if any("prepare" in line for line in source.lines):
        _follow(source, trees, reading)
    else:
        reading.problems.append(nowhere.problem(None, _NO_CALL))
    return reading


def _parsed(path: str, content: bytes, reading: Reading) -> tuple[Source, list[ast.stmt]]:
    if not path.endswith(".ipynb"):
        lines = _lines(_decoded(content))
        source = Source(path, tuple(lines))
        return source, _tree(source, "\n".join(lines), 0, reading)
    cells = [
        (cell.number, _lines(notebook.python(cell.source)), _lines(cell.source)) for cell in notebook.cells(_decoded(content))
    ]
    shown = [line for _, _, lines in cells for line in lines]
    if sum(map(len, shown)) > _LONGEST_SOURCE:
        raise ValueError(f"its code is longer than {_LONGEST_SOURCE >> 20} MiB, and is not read")
    places = [(number, line) for number, lines, _ in cells for line in range(1, len(lines) + 1)]
    followed = [line for _, lines, _ in cells for line in lines]
    magics = frozenset(number for number, (line, was) in enumerate(zip(followed, shown, strict=True), 1) if line != was)
    source = Source(path, tuple(shown), dict(enumerate(places, 1)), magics)
    bodies: list[list[ast.stmt]] = []
    before = 0
    for _, lines, _ in cells:
        bodies.append(_tree(source, "\n".join(lines), before, reading))
        before += len(lines)
    notebook.keep_results(bodies)
    return source, [node for body in bodies for node in body]


def _decoded(content: bytes) -> str:
    """Decode as Python does: a byte order mark, a coding comment in the first two lines, else UTF-8."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("this is UTF-16, which Python does not read; save it as UTF-8")
    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    if codecs.lookup(encoding).name in _SLOW:
        raise ValueError(f"this is said to be {encoding}, in which no source is written; save it as UTF-8")
    text = content.decode(encoding)
    if "\0" in text:
        raise ValueError("this holds NUL characters, and is no text")
    return text


def _lines(text: str) -> list[str]:
    return re.split(r"\r\n|\r|\n", text)


def _tree(source: Source, text: str, before: int, reading: Reading) -> list[ast.stmt]:
    """Return the statements of a piece of the file, which begins after so many lines of it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except SyntaxError as error:
        where = ast.Pass(lineno=(error.lineno or 1) + before, col_offset=0)
        said = source.problem(where, f"this is no Python: {error.msg} (as Python {_VERSION} reads it)")
        place = source.at(where.lineno, max(1, error.offset or 1))
        reading.problems.append(type(said)(said.file, said.message, place, said.shown))
    except (RecursionError, MemoryError):
        reading.problems.append(source.problem(None, "this is nested too deeply to be read"))
    else:
        if before:
            ast.increment_lineno(tree, before)
        return tree.body
    return []


def _follow(source: Source, body: list[ast.stmt], reading: Reading) -> None:
    follower = _Follower(source)
    try:
        follower.follow(body)
    except TooMuchError as error:
        reading.problems.append(source.problem(error.node, "this file is too large or too deeply nested to be followed to here"))
        return
    except RecursionError:
        reading.problems.append(source.problem(None, "this is nested too deeply to be followed"))
        return
    for node in follower.handed_on:
        message = "prepare is handed on or replaced here; cannot tell what it is called with without running the file"
        reading.problems.append(source.problem(node, message))
    for record in sorted(follower.distinct(), key=lambda record: (record.node.lineno, record.node.col_offset)):
        reading.problems += record.problems.values()
        reading.notes += record.notes.values()
        if not record.problems:
            _describe(source, record, reading)
    if not follower.records and not reading.problems:
        reading.problems.append(source.problem(None, _NO_CALL))


def _describe(source: Source, record: _Record, reading: Reading) -> None:
    wrong: dict[str, StepError] = {}
    for values in _one_by_one(record.values):
        made = _described(values)
        if isinstance(made, StepError):
            wrong.setdefault(made.where, made)
    for where, error in wrong.items():
        message = str(error) if str(error).startswith(where) else f"{where}: {error}"
        reading.problems.append(source.problem(_entry(record, where), message))
    if not isinstance(made, StepError):
        reading.prepared.append(Prepared(made, frozenset(record.values), source.problem(record.node, "prepare()")))


def _described(values: dict[str, object]) -> Step | StepError:
    try:
        return describe(**values)
    except StepError as error:
        return error


def _one_by_one(values: dict[str, object]) -> Iterator[dict[str, object]]:
    """Go through the entries of the dicts alone, so that each tells what is wrong with it, and then all together."""
    for argument in ("default_parameters", "default_inputs"):
        entries = values.get(argument)
        if isinstance(entries, dict):
            for name, value in entries.items():
                yield {"step": "any", argument: {name: value}}
    yield values


def _entry(record: _Record, where: str) -> ast.AST:
    """Return the node of an argument, or of an entry of it that stands in the call."""
    argument, _, rest = where.partition("[")
    node = record.nodes.get(argument)
    if isinstance(node, ast.Dict) and rest:
        name = rest.removesuffix("]").strip('"')
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == name:
                return value
    return node or record.node


class _Follower(Statements):
    """Follows a file and takes note of the calls."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        self.records: list[_Record] = []
        self._left = 0

    def mark(self) -> int:
        """Return how many calls are noted."""
        return len(self.records)

    def back_to(self, mark: int) -> None:
        """Forget those since."""
        del self.records[mark:]

    def prepare(self, frame: int, node: ast.Call, arguments: Arguments) -> None:
        """Take note of a call."""
        del frame
        record = _Record(node, {}, arguments.nodes, {}, {})
        if arguments.values:
            self._refuse(record, "0", node.args[0], "prepare() takes no positional arguments; name them, as in step='train'")
        if arguments.lost is not None:
            self._untold(record, "prepare()", arguments.lost)
        for name, value in arguments.named.items():
            if name in _ARGUMENTS:
                record.values[name] = self._told(record, name, value, arguments.nodes[name])
            else:
                close = difflib.get_close_matches(name, _ARGUMENTS, 1, 0.5)
                hint = f"; did you mean {close[0]}?" if close else f"; it has {', '.join(_ARGUMENTS)}"
                self._refuse(record, name, arguments.nodes[name], f"prepare() has no argument {name!r}{hint}")
        for assumed in self.decided:
            variable = self.source.text_of(assumed)
            message = f"note: this goes by the default of {variable}; the environment may say otherwise where it runs"
            record.notes.setdefault(f"decided {id(assumed)}", self.source.problem(assumed, message))
        if "step" not in record.values and arguments.lost is None:
            self._refuse(record, "step", node, "prepare() needs a step, as in step='train'")
        self.records.append(record)

    def distinct(self) -> Iterable[_Record]:
        """Return one record for each call in the file; one that is made with several sets of values is a problem."""
        found: dict[ast.Call, _Record] = {}
        for record in self.records:
            first = found.setdefault(record.node, record)
            if first is not record and not first.problems and not record.problems and not _equal(first.values, record.values):
                self._refuse(first, "several", record.node, "this is called several times, with different values")
            first.problems.update({key: problem for key, problem in record.problems.items() if key not in first.problems})
        return found.values()

    def _refuse(self, record: _Record, key: str, node: ast.AST, message: str, detail: str = "") -> None:
        record.problems.setdefault(key, self.source.problem(node, message, detail=detail))

    def _untold(self, record: _Record, where: str, lost: Unknown) -> None:
        text = self.source.text_of(lost.node)
        detail = lost.why
        if getattr(lost.root, "lineno", 0) in self.source.magics:
            detail = f"{self.source.where(lost.root)}: {self.source.text_of(lost.root)}"  # its own words, and not ours for it
        elif lost.root is not lost.node:
            here = getattr(lost.root, "lineno", 0) == getattr(lost.node, "lineno", 0)
            begin = repr(self.source.text_of(lost.root)) if here else self.source.where(lost.root)
            detail = (
                ""
                if here and not lost.why
                else f"{begin}: {lost.why}"
                if lost.why
                else f"{begin}: {self.source.text_of(lost.root)}"
            )
        self._refuse(record, where, lost.node, f"{where}: cannot tell {text!r} without running the file", detail)

    def _told(self, record: _Record, where: str, value: Value, node: ast.expr) -> object:
        """Return a value as Python's own, or None and a problem for each part that cannot be told."""
        self._left = _MOST_VALUES
        return self._plain(record, where, value, node)

    def _plain(self, record: _Record, where: str, value: Value, node: ast.AST, *, depth: int = 0) -> object:
        self._left -= 1
        if self._left < 0 or depth > _DEEPEST:
            self._refuse(record, where, node, f"{where}: this holds too many values")
            return None
        content = self.content(value) if isinstance(value, Ref) else value
        if isinstance(content, Unknown):
            # A statement says too much to be quoted: what depends on it is shown where it is used.
            shown = isinstance(content.node, ast.expr) and not isinstance(value, Ref)
            self._untold(record, where, content if shown else content.seen_at(node))
        elif isinstance(content, Const):
            for assumed in assumed_by([content]):
                self._assume(record, where, content, assumed)
            return content.value
        elif isinstance(content, dict) and not isinstance(content, Attributes):
            return {key: self._plain(record, f'{where}["{key}"]', item, node, depth=depth + 1) for key, item in content.items()}
        elif isinstance(content, list | Items):
            items = content.items if isinstance(content, Items) else content
            told = [self._plain(record, f"{where}[{at}]", item, node, depth=depth + 1) for at, item in enumerate(items)]
            return tuple(told) if isinstance(content, Items) else told
        else:
            self._untold(record, where, unknown(node))
        return None

    def _assume(self, record: _Record, where: str, value: Const, node: ast.AST) -> None:
        message = (
            f"{where}: taken as {shortened(repr(value.value))}, the default of {self.source.text_of(node)};"
            " the environment may say otherwise where it runs"
        )
        record.notes.setdefault(where, self.source.problem(node, f"note: {message}"))


def _equal(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return [*one] == [*other] and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return same(Const(one), Const(other))
