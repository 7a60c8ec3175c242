"""Help that can be read: options under headings, examples as they are typed."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable


class Option(click.Option):
    """An option that stands under a heading."""

    def __init__(self, *args: Any, section: str, **attributes: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **attributes)
        self.section = section

    def get_help_extra(self, ctx: click.Context) -> click.types.OptionHelpExtra:
        """Add nothing to the text: what click would say of ranges and defaults stands there already, in words."""
        del ctx
        return {}


class Command(click.Command):
    """A command that lists its options under their headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one table for each heading, in order of appearance; --help comes last, under the last heading."""
        sections: dict[str, list[tuple[str, str]]] = {}
        heading = "Options"
        for parameter in self.get_params(ctx):
            record = None if isinstance(parameter, click.Argument) else parameter.get_help_record(ctx)
            if record is not None:
                heading = parameter.section if isinstance(parameter, Option) else heading
                sections.setdefault(heading, []).append(record)
        # One width for all tables, so that the texts of all stand under each other.
        width = max(len(names) for records in sections.values() for names, _ in records)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl([(names.ljust(width), text) for names, text in records], col_max=width)


def option(section: str, *names: str, **attributes: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # noqa: ANN401
    """Declare an option under the heading `section`."""
    return click.option(*names, cls=Option, section=section, **attributes)


def under(section: str) -> functools.partial[Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """Declare options under one heading."""
    return functools.partial(option, section)
