"""A YAML file as a person wrote it: what stands where in its text, and what it means."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from vhpack.errors import YamlError
from vhpack.yaml.extra import require

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_LONGEST = 4 << 20
_MOST_VALUES = 200_000
_DEEPEST = 100


@dataclass
class Node:
    """A value in the text."""

    kind: Literal["scalar", "sequence", "mapping", "alias"]
    start: int
    """Where it begins, its anchor and tag included."""
    end: int
    """Where it ends; of a block, where its last value does."""
    line: int
    """Counting from one."""
    column: int
    """Of the first character, or dash; counting from zero."""
    flow: bool = False
    items: list[Node] = field(default_factory=list)
    """Of a mapping, keys and values by turns."""
    text: str = ""
    """Of a scalar, its value as text; of an alias, its name."""
    style: str = ""
    """Of a scalar: `|` or `>` for a block of lines, a quote, or nothing."""

    def pairs(self) -> list[tuple[Node, Node]]:
        """Return a mapping's keys and values."""
        return list(zip(self.items[::2], self.items[1::2], strict=True))

    def value(self, key: str) -> Node | None:
        """Return what stands under a key of a mapping; None if it is not written here. Of a key that is there twice, the last."""
        at = self.place(key)
        return None if at is None else self.pairs()[at][1]

    def place(self, key: str) -> int | None:
        """Return which of a mapping's pairs has this key, for readers; None if none is written here."""
        found = [at for at, (name, _) in enumerate(self.pairs()) if name.kind == "scalar" and name.text == key]
        return found[-1] if found else None


@dataclass
class Document:
    """The text, what stands where in it, and what it means."""

    name: str
    text: str
    root: Node | None
    """None: nothing but comments."""
    meaning: Any
    ended: int | None = None
    """Where `...` ends it, if that is written."""

    @property
    def newline(self) -> str:
        """How its lines end."""
        return "\r\n" if "\r\n" in self.text else "\n"


def parse(name: str, text: str) -> Document:
    r"""Read a YAML file, as the platform does.

    Raises:
        YamlError: it is no YAML, holds several documents, or means more than a valohai.yaml can.
        MissingExtraError: the libraries for YAML are not installed.

    Example:
        >>> from vhpack.yaml.document import parse
        >>> parse("valohai.yaml", "- step:\n    name: train  # the only one\n").meaning
        [{'step': {'name': 'train'}}]
    """
    pyyaml = require("yaml")
    if len(text) > _LONGEST:
        raise YamlError(f"{name}: this is larger than {_LONGEST >> 20} MiB, and is not read")
    try:
        root, ended = _tree(name, text, pyyaml.parse(text, Loader=pyyaml.SafeLoader))
        meaning = pyyaml.safe_load(text)
        unshared(meaning)
    except pyyaml.YAMLError as error:
        raise YamlError(_located(name, error)) from None
    except (RecursionError, ValueError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise YamlError(f"{name}: this cannot be read: {said}") from None
    except (LookupError, AttributeError, TypeError) as error:
        # What PyYAML's own constructors raise for a tag whose value is none of its kind.
        raise YamlError(f"{_tagged(name, text)}: this has a value that is not of the kind that its tag says ({error})") from None
    return Document(name, text, root, meaning, ended)


def _tagged(name: str, text: str) -> str:
    """Return the place of the first value with a tag of its own that cannot be read alone."""
    pyyaml = require("yaml")
    for token in pyyaml.parse(text, Loader=pyyaml.SafeLoader):
        if isinstance(token, pyyaml.ScalarEvent) and token.tag is not None:
            try:
                pyyaml.safe_load(f"!<{token.tag}> {json.dumps(token.value)}")
            except Exception:  # noqa: BLE001 - whatever it is, it is here
                return f"{name}:{token.start_mark.line + 1}:{token.start_mark.column + 1}"
    return name


def _located(name: str, error: Any) -> str:  # noqa: ANN401
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark is not None else name
    return f"{where}: this is no YAML: {said}"


def _tree(name: str, text: str, events: Iterable[Any]) -> tuple[Node | None, int | None]:
    open_nodes: list[Node] = []
    root: Node | None = None
    ended: int | None = None
    documents = 0
    for event in events:
        kind = type(event).__name__
        documents += kind == "DocumentStartEvent"
        if documents > 1:
            raise YamlError(f"{name}: this holds several documents; a valohai.yaml is one")
        if kind == "DocumentEndEvent" and event.explicit:
            ended = event.start_mark.index
        if kind in ("SequenceEndEvent", "MappingEndEvent"):
            node = open_nodes.pop()
            node.end = event.end_mark.index if node.flow else node.items[-1].end
        elif kind in ("ScalarEvent", "AliasEvent", "SequenceStartEvent", "MappingStartEvent"):
            node = _node(kind, event, text)
            if open_nodes:
                open_nodes[-1].items.append(node)
            root = root or node
            if kind.endswith("StartEvent"):
                open_nodes.append(node)
        if len(open_nodes) > _DEEPEST:
            raise YamlError(f"{name}:{event.start_mark.line + 1}: this is nested too deeply")
    return (None if root is not None and root.kind == "scalar" and root.start == root.end else root), ended


def _node(kind: str, event: Any, text: str) -> Node:  # noqa: ANN401
    mark = event.start_mark
    if kind == "ScalarEvent":
        end = event.end_mark.index
        if event.style in ("|", ">") and "+" not in text[mark.index : end].partition("\n")[0]:
            end = mark.index + len(text[mark.index : end].rstrip())
        return Node("scalar", mark.index, end, mark.line + 1, mark.column, text=event.value, style=event.style or "")
    if kind == "AliasEvent":
        return Node("alias", mark.index, event.end_mark.index, mark.line + 1, mark.column, text=event.anchor)
    named = "sequence" if kind == "SequenceStartEvent" else "mapping"
    return Node(named, mark.index, mark.index, mark.line + 1, mark.column, flow=bool(event.flow_style))  # type: ignore[arg-type]


def unshared(meaning: Any, *, _count: list[int] | None = None, _depth: int = 0) -> Any:  # noqa: ANN401
    """Return a copy in which nothing is shared, so that a change in one place is one in no other.

    Raises:
        ValueError: aliases of aliases make it too large, or endless.
    """
    count = _count if _count is not None else [0]
    count[0] += 1
    if count[0] > _MOST_VALUES or _depth > _DEEPEST:
        raise ValueError("its aliases make it too large")
    if isinstance(meaning, dict):
        return {key: unshared(value, _count=count, _depth=_depth + 1) for key, value in meaning.items()}
    if isinstance(meaning, list):
        return [unshared(value, _count=count, _depth=_depth + 1) for value in meaning]
    return meaning
