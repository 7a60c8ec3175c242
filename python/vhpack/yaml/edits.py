"""Changes of single keys and items of a YAML file that leave every other byte alone.

The text itself is edited, at the places that the parser names. To write the whole file anew from its values, comments
and all, would keep less: quoting of nulls, spaces in brackets, line ends and wrapped texts change on that way. A comment on a
line of its own stays, even where the key below or above it goes; only an item that is removed takes along the comments in it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from vhpack.errors import YamlError
from vhpack.yaml import scalars

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import TypeAlias

    from vhpack.yaml.document import Document, Node

    _Places: TypeAlias = set[int]

_LINE_END = re.compile(r"\r\n|\r|\n")
_COLON = re.compile(r"\s*:")
_OWN_LINE = re.compile(r"[\r\n][ \t]*(?P<comment>#)")


class _Change(NamedTuple):
    start: int
    end: int
    within: int
    """Minus where the changed list or mapping begins: of two that end in one place, the inner one is written first."""
    number: int
    new: str


class Edits:
    """Changes of a document's text, each in its place; the text is made at the end."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._text = document.text
        self._changes: list[_Change] = []
        self._removed: dict[int, tuple[list[tuple[int, int]], _Places]] = {}
        """Of collections in brackets: where their items are, and which of them go."""
        self._first: dict[int, tuple[Node, _Places]] = {}
        """Of blocks whose first key, behind a dash, goes: which keys go."""
        self._others: dict[int, tuple[Node, _Places]] = {}
        """Of other blocks: which keys go."""
        self._scalars = sorted(_scalars(document.root))

    def result(self) -> str:
        """Return the changed text.

        Raises:
            YamlError: two changes meet in one place.
        """
        self._remove_keys()
        for spans, gone in self._removed.values():
            self._cut(spans, gone)
        pieces: list[str] = []
        at = 0
        for change in sorted(self._changes):
            if change.start < at:
                line = self._text.count("\n", 0, change.start) + 1
                message = "two changes meet here; write the step out, each of its items and keys on a line of its own"
                raise YamlError(f"{self._document.name}:{line}: {message}")
            pieces += [self._text[at : change.start], change.new]
            at = change.end
        return "".join([*pieces, self._text[at:]])

    def put(self, start: int, end: int, new: str, *, within: Node | None = None) -> None:
        """Replace a stretch of the text."""
        new = new.replace("\r\n", "\n").replace("\n", self._document.newline)
        self._changes.append(_Change(start, end, -within.start if within else 0, len(self._changes), new))

    # Mappings

    def set(self, mapping: Node, key: str, value: object, *, held: object = None, offset: int = 0) -> None:
        """Set a key, which may be there or not.

        Args:
            mapping: Where.
            key: Which.
            value: To what.
            held: What it means now, so that elements of a list that stay are left as they are written.
            offset: How much further to the right than their key items of lists are written.
        """
        at = mapping.place(key)
        if at is not None:
            self._replace(mapping, at, value, held, offset)
        elif mapping.flow:
            self._add_in_brackets(mapping, f"{scalars.scalar(key, inside=True)}: {scalars.flow(value)}")
        else:
            self._insert(mapping.items[-1].end, scalars.entry(key, value, mapping.column, offset=offset), mapping)

    def remove(self, mapping: Node, key: str) -> None:
        """Remove a key and what stands under it."""
        pairs = mapping.pairs()
        at = mapping.place(key)
        if at is None:
            raise YamlError(f"{self._document.name}:{mapping.line}: {key!r} is not written here; write the step out")
        name = pairs[at][0]
        if mapping.flow:
            self._go([(one.start, other.end) for one, other in pairs], at)
        elif self._text[self._line_start(name.start) : name.start].strip():
            self._first.setdefault(mapping.start, (mapping, set()))[1].add(at)
        else:
            self._others.setdefault(mapping.start, (mapping, set()))[1].add(at)

    def _remove_keys(self) -> None:
        """Remove keys of blocks; behind a dash, the first that stays takes the place of those that go."""
        for start, (mapping, gone) in self._others.items():
            if start in self._first:
                self._first[start][1].update(gone)
                continue
            self._remove_lines(mapping, gone)
        for mapping, gone in self._first.values():
            pairs = mapping.pairs()
            stays = next((at for at in range(len(pairs)) if at not in gone), None)
            if stays is None:
                raise YamlError(f"{self._document.name}:{mapping.line}: nothing of this item would be left; write it out")
            begin, following = self._line_start(mapping.start), pairs[stays][0].start
            # Comments between the two stand above then.
            above = self._comments(self._line_end(pairs[0][0].end), self._line_start(following))
            self.put(begin, begin, above, within=mapping)
            self.put(pairs[0][0].start, following, "")
            self._remove_lines(mapping, {at for at in gone if at > stays})

    def _remove_lines(self, mapping: Node, gone: _Places) -> None:
        for at in gone:
            name, value = mapping.pairs()[at]
            self._take_out(self._line_start(name.start), self._line_end(value.end))

    def _replace(self, mapping: Node, at: int, value: object, held: object, offset: int) -> None:
        name, old = mapping.pairs()[at]
        plain = isinstance(value, list | tuple) and not any(isinstance(item, dict) for item in value)
        if old.kind == "sequence" and old.items and plain and value and isinstance(held, list) and len(held) == len(old.items):
            self._elements(old, held, list(value), offset)  # type: ignore[call-overload]
        elif mapping.flow or (old.flow and old.items and not _is_block(value)):
            self.put(old.start, old.end, (" " if old.start == old.end else "") + scalars.flow(value))
        elif _is_block(value):
            self._clear(name, old)
            lines = [line for item in value for line in scalars.element(item, mapping.column + offset, offset=offset)]  # type: ignore[attr-defined]
            self._insert(old.end if old.kind == "scalar" or old.flow else name.end, lines, old)
        elif old.kind == "scalar":
            kept = self._header_comment(old)
            self.put(old.start, old.end, (" " if old.start == old.end else "") + scalars.inline(value) + kept)
        else:
            self._clear(name, old)
            self.put(self._behind_colon(name), self._behind_colon(name), f" {scalars.inline(value)}", within=mapping)

    def _clear(self, name: Node, old: Node) -> None:
        """Take out what stands behind a key; what else is on its line stays."""
        if old.kind in ("sequence", "mapping") and not old.flow:
            here = self._line_end(self._behind_colon(name))
            if old.start < here:  # an anchor
                self.put(old.start, old.start + len(self._text[old.start : here].split()[0]), "")
            self._take_out(here, self._line_end(old.end))
        elif old.end > old.start:
            self.put(self._behind_colon(name), old.end, "")

    def _behind_colon(self, name: Node) -> int:
        found = _COLON.match(self._text, name.end)
        if found is None:
            raise YamlError(
                f"{self._document.name}:{name.line}: the value of {name.text!r} cannot be found; write it behind its key"
            )
        return found.end()

    def _header_comment(self, old: Node) -> str:
        """Return the comment behind the `|` of a block of lines."""
        first = _LINE_END.split(self._text[old.start : old.end], maxsplit=1)[0]
        found = re.search(r"\s+#.*", first) if old.style in ("|", ">") else None
        return found[0] if found else ""

    # Sequences

    def append(self, sequence: Node, value: object, *, offset: int = 0) -> None:
        """Add an item at the end."""
        if sequence.flow:
            self._add_in_brackets(sequence, scalars.flow(value))
        else:
            column = self._dash(sequence, 0) - self._line_start(self._dash(sequence, 0))
            self._insert(sequence.items[-1].end, scalars.element(value, column, offset=offset), sequence)

    def rewrite(self, sequence: Node, values: Sequence[object], *, offset: int = 0) -> None:
        """Put other items in the place of all."""
        if sequence.flow:
            self.put(sequence.start, sequence.end, scalars.flow(values))
            return
        for at in range(len(sequence.items)):
            self.drop(sequence, at)
        for value in values:
            self.append(sequence, value, offset=offset)

    def drop(self, sequence: Node, at: int) -> None:
        """Remove an item with the comments in it; those above it stay."""
        if sequence.flow:
            self._go([(item.start, item.end) for item in sequence.items], at)
        else:
            self.put(self._line_start(self._dash(sequence, at)), self._line_end(sequence.items[at].end), "")

    def _elements(self, sequence: Node, held: Sequence[object], values: Sequence[object], offset: int) -> None:
        """Make a list of scalars another one: what stays is left as it is written."""
        for at, item in enumerate(sequence.items):
            if at >= len(values):
                self.drop(sequence, at)
            elif type(held[at]) is not type(values[at]) or held[at] != values[at]:
                text = scalars.flow(values[at]) if sequence.flow else scalars.inline(values[at])
                self.put(item.start, item.end, (" " if item.start == item.end else "") + text + self._header_comment(item))
        for value in values[len(sequence.items) :]:
            self.append(sequence, value, offset=offset)

    def _dash(self, sequence: Node, at: int) -> int:
        """Return where an item's dash is."""
        if at == 0 and self._text.startswith("-", sequence.start) and sequence.items[0].start > sequence.start:
            return sequence.start
        start, end = sequence.items[at - 1].end if at else sequence.start, sequence.items[at].start
        column = self._dash(sequence, 0) - self._line_start(self._dash(sequence, 0)) if at else None
        pattern = r"(?m)^ *(?=-)" if column is None else rf"(?m)^\ufeff? {{{column}}}(?=-)"
        dashes = list(re.finditer(pattern, self._text[start:end]))
        if not dashes:
            raise YamlError(
                f"{self._document.name}:{sequence.items[at].line}: this item cannot be found; put it on a line of its own"
            )
        return start + dashes[-1].end()

    # Brackets

    def _add_in_brackets(self, node: Node, text: str) -> None:
        at = node.items[-1].end if node.items else node.start + 1
        self.put(at, at, f", {text}" if node.items or self._is_begun(at) else text, within=node)

    def _is_begun(self, at: int) -> bool:
        return any(change.start == change.end == at for change in self._changes)

    def _go(self, spans: list[tuple[int, int]], at: int) -> None:
        self._removed.setdefault(spans[0][0], (spans, set()))[1].add(at)

    def _cut(self, spans: Sequence[tuple[int, int]], gone: _Places) -> None:
        """Cut out some of what stands behind each other, with what parts it from its neighbours."""
        last = len(spans) - 1
        for at in sorted(gone):
            if at - 1 in gone:
                continue
            end = next(number for number in range(at, last + 2) if number not in gone)
            if end <= last:
                # A comment on a line of its own is about what stands below it, which stays.
                above = _OWN_LINE.search(self._text, spans[end - 1][1], spans[end][0])
                self.put(spans[at][0], above.start("comment") if above else spans[end][0], "")
            elif at and "#" not in self._text[spans[at - 1][1] : spans[at][0]]:
                self.put(spans[at - 1][1], spans[last][1], "")
            else:
                self._cut_end(spans[at][0], spans[last][1])

    def _cut_end(self, start: int, end: int) -> None:
        """Cut out what is last and has a comment above it, which the comma before it must stay in front of."""
        added = [number for number, change in enumerate(self._changes) if change.start == change.end == end]
        if added:
            first = self._changes[added[0]]
            self._changes[added[0]] = first._replace(new=first.new.removeprefix(", "))
        comma = None if added else re.compile(r"\s*,").match(self._text, end)
        self.put(start, comma.end() if comma else end, "")

    # Lines

    def insert_at_end(self, lines: Iterable[str], *, parted: bool) -> None:
        """Add lines at the end of the document."""
        end = len(self._text) if self._document.ended is None else self._document.ended
        text = self._text[:end]
        before = "" if not text or text.endswith(("\n", "\r")) else "\n"
        blank = "\n" if parted and text.strip() and not text.endswith(("\n\n", "\n\r\n")) else ""
        self.put(end, end, before + blank + "\n".join(lines) + "\n")

    def _insert(self, after: int, lines: Iterable[str], within: Node) -> None:
        end = self._line_end(after)
        text = "\n".join(lines) + "\n"
        if end and not self._text[:end].endswith(("\n", "\r")):
            text = "\n" + text.removesuffix("\n")
        self.put(end, end, text, within=within)

    def _take_out(self, start: int, end: int) -> None:
        """Remove whole lines, but for comments on lines of their own."""
        self.put(start, end, self._comments(start, end))

    def _comments(self, start: int, end: int) -> str:
        """Return the lines of a stretch that are comments."""
        found: list[str] = []
        at = start
        while at < end:
            ends = _LINE_END.search(self._text, at)
            after = ends.end() if ends else len(self._text)
            if self._text[at:after].lstrip(" \t").startswith("#") and not self._is_scalar(at):
                found.append(self._text[at:after])
            at = after
        return "".join(found)

    def _is_scalar(self, at: int) -> bool:
        """Return whether a line begins within a text of several lines, where `#` begins no comment."""
        from bisect import bisect_right

        index = bisect_right(self._scalars, (at, len(self._text))) - 1
        return index >= 0 and self._scalars[index][0] < at < self._scalars[index][1]

    def _line_start(self, at: int) -> int:
        return max(self._text.rfind("\n", 0, at), self._text.rfind("\r", 0, at)) + 1

    def _line_end(self, at: int) -> int:
        """Return where the next line begins; what is cut off before may end in a line's end itself."""
        if at and self._text[at - 1] == "\n":
            return at
        found = _LINE_END.search(self._text, at)
        return found.end() if found else len(self._text)


def _is_block(value: object) -> bool:
    """Return whether a value is a list of items with keys, which takes lines of its own."""
    return isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value)


def _scalars(root: Node | None) -> Iterator[tuple[int, int]]:
    waiting = [] if root is None else [root]
    while waiting:
        node = waiting.pop()
        waiting += node.items
        if node.kind == "scalar" and node.end > node.start:
            yield node.start, node.end
