"""What the platform's own schema and linter find in a `valohai.yaml`, with the lines that they leave out."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vhpack.errors import YamlError
from vhpack.yaml.document import parse, unshared
from vhpack.yaml.extra import require
from vhpack.yaml.places import Place, Problem, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from vhpack.yaml.document import Document, Node

_NAMED = re.compile(r"(?P<kind>step|pipeline|task|endpoint|deployment)[ :]+[\"']?(?P<name>[^\"',:]+)", re.IGNORECASE)
_PARAMETER = re.compile(r"parameter [\"']?(?P<name>[^\"',:]+)")


@dataclass(frozen=True)
class Finding:
    """One thing that the platform would refuse, or wonder about."""

    severity: Literal["error", "warning"]
    problem: Problem

    def text(self) -> str:
        """Return it with its line, and a caret."""
        return self.problem.text()

    def fields(self) -> dict[str, object]:
        """Return what a program wants to know."""
        return {"severity": self.severity, **self.problem.fields()}


def lint(name: str, text: str) -> list[Finding]:
    r"""Return what is wrong with a `valohai.yaml`, in the order of its lines.

    Raises:
        MissingExtraError: `valohai-yaml` is not installed.

    Example:
        >>> from vhpack.yaml.linting import lint
        >>> for finding in lint("valohai.yaml", "- step:\n    name: a\n    image: b\n    comand: c\n"):
        ...     print(finding.problem)
        valohai.yaml:2:5: error: step: 'command' is missing
        valohai.yaml:4:5: error: step: 'comand' is not known; did you mean 'command'?
    """
    try:
        document = parse(name, text)
    except YamlError as error:
        return [_unreadable(name, text, str(error))]
    lines = re.split(r"\r\n|\r|\n", text)
    if document.meaning is None:
        return [_finding(name, lines, "error", "this is empty; it needs a step", None)]
    found = list(_twice(document, lines))
    broken = list(_schema(document, lines))
    found += broken or _objects(document, lines)
    return sorted(found, key=lambda finding: finding.problem.place.line if finding.problem.place else 0)


def _finding(name: str, lines: Sequence[str], severity: Literal["error", "warning"], message: str, node: Node | None) -> Finding:
    place = None if node is None else Place(node.line, node.column + 1, max(1, len(node.text)) if node.kind == "scalar" else 1)
    shown = lines[place.line - 1] if place is not None and place.line <= len(lines) else ""
    return Finding(severity, Problem(name, f"{severity}: {message}", place, shown))


def _unreadable(name: str, text: str, message: str) -> Finding:
    where = re.match(r":(\d+):(?:(\d+):)? ", message.removeprefix(name))
    if where is None:
        return Finding("error", Problem(name, f"error: {message.removeprefix(f'{name}: ')}"))
    lines = re.split(r"\r\n|\r|\n", text)
    line, column = int(where[1]), int(where[2] or 1)
    shown = lines[line - 1] if line <= len(lines) else ""
    return Finding("error", Problem(name, f"error: {message.removeprefix(name)[where.end() :]}", Place(line, column), shown))


def _twice(document: Document, lines: Sequence[str]) -> Iterator[Finding]:
    """Go through keys that stand twice in a mapping, of which readers keep the last in silence."""
    waiting = [document.root] if document.root is not None else []
    while waiting:
        node = waiting.pop()
        waiting += node.items
        if node.kind != "mapping":
            continue
        seen: set[str] = set()
        for key, _ in node.pairs():
            if key.kind == "scalar" and key.text in seen:
                message = f"{key.text!r} is here for the second time; what stands before is ignored"
                yield _finding(document.name, lines, "warning", message, key)
            seen.add(key.text)


def _schema(document: Document, lines: Sequence[str]) -> Iterator[Finding]:
    validator = require("valohai_yaml.validation").get_validator()
    for error in validator.iter_errors(unshared(document.meaning)):
        path = list(error.absolute_path)
        for message, key in _messages(error):
            node = _key_at(document.root, path, key) if key is not None else _value_at(document.root, path)
            yield _finding(document.name, lines, "error", f"{_words(path)}{message}", node)


def _messages(error: Any) -> Iterator[tuple[str, str | None]]:  # noqa: ANN401
    """Go through what a schema's error says, and which key each is about."""
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        for key in error.instance:
            if key not in known:
                close = difflib.get_close_matches(str(key), known, 1)
                hint = f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(sorted(known))}"
                yield f"{key!r} is not known{hint}", str(key)
    elif error.validator == "required":
        for key in error.validator_value:
            if key not in error.instance:
                yield f"{key!r} is missing", None
    elif error.validator == "enum":
        yield f"{error.instance!r} must be one of {', '.join(map(str, error.validator_value))}", None
    elif error.validator == "type":
        yield f"{shortened(repr(error.instance))} must be of type {error.validator_value}", None
    else:
        yield shortened(error.message) if len(error.message) > 200 else error.message, None  # noqa: PLR2004


def _words(path: Sequence[object]) -> str:
    """Return a path as people read it: `step.parameters[2].type: `."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path[1:])
    return f"{text.lstrip('.')}: " if text else ""


def _steps(node: Node | None, path: Iterable[object]) -> Iterator[tuple[Node, Node | None]]:
    """Go down a path as far as it is written here: each value, and the key that it stands under."""
    for part in path:
        following, key = None, None
        if node is not None and node.kind == "sequence" and isinstance(part, int) and part < len(node.items):
            following = node.items[part]
        elif node is not None and node.kind == "mapping":
            key, following = next(((name, value) for name, value in node.pairs() if name.text == str(part)), (None, None))
        if following is None:
            return
        node = following
        yield node, key


def _value_at(root: Node | None, path: Sequence[object]) -> Node | None:
    found = list(_steps(root, path))
    if not found:
        return root
    value, key = found[-1]
    return value if value.kind == "scalar" and value.start != value.end else key if value.kind == "scalar" else value


def _key_at(root: Node | None, path: Sequence[object], key: str) -> Node | None:
    found = list(_steps(root, [*path, key]))
    return (found[-1][1] or found[-1][0]) if found else root


def _objects(document: Document, lines: Sequence[str]) -> Iterator[Finding]:
    """Go through what the platform's library finds beyond the schema: names that lead nowhere, defaults out of range."""
    objects = require("valohai_yaml.objs")
    problems = require("valohai_yaml.excs")
    try:
        result = objects.Config.parse(unshared(document.meaning)).lint()
    except (problems.ValidationError, ValueError, TypeError, KeyError, AttributeError) as error:
        yield _finding(document.name, lines, "error", str(error), document.root)
        return
    except (LookupError, ArithmeticError, RecursionError) as error:  # whose own words say nothing to whoever wrote the file
        said = f"the platform's reader fails here ({type(error).__name__}: {error}); a duration must be as in 1h 30m, for one"
        yield _finding(document.name, lines, "error", said, document.root)
        return
    for message in result.messages:
        severity: Literal["error", "warning"] = "error" if message["type"] == "error" else "warning"
        said = " ".join(str(message["message"]).split())
        yield _finding(document.name, lines, severity, said, _meant(document, said))


def _meant(document: Document, message: str) -> Node | None:
    """Return the item that a message names, which says no line itself."""
    named = _NAMED.search(message)
    if named is None or document.root is None:
        return document.root
    for item in document.root.items:
        for key, value in item.pairs() if item.kind == "mapping" else ():
            name = value.value("name") if value.kind == "mapping" else None
            if key.text == named["kind"].lower() and name is not None and name.text == named["name"].strip():
                return _parameter(value, message) or name
    return document.root


def _parameter(step: Node, message: str) -> Node | None:
    named, listed = _PARAMETER.search(message), step.value("parameters")
    if named is None or listed is None or listed.kind != "sequence":
        return None
    names = [item.value("name") for item in listed.items if item.kind == "mapping"]
    return next((name for name in names if name is not None and name.text == named["name"].strip()), None)
