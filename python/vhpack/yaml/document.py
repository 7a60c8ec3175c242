"""A YAML file as a person wrote it: what stands where, and changes of single keys that leave every other byte alone.

The text itself is edited, at the places that the parser names. To write the whole file anew from its values, comments
and all, would keep less: quoting of nulls, spaces in brackets, line ends and wrapped texts change on that way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from vhpack.errors import YamlError
from vhpack.yaml import scalars
from vhpack.yaml.extra import require

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
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

    def pairs(self) -> list[tuple[Node, Node]]:
        """Return a mapping's keys and values."""
        return list(zip(self.items[::2], self.items[1::2], strict=True))

    def value(self, key: str) -> Node | None:
        """Return what stands under a key of a mapping; None if it is not written here."""
        return next((value for name, value in self.pairs() if name.kind == "scalar" and name.text == key), None)


@dataclass
class Document:
    """The text, what stands where in it, and what it means."""

    name: str
    text: str
    root: Node | None
    """None: nothing but comments."""
    meaning: Any

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
        root = _tree(name, text, pyyaml.parse(text, Loader=pyyaml.SafeLoader))
        meaning = pyyaml.safe_load(text)
        unshared(meaning)
    except pyyaml.YAMLError as error:
        raise YamlError(_located(name, error)) from None
    except (RecursionError, ValueError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise YamlError(f"{name}: this cannot be read: {said}") from None
    return Document(name, text, root, meaning)


def _located(name: str, error: Any) -> str:  # noqa: ANN401
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark is not None else name
    return f"{where}: this is no YAML: {said}"


def _tree(name: str, text: str, events: Iterable[Any]) -> Node | None:
    open_nodes: list[Node] = []
    root: Node | None = None
    documents = 0
    for event in events:
        kind = type(event).__name__
        documents += kind == "DocumentStartEvent"
        if documents > 1:
            raise YamlError(f"{name}: this holds several documents; a valohai.yaml is one")
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
    return None if root is not None and root.kind == "scalar" and root.start == root.end else root


def _node(kind: str, event: Any, text: str) -> Node:  # noqa: ANN401
    mark = event.start_mark
    if kind == "ScalarEvent":
        end = event.end_mark.index
        if event.style in ("|", ">") and "+" not in text[mark.index : end].partition("\n")[0]:
            end = mark.index + len(text[mark.index : end].rstrip())
        return Node("scalar", mark.index, end, mark.line + 1, mark.column, text=event.value)
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


class Edits:
    """Changes of a document's text, each in its place; the text is made at the end."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._text = document.text
        self._changes: list[tuple[int, int, str]] = []

    def result(self) -> str:
        """Return the changed text."""
        text = self._text
        for start, end, new in sorted(self._changes, key=lambda change: change[:2], reverse=True):
            text = text[:start] + new + text[end:]
        return text

    def _put(self, start: int, end: int, new: str) -> None:
        self._changes.append((start, end, new.replace("\n", self._document.newline)))

    # Mappings

    def set(self, mapping: Node, key: str, value: object, *, offset: int = 0) -> None:
        """Set a key, which may be there or not."""
        old = mapping.value(key)
        if old is not None:
            self._replace(old, scalars.flow(value) if mapping.flow else scalars.inline(value))
        elif mapping.flow:
            comma = ", " if mapping.items else ""
            at = mapping.items[-1].end if mapping.items else mapping.start + 1
            self._put(at, at, f"{comma}{scalars.scalar(key)}: {scalars.flow(value)}")
        else:
            self._insert(mapping.items[-1].end, scalars.entry(key, value, mapping.column, offset=offset))

    def _replace(self, old: Node, text: str) -> None:
        if old.start == old.end:
            text = f" {text}"
        start = old.start
        if old.kind in ("sequence", "mapping") and not old.flow:
            # What stood on lines of its own goes behind its key.
            start = len(self._text[: old.start].rstrip())
            text = f" {text}"
        self._put(start, old.end, text)

    def remove(self, mapping: Node, key: str) -> None:
        """Remove a key and what stands under it."""
        pairs = mapping.pairs()
        at = next(number for number, (name, _) in enumerate(pairs) if name.text == key)
        name, value = pairs[at]
        if mapping.flow or (at == 0 and len(pairs) > 1):
            self._cut([(one.start, other.end) for one, other in pairs], at)
        else:
            self._put(self._line_start(name.start), self._line_end(value.end), "")

    def _cut(self, spans: Sequence[tuple[int, int]], at: int) -> None:
        """Cut one of several that stand behind each other, with what parts it from its neighbour."""
        if at + 1 < len(spans):
            self._put(spans[at][0], spans[at + 1][0], "")
        else:
            self._put(spans[at - 1][1] if at else spans[at][0], spans[at][1], "")

    # Sequences

    def append(self, sequence: Node, value: object, *, offset: int = 0) -> None:
        """Add an item at the end."""
        if not sequence.flow:
            self._insert(sequence.items[-1].end, scalars.element(value, sequence.column, offset=offset))
            return
        comma = ", " if sequence.items else ""
        at = sequence.items[-1].end if sequence.items else sequence.start + 1
        self._put(at, at, f"{comma}{scalars.flow(value)}")

    def rewrite(self, sequence: Node, values: Sequence[object], *, offset: int = 0) -> None:
        """Put other items in the place of all."""
        if sequence.flow:
            self._put(sequence.start, sequence.end, scalars.flow(values))
            return
        lines = [line for value in values for line in scalars.element(value, sequence.column, offset=offset)]
        self._put(self._line_start(sequence.start), sequence.end, "\n".join(lines))

    def drop(self, sequence: Node, at: int) -> None:
        """Remove an item; comments above it stay."""
        if sequence.flow:
            self._cut([(item.start, item.end) for item in sequence.items], at)
            return
        begin = self._dash(sequence, at)
        self._put(self._line_start(begin), self._line_end(sequence.items[at].end), "")

    def _dash(self, sequence: Node, at: int) -> int:
        """Return where an item's dash is."""
        if at == 0:
            return sequence.start
        start, end = sequence.items[at - 1].end, sequence.items[at].start
        dashes = list(re.finditer(rf"(?m)^ {{{sequence.column}}}(?=-)", self._text[start:end]))
        if not dashes:
            raise YamlError(
                f"{self._document.name}:{sequence.items[at].line}: this item cannot be found; put it on a line of its own"
            )
        return start + dashes[-1].end()

    # Lines

    def insert_at_end(self, lines: Iterable[str], *, parted: bool) -> None:
        """Add lines at the end of the file."""
        end = len(self._text)
        before = "" if not self._text or self._text.endswith(("\n", "\r")) else "\n"
        blank = "\n" if parted and self._text.strip() and not self._text.endswith(("\n\n", "\n\r\n")) else ""
        self._put(end, end, before + blank + "\n".join(lines) + "\n")

    def put(self, start: int, end: int, new: str) -> None:
        """Replace a stretch of the text."""
        self._put(start, end, new)

    def _insert(self, after: int, lines: Iterable[str]) -> None:
        end = self._line_end(after)
        text = "\n".join(lines) + "\n"
        if end and not self._text[:end].endswith(("\n", "\r")):
            text = "\n" + text.removesuffix("\n")
        self._put(end, end, text)

    def _line_start(self, at: int) -> int:
        return max(self._text.rfind("\n", 0, at), self._text.rfind("\r", 0, at)) + 1

    def _line_end(self, at: int) -> int:
        """Return where the next line begins; what is cut off before may end in a line's end itself."""
        if at and self._text[at - 1] == "\n":
            return at
        found = re.compile(r"\r\n|\r|\n").search(self._text, at)
        return found.end() if found else len(self._text)
