"""What is said of models: each checked before anything is kept of it."""

from __future__ import annotations

import json
import operator
import os
from typing import TYPE_CHECKING

from vhpack import destinations, runs, stored
from vhpack.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MOST = 1 << 63  # what a column of the registry does not hold any more


def checked_labels(labels: Mapping[str, int]) -> dict[str, int]:
    """Return labels: names with whole numbers, of which yes and no are none.

    Raises:
        OptionError: they are something else.

    Example:
        >>> from vhpack.designs import checked_labels
        >>> checked_labels({"cat": 0, "dog": 1})
        {'cat': 0, 'dog': 1}
    """
    if not isinstance(labels, dict):
        raise OptionError(f"labels are {labels!r}; they must be a dictionary of names and whole numbers")
    for name, number in labels.items():
        if not isinstance(name, str):
            raise OptionError(f"labels have the name {name!r}; names must be texts")
        if not isinstance(number, int) or isinstance(number, bool):
            raise OptionError(f"the label {name!r} is {number!r}; it must be a whole number")
    return dict(labels)


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags, each once.

    Raises:
        OptionError: they are no texts.
    """
    found: list[object] = [None] if isinstance(tags, str) else list(tags)
    texts = [tag for tag in found if isinstance(tag, str) and tag]
    if len(texts) != len(found):
        raise OptionError(f"tags are {tags!r}; they must be a list of texts")
    return tuple(dict.fromkeys(texts))


def checked_iteration(iteration: object) -> int:
    """Return an iteration; numpy's whole numbers are some, too.

    Raises:
        OptionError: it is no whole number from 0 on.
    """
    try:
        number = -1 if isinstance(iteration, bool) else operator.index(iteration)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if not 0 <= number < _MOST:
        raise OptionError(f"iteration is {iteration!r}; it must be a whole number from 0 on")
    return number


def checked_name(name: object, what: str = "name") -> str:
    """Return a name.

    Raises:
        OptionError: it is no text, or empty.
    """
    if not isinstance(name, str) or not name:
        raise OptionError(f"{what} is {name!r}; it must be text, and not empty")
    return checked_text(name, what)


def checked_text(text: object, what: str) -> str:
    """Return what is said of a model, which a database has to keep.

    Raises:
        OptionError: it is no text, or has characters that are none.
    """
    if not isinstance(text, str):
        raise OptionError(f"{what} is {text!r}; it must be text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise OptionError(f"{what} is {text!r}, which is not UTF-8; write it otherwise") from None
    if "\0" in text:
        raise OptionError(f"{what} is {text!r}; it cannot have a NUL in it")
    return text


def checked_keep(keep: object) -> int:
    """Return how many are to stay.

    Raises:
        OptionError: it is no whole number from 1 on.
    """
    if not isinstance(keep, int) or isinstance(keep, bool) or keep < 1:
        raise OptionError(f"keep is {keep!r}; it must be a whole number from 1 on")
    return keep


def text_of(config_text: str | None, config_dict: Mapping[str, object] | None) -> str | None:
    """Return a configuration as text: as it is given, or a dictionary as JSON; None where none is given.

    Raises:
        OptionError: both are given, or JSON has no words for one.
    """
    if config_text and config_dict:
        raise OptionError("only one of config_text and config_dict may be given")
    if config_dict is not None and not config_text:
        return _json(config_dict)
    return None if config_text is None else checked_text(config_text, "config_text")


def dict_of(config_text: str) -> dict[str, object]:
    """Return what a configuration says, which must be a JSON object; an empty text says nothing.

    Raises:
        OptionError: it is something else.

    Example:
        >>> from vhpack.designs import dict_of
        >>> dict_of('{"layers": [1, 2]}')
        {'layers': [1, 2]}
    """
    if not config_text.strip():
        return {}
    try:
        found = json.loads(config_text)
    except (ValueError, RecursionError) as error:
        raise OptionError(f"the configuration is no JSON ({error}); config_text has it as it is") from None
    if not isinstance(found, dict):
        raise OptionError("the configuration is JSON, but no object; config_text has it as it is")
    return found


def checked_destination(uri: str | os.PathLike[str]) -> str:
    """Return a folder that models are sent to as a URI; a folder of this machine is made if it is not there.

    Raises:
        UnknownSchemeError, BadDestinationError: it means nothing, or cannot be written to.
    """
    text = os.fspath(uri)
    if "://" not in text:
        from pathlib import Path

        text = Path(os.path.normpath(os.path.join(runs.current().base, text))).as_uri()
    destinations.scheme_of(text)
    destinations.below(text, "x")
    stored.check_writable(text, make=True)
    return text


def _json(config: Mapping[str, object]) -> str:
    if not isinstance(config, dict):
        raise OptionError(f"config_dict is {config!r}; it must be a dictionary")
    try:
        _refuse_other_names(config, "config_dict")
        return checked_text(json.dumps(config, indent=2, ensure_ascii=False), "config_dict")
    except OptionError:
        raise
    except (TypeError, ValueError, RecursionError) as error:
        raise OptionError(f"config_dict cannot be kept: {error}") from None


def _refuse_other_names(value: object, where: str) -> None:
    """JSON would make a text of a number that is a key, and another dictionary come back."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise OptionError(f"{where} has the key {name!r}; keys must be texts")
            _refuse_other_names(inner, f"{where}[{name!r}]")
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            _refuse_other_names(inner, f"{where}[{number}]")
