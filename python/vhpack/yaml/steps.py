"""A step as it stands in `valohai.yaml`: made from code, and brought up to date where a person has written it."""

from __future__ import annotations

import math
import posixpath
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vhpack.errors import YamlError
from vhpack.step import key as option_key
from vhpack.yaml import scalars
from vhpack.yaml.document import Document, parse, unshared
from vhpack.yaml.edits import Edits
from vhpack.yaml.places import Place, Problem, shortened

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from vhpack.step import Input, Parameter, Step
    from vhpack.yaml.document import Node

DEFAULT_IMAGE: Final = "python:3.12-slim"
_INSTALL: Final = "pip install -r requirements.txt"
_INTERPOLATED = re.compile(r"\{.+?\}")
_PASSED: Final = ("pass-as", "pass-true-as", "pass-false-as")
_LISTS: Final = {"default_parameters": "parameters", "default_inputs": "inputs"}


@dataclass(frozen=True)
class Wanted:
    """A step that code describes, and the file that it is in."""

    step: Step
    given: frozenset[str]
    """Arguments that `prepare()` gives, whatever their values."""
    path: str
    """Of the source, relative to the repository's root, with forward slashes."""


def command(path: str, *, multifile: bool) -> list[str]:
    """Return the commands that run a source.

    Raises:
        YamlError: the path has braces, which the platform takes for parameters.

    Example:
        >>> from vhpack.yaml.steps import command
        >>> command("my jobs/train.py", multifile=False)[1]
        "python './my jobs/train.py' {parameters}"
    """
    place = f"./{path}"
    if _INTERPOLATED.search(place):
        raise YamlError(f"{path}: braces in a command are parameters on the platform; rename the file")
    if path.endswith(".ipynb"):
        read, write = f"/valohai/repository/{path}", f"/valohai/outputs/{posixpath.basename(path)}"
        run = f"papermill -k python3 -f /valohai/config/parameters.json {shlex.quote(read)} {shlex.quote(write)}"
    else:
        run = f"python {'{source-path}' if multifile else shlex.quote(place)} {{parameters}}"
    return [_INSTALL, run]


def generated(wanted: Wanted) -> dict[str, object]:
    """Return a step that no person has written yet, as it is written."""
    step = wanted.step
    made: dict[str, object] = {
        "name": step.name,
        "image": step.image or DEFAULT_IMAGE,
        "command": command(wanted.path, multifile=step.multifile),
        "parameters": [parameter_item(parameter) for parameter in step.parameters],
        "inputs": [input_item(entry) for entry in step.inputs],
        "environment": step.environment,
        "source-path": f"./{wanted.path}" if step.multifile else None,
        "upload-store": step.upload_store,
    }
    return {name: value for name, value in made.items() if value not in (None, [])}


def parameter_item(parameter: Parameter) -> dict[str, object]:
    """Return a parameter's entry: its name first, then the alphabet.

    Raises:
        YamlError: it takes several values of true and false, which has no form there.
    """
    if parameter.kind == "flag" and parameter.multiple:
        raise YamlError(f'default_parameters["{parameter.name}"]: the platform has no lists of flags; make it text or numbers')
    made: dict[str, object] = {**parameter.extra, "type": parameter.kind}
    if parameter.default is not None:
        made["default"] = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
    if parameter.multiple:
        made["multiple"] = parameter.multiple
        if parameter.separator != ",":
            made["multiple-separator"] = parameter.separator
    if parameter.kind != "flag":
        made["optional"] = parameter.optional
    elif not any(name in made for name in _PASSED):
        made |= {"pass-true-as": f"--{parameter.name}=true", "pass-false-as": f"--{parameter.name}=false"}
    return {"name": parameter.name, **{name: made[name] for name in sorted(made)}}


def input_item(entry: Input) -> dict[str, object]:
    """Return an input's entry; local files stay out of it."""
    urls = list(entry.urls)
    made: dict[str, object] = {**entry.extra, "optional": not urls if entry.optional is None else entry.optional}
    if urls:
        made["default"] = urls[0] if len(urls) == 1 else urls
    if any("*" in url for url in urls):
        made.setdefault("keep-directories", "suffix")
    return {"name": entry.name, **{name: made[name] for name in sorted(made)}}


def updated(document: Document, wanted: Wanted) -> str:
    """Return the text with the step as code describes it, all else as it was.

    Raises:
        YamlError: the file is no list of steps, or the step cannot be changed without changing something else.
    """
    update = _Update(document, wanted)
    update.apply()
    text = update.edits.result()
    _compare(document, text, update.meaning)
    return text


def kept(document: Document, wanted: Wanted) -> list[Problem]:
    """Return a note on each list that stays as it is, since `prepare()` does not give it: code may have had it once.

    Raises:
        YamlError: as `updated`.
    """
    update = _Update(document, wanted)
    number = update.find()
    if number is None:
        return []
    step, node = update.meaning[number]["step"], update.step_node(number)
    notes: list[Problem] = []
    for argument, name in _LISTS.items():
        held = step.get(name)
        if argument in wanted.given or not isinstance(held, list) or not held:
            continue
        names = ", ".join(str(item.get("name")) if isinstance(item, dict) else str(item) for item in held)
        message = f"note: {name} ({shortened(names)}) stay: {wanted.path} gives no {argument}; {argument}={{}} there removes them"
        at = node.place(name)
        key = node if at is None else node.pairs()[at][0]
        shown = document.text[document.text.rfind("\n", 0, key.start) + 1 :].partition("\n")[0].rstrip("\r")
        notes.append(Problem(document.name, message, Place(key.line, key.column + 1, max(1, len(key.text))), shown))
    return notes


def _compare(document: Document, text: str, expected: Any) -> None:  # noqa: ANN401
    """Make sure that the text means what was asked for, and nothing else has changed."""
    try:
        found = unshared(parse(document.name, text).meaning)
    except YamlError:
        found = None  # of a text that nobody has seen, the lines would tell nothing
    if not _alike(found, expected):
        raise YamlError(
            f"{document.name}: the step is written in a way that cannot be changed without changing more (anchors, several"
            " items on a line); write it out in lines of its own"
        )


def _alike(one: Any, other: Any) -> bool:  # noqa: ANN401
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and bool(one == other)


class _Update:
    """Changes text and meaning side by side."""

    def __init__(self, document: Document, wanted: Wanted) -> None:
        self.document = document
        self.wanted = wanted
        self.edits = Edits(document)
        self.meaning: Any = unshared(document.meaning)
        self._offset = 0

    def apply(self) -> None:
        """Change the step that is there, or add it."""
        number = self.find()
        if number is None:
            self._add()
            return
        node = self.step_node(number)
        step = self.meaning[number]["step"]
        command_node = node.value("command")
        if command_node is not None and command_node.kind == "sequence" and not command_node.flow:
            self._offset = max(0, command_node.column - node.column)
        self._settings(node, step)
        self._command(node, step)
        made = generated(self.wanted)
        for argument, name in _LISTS.items():
            if argument in self.wanted.given:
                self._entries(node, step, name, made.get(name, []))

    def find(self) -> int | None:
        """Return which item of the file the step is."""
        if self.document.root is None:
            self.meaning = []
        elif self.document.root.kind != "sequence":
            raise YamlError(f"{self.document.name}:1: this is no list of steps, pipelines and the like")
        found = [
            number
            for number, item in enumerate(self.meaning)
            if isinstance(item, dict) and isinstance(item.get("step"), dict) and item["step"].get("name") == self.wanted.step.name
        ]
        if len(found) > 1:
            assert self.document.root is not None  # noqa: S101
            lines = " and ".join(str(self.document.root.items[number].line) for number in found)
            raise YamlError(
                f"{self.document.name}: the step {self.wanted.step.name!r} is there twice, in lines {lines}; keep one"
            )
        return found[0] if found else None

    def _add(self) -> None:
        made = generated(self.wanted)
        lines = ["- step:", *scalars.mapping(made, 4)]
        root = self.document.root
        self.meaning.append({"step": made})
        if root is None:
            self.edits.insert_at_end(lines, parted=False)
        elif not root.items:
            self.edits.put(root.start, root.end, "\n".join(lines))
        elif root.flow:
            self.edits.append(root, {"step": made})
        else:
            parted = bool(re.search(r"\n[ \t]*\r?\n[^\n]*$", self.document.text[: root.items[-1].start])) or len(root.items) == 1
            self.edits.insert_at_end([" " * root.column + line for line in lines], parted=parted and len(root.items) > 1)

    def step_node(self, number: int) -> Node:
        """Return where a step's keys stand."""
        assert self.document.root is not None  # noqa: S101
        item = self.document.root.items[number]
        step = item.value("step") if item.kind == "mapping" else None
        return self._written(step, item.line, f"the step {self.wanted.step.name!r}")

    def _written(self, node: Node | None, line: int, what: str) -> Node:
        """Return a node that can be changed in its place, which an alias cannot."""
        if node is None or node.kind == "alias":
            where = f"{self.document.name}:{line if node is None else node.line}"
            raise YamlError(f"{where}: {what} is written elsewhere, by an anchor that others may share; write it out here")
        return node

    # Keys

    def _set(self, node: Node, meaning: dict[str, Any], name: str, value: object) -> None:
        if name in meaning and _agrees(meaning[name], value, meaning.get("type")):
            return
        self.edits.set(node, name, value, held=meaning.get(name), offset=self._offset)
        meaning[name] = list(value) if isinstance(value, tuple) else value

    def _remove(self, node: Node, meaning: dict[str, Any], name: str) -> None:
        if name not in meaning:
            return
        if node.value(name) is None:
            raise YamlError(f"{self.document.name}:{node.line}: {name!r} comes from elsewhere by '<<'; write the step out")
        self.edits.remove(node, name)
        del meaning[name]

    def _settings(self, node: Node, meaning: dict[str, Any]) -> None:
        step = self.wanted.step
        for name, value in (("image", step.image), ("environment", step.environment), ("upload-store", step.upload_store)):
            if value is not None:
                self._set(node, meaning, name, value)
        if "image" not in meaning:
            self._set(node, meaning, "image", DEFAULT_IMAGE)

    def _command(self, node: Node, meaning: dict[str, Any]) -> None:
        """Keep what a person wrote; what was generated for the same file follows `multifile`."""
        path, multifile = self.wanted.path, self.wanted.step.multifile
        made = command(path, multifile=multifile)
        if "command" not in meaning:
            self._set(node, meaning, "command", made)
        elif made != meaning["command"] == command(path, multifile=not multifile):
            self._replace_run(node, meaning, made)
            if not multifile and meaning.get("source-path") == f"./{path}":
                self._remove(node, meaning, "source-path")
        if multifile:
            self._set(node, meaning, "source-path", f"./{path}")

    def _replace_run(self, node: Node, meaning: dict[str, Any], made: list[str]) -> None:
        listed = self._written(node.value("command"), node.line, "'command'")
        run = listed.items[-1]
        self.edits.put(run.start, run.end, scalars.scalar(made[-1], inside=listed.flow))
        meaning["command"] = made

    # Lists of parameters and inputs

    def _entries(self, node: Node, meaning: dict[str, Any], name: str, made: object) -> None:
        assert isinstance(made, list)  # noqa: S101
        held = meaning.get(name)
        if not held:
            if made:
                self._set(node, meaning, name, made)
            return
        if not made:
            self._remove(node, meaning, name)
            return
        listed = self._written(node.value(name), node.line, repr(name))
        if not isinstance(held, list) or not all(isinstance(item, dict) and "name" in item for item in held):
            raise YamlError(f"{self.document.name}:{listed.line}: {name!r} must be a list of items with names")
        matches = _matched(held, made)
        for at, item in enumerate(held):
            if at in matches:
                self._entry(self._written(listed.items[at], listed.line, "an item"), item, made[matches[at]], name)
        paired = set(matches.values())
        added = [item for number, item in enumerate(made) if number not in paired]
        gone = [at for at in range(len(held)) if at not in matches]
        if len(gone) == len(held):
            self.edits.rewrite(listed, made, offset=self._offset)
            meaning[name] = made
            return
        for at in gone:
            self.edits.drop(listed, at)
        for item in added:
            self.edits.append(listed, item, offset=self._offset)
        meaning[name] = [item for at, item in enumerate(held) if at in matches] + added

    def _entry(self, node: Node, meaning: dict[str, Any], made: Mapping[str, object], kind: str) -> None:
        had_default = meaning.get("default") is not None
        was_flag = meaning.get("type") == "flag"
        keep = {"optional", *_PASSED} if kind == "parameters" else {"optional", "keep-directories"}
        if "default" not in made and made.get("type") == "string" and "type" in meaning:
            keep.add("type")  # None has no type; it may be that of the person
        for name, value in made.items():
            if name not in keep and not (name == "multiple" and value == "separate" and meaning.get(name) == "repeat"):
                self._set(node, meaning, name, value)
        if "default" not in made:
            self._remove(node, meaning, "default")
        if kind == "parameters":
            self._parameter(node, meaning, made, was_flag=was_flag)
        elif "keep-directories" in made:
            explicit = any(made["keep-directories"] == value for value in ("full", "none", True, False))
            if explicit or "keep-directories" not in meaning:
                self._set(node, meaning, "keep-directories", made["keep-directories"])
        optional = made.get("optional")
        # `optional` that only follows from the default gives way to what a person wrote.
        if optional is not None and (optional is ("default" in made) or had_default is not ("default" in made)):
            self._set_optional(node, meaning, optional=bool(optional))

    def _set_optional(self, node: Node, meaning: dict[str, Any], *, optional: bool) -> None:
        if optional or "optional" in meaning:
            self._set(node, meaning, "optional", optional)

    def _parameter(self, node: Node, meaning: dict[str, Any], made: Mapping[str, object], *, was_flag: bool) -> None:
        if "multiple" not in made and "default" in made and "multiple" in meaning:
            for name in ("multiple", "multiple-separator"):
                self._remove(node, meaning, name)
        flag = meaning.get("type") == "flag"
        if flag and not any(name in meaning for name in _PASSED):
            for name in _PASSED:
                if name in made:
                    self._set(node, meaning, name, made[name])
        if flag and not was_flag:
            self._remove(node, meaning, "optional")
        if was_flag and not flag:
            for name in ("pass-true-as", "pass-false-as"):
                self._remove(node, meaning, name)


def _matched(held: list[dict[str, Any]], made: list[dict[str, Any]]) -> dict[int, int]:
    """Pair items by name, then those whose names are two spellings of one option; of several of a name, the first ones."""
    found: dict[int, int] = {}
    for same in (str, lambda name: option_key(str(name))):
        taken = set(found.values())
        free: dict[str, list[int]] = {}
        for number in range(len(made) - 1, -1, -1):
            if number not in taken:
                free.setdefault(same(made[number]["name"]), []).append(number)
        for at, item in enumerate(held):
            numbers = free.get(same(item["name"])) if at not in found else None
            if numbers:
                found[at] = numbers.pop()
    return found


def _agrees(held: Any, value: object, kind: object) -> bool:  # noqa: ANN401
    """Say whether what stands there means what code says, in whatever spelling."""
    if isinstance(value, list | tuple):
        several = held if isinstance(held, list) else [held]
        return len(several) == len(value) and all(_agrees(one, other, kind) for one, other in zip(several, value, strict=True))
    if isinstance(held, list) and len(held) == 1:
        return _agrees(held[0], value, kind)
    if kind == "float" and isinstance(value, float) and isinstance(held, int | float | str) and not isinstance(held, bool):
        try:
            return float(held) == value or (math.isnan(value) and math.isnan(float(held)))
        except (ValueError, OverflowError):
            return False
    return type(held) is type(value) and held == value
