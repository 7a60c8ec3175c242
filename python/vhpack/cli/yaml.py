"""`vhpack yaml`: the step of a script as `valohai.yaml` has it, and what is wrong there."""

from __future__ import annotations

import dataclasses
import difflib
import os
from typing import TYPE_CHECKING, Any

import click

from vhpack.cli import screen
from vhpack.cli.sections import Command, under
from vhpack.errors import PackError, YamlError
from vhpack.yaml import files as places
from vhpack.yaml import linting, reading, steps
from vhpack.yaml.document import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vhpack.yaml.places import Problem
    from vhpack.yaml.reading import Prepared, Reading

_GROUP_EXAMPLES = """\b
Examples:
  vhpack yaml step train.py            the step of train.py, into valohai.yaml
  vhpack yaml step train.py --diff     what would change, nothing written
  vhpack yaml step train.py --check    in CI: exit 1 if code and file differ
  vhpack yaml lint                     what the platform would say of the file
"""
_STEP_EXAMPLES = """\b
Examples:
  vhpack yaml step train.py
  vhpack yaml step notebooks/explore.ipynb --diff
  vhpack yaml step prepare.py train.py --check
  vhpack yaml step all.py --step train --yaml conf/valohai.yaml
"""
_LINT_EXAMPLES = """\b
Examples:
  vhpack yaml lint
  vhpack yaml lint conf/valohai.yaml --json
"""


@click.group("yaml", epilog=_GROUP_EXAMPLES, short_help="Keep valohai.yaml in step with the code.")
def yaml_group() -> None:
    """Write steps into valohai.yaml from the code that defines them, and check the file."""


yaml = yaml_group  # under which the program looks for it

_yaml_file = under("Files")
_output = under("Output")


@dataclasses.dataclass
class _Wanted:
    """The command line of `step`, as click read it."""

    files: tuple[str, ...]
    yaml: str | None
    step: str | None
    check: bool
    diff: bool
    json: bool
    quiet: bool


@dataclasses.dataclass
class _Outcome:
    """What became of it."""

    path: str
    old: str | None = None
    new: str = ""
    names: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    """Steps, and the files that they are in."""
    problems: list[Problem] = dataclasses.field(default_factory=list)
    notes: list[Problem] = dataclasses.field(default_factory=list)
    written: bool = False

    @property
    def changes(self) -> bool:
        """Whether the file differs from what code says."""
        return self.old != self.new

    def diff(self) -> str:
        """Return the change as a unified diff."""
        old, new = (self.old or "").splitlines(keepends=True), self.new.splitlines(keepends=True)
        lines = difflib.unified_diff(old, new, self.path if self.old is not None else "/dev/null", self.path)
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


@yaml_group.command("step", cls=Command, epilog=_STEP_EXAMPLES, short_help="Write the steps of scripts and notebooks.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(exists=True, dir_okay=False))
@_yaml_file("--yaml", metavar="FILE", help="The file to write. [default: valohai.yaml here or above]")
@_yaml_file("--step", metavar="NAME", help="Only the step of this name.")
@_output("--check", is_flag=True, help="Write nothing; exit 1 if the file would change.")
@_output("--diff", is_flag=True, help="Write nothing; print what would change.")
@_output("--json", is_flag=True, help="Print what was done as one JSON object on stdout.")
@_output("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def step(**arguments: Any) -> int:  # noqa: ANN401
    """Write the step that each FILE defines by prepare() into valohai.yaml.

    FILE, a script or a notebook, is read and never run. What it defines is brought up to date; all that a person wrote
    beside it stays, to the byte. What cannot be known without running FILE is an error with its place.
    """
    wanted = _Wanted(**arguments)
    outcome = _Outcome(wanted.yaml or places.found_from("."))
    try:
        status = _step(wanted, outcome)
    except PackError as error:
        screen.fail(str(error))
        if wanted.json:
            screen.put_json({"error": {"kind": error.kind, "message": str(error)}, **_fields(wanted, outcome)})
        return 1
    if wanted.json:
        screen.put_json(_fields(wanted, outcome))
    return status


def _fields(wanted: _Wanted, outcome: _Outcome) -> dict[str, object]:
    return {
        "yaml": outcome.path,
        "changes": bool(outcome.new) and outcome.changes,
        "written": outcome.written,
        "steps": [{"name": name, "file": file} for name, file in outcome.names],
        "problems": [problem.fields() for problem in outcome.problems],
        "notes": [note.fields() for note in outcome.notes],
        **({"diff": outcome.diff() if outcome.new else ""} if wanted.diff else {}),
    }


def _step(wanted: _Wanted, outcome: _Outcome) -> int:
    root = places.root_of(outcome.path)
    for path in (outcome.path, *wanted.files):
        places.refuse_special(path)
    read = [_read(path) for path in wanted.files]
    outcome.notes = [note for found in read for note in found.notes]
    outcome.problems = [problem for found in read for problem in found.problems]
    chosen = [] if outcome.problems else _chosen(wanted, read, outcome)
    if outcome.problems:
        for problem in outcome.problems:
            screen.say(_visible(problem.text()))
        screen.fail(f"{screen.counted(len(outcome.problems), 'problem')}; nothing was written")
        return 1
    _update(outcome, [steps.Wanted(found.step, found.given, places.relative(path, root)) for path, found in chosen])
    outcome.names = [(found.step.name, path) for path, found in chosen]
    if not wanted.quiet:
        for note in outcome.notes:
            screen.say(_visible(note.text()))
    return _finish(wanted, outcome, root)


def _read(path: str) -> Reading:
    try:
        return reading.read(path)
    except OSError as error:
        raise YamlError(f"cannot read {path}: {error.strerror}") from None


def _chosen(wanted: _Wanted, read: Sequence[Reading], outcome: _Outcome) -> list[tuple[str, Prepared]]:
    """Return the steps to write; several where one is expected are a problem."""
    chosen: dict[str, tuple[str, Prepared]] = {}
    for found in read:
        mine = [prepared for prepared in found.prepared if wanted.step in (None, prepared.step.name)]
        for prepared in mine:
            path, first = chosen.setdefault(prepared.step.name, (found.path, prepared))
            same = (first.step, first.given) == (prepared.step, prepared.given)
            # Files that share a step all describe it; the first of them is the one that it runs unless told otherwise.
            if first is prepared or (same and (path == found.path or prepared.step.multifile)):
                continue
            message = f"the step {prepared.step.name!r} is prepared differently in {first.here.file}:{first.here.place}"
            outcome.problems.append(dataclasses.replace(prepared.here, message=message))
        names = sorted({prepared.step.name for prepared in mine})
        if len(names) > 1:
            message = f"this file prepares {len(names)} steps; say which: --step {' or --step '.join(map(repr, names))}"
            outcome.problems.append(dataclasses.replace(mine[-1].here, message=message))
    if not chosen:
        names = sorted({repr(prepared.step.name) for found in read for prepared in found.prepared})
        raise YamlError(f"no file prepares the step {wanted.step!r}; there is {', '.join(names)}")
    return list(chosen.values())


def _update(outcome: _Outcome, wanted: Sequence[steps.Wanted]) -> None:
    outcome.old = places.text_of(outcome.path)
    text = outcome.old or ""
    for one in wanted:
        document = parse(outcome.path, text)
        outcome.notes += steps.kept(document, one)
        text = steps.updated(document, one)
    errors = [finding for finding in linting.lint(outcome.path, text) if finding.severity == "error"]
    if errors:
        outcome.problems = [finding.problem for finding in errors]
        for finding in errors:
            screen.say(_visible(finding.text()))
        raise YamlError(f"{outcome.path}: the platform would refuse it with the step in it (lines above); nothing was written")
    outcome.new = text


def _finish(wanted: _Wanted, outcome: _Outcome, root: str) -> int:
    named = ", ".join(repr(name) for name, _ in outcome.names)
    if wanted.diff and outcome.changes and not wanted.json:
        screen.put(outcome.diff().removesuffix("\n"))
    if not outcome.changes:
        said = f"already up to date with {named}"
    elif wanted.check or wanted.diff:
        said = f"would change for {named}; nothing was written"
    else:
        places.replace(outcome.path, outcome.old, outcome.new)
        outcome.written = True
        said = f"{'made' if outcome.old is None else 'updated'} with {named}"
    if not wanted.quiet:
        screen.say(f"{screen.visible(outcome.path)}: {said}")
        if outcome.written and not os.path.exists(os.path.join(root, "requirements.txt")):
            screen.say(f"Note: there is no requirements.txt in {screen.visible(root)}, which the step installs from")
    return 1 if wanted.check and outcome.changes else 0


@yaml_group.command("lint", cls=Command, epilog=_LINT_EXAMPLES, short_help="Say what is wrong with valohai.yaml.")
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(exists=True, dir_okay=False))
@_output("--json", is_flag=True, help="Print the findings as one JSON object on stdout.")
@_output("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def lint(files: tuple[str, ...], json: bool, quiet: bool) -> int:
    """Check a valohai.yaml with the platform's own schema and rules, and say the lines.

    Works without a network. Exits with 1 if there are errors; warnings alone are no failure.
    """
    findings: list[linting.Finding] = []
    try:
        for path in files or (places.found_from("."),):
            text = places.text_of(path)
            if text is None:
                raise YamlError(f"{path}: there is no such file here; name one, or make it with: vhpack yaml step")
            findings += linting.lint(path, text)
    except PackError as error:
        screen.fail(str(error))
        if json:
            screen.put_json({"error": {"kind": error.kind, "message": str(error)}})
        return 1
    errors = sum(finding.severity == "error" for finding in findings)
    if json:
        screen.put_json({"errors": errors, "findings": [finding.fields() for finding in findings]})
    for finding in findings:
        if finding.severity == "error" or not quiet:
            screen.say(_visible(finding.text()))
    if not quiet:
        warnings = screen.counted(len(findings) - errors, "warning")
        screen.say(f"{screen.counted(errors, 'error')}, {warnings}" if findings else "no errors, no warnings")
    return 1 if errors else 0


def _visible(text: str) -> str:
    """Return several lines as a terminal shows them; a tab keeps its width, which the caret counts on."""
    return "\n".join("\t".join(map(screen.visible, line.split("\t"))) for line in text.split("\n"))
