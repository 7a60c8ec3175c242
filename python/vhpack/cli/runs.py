"""`vhpack runs`: runs, the data that they were given, and what they made."""

from __future__ import annotations

import dataclasses
import json as coding
import os
from typing import TYPE_CHECKING

import click

from vhpack import datums, env, paths, recording, registrar
from vhpack import runs as of_process
from vhpack.cli import screen, tables
from vhpack.cli.endings import ended
from vhpack.cli.sections import Command, under
from vhpack.errors import NotRegisteredError, RegistrationError

if TYPE_CHECKING:
    from vhpack.registry.opening import Registry
    from vhpack.registry.records import Pin, RunRecord

_EXAMPLES = """\b
Examples:
  vhpack runs list
  vhpack runs show 20261120-120309-59d23c
  vhpack run --copy 20261120-120309-59d23c train.py
"""

_what = under("What")
_output = under("Output")


@click.group("runs", epilog=_EXAMPLES, short_help="See what runs were given and made.")
def runs() -> None:
    """List runs, and show the data that a run was given and the files that it made."""


@runs.command("list", cls=Command, short_help="List all runs.")
@_output("--json", is_flag=True, help="Print one JSON object on stdout.")
def list_runs(*, json: bool) -> int:
    """List the runs, the oldest first."""

    def work() -> int:
        registry = registrar.existing()
        found: list[RunRecord] = []
        if registry is not None:
            from vhpack.registry import runs as rows

            with registry.reading() as connection:
                found = rows.listed(connection, registry.project(connection))
        if json:
            screen.put_json({"runs": [_fields(run) for run in found]})
        else:
            columns = ("Run", "Step", "Status", "Outputs", "Began", "Ended")
            tables.put(columns, [_row(run) for run in found])
        return 0

    return ended(work, json=json)


@runs.command("show", cls=Command, short_help="Show one run.")
@click.argument("run")
@_output("--json", is_flag=True, help="Print one JSON object on stdout.")
def show_run(run: str, *, json: bool) -> int:
    """Show RUN, or the only run whose name begins so: its inputs, as they were settled, and its outputs."""

    def work() -> int:
        registry = registrar.known()
        found = _get(registry, run)
        made = datums.find(run=found.hash)
        if json:
            from vhpack.registry.transfer import datum_fields

            inputs = [_pin_fields(pin) for pin in found.inputs]
            screen.put_json({**_fields(found), "inputs": inputs, "outputs": [datum_fields(datum) for datum in made]})
            return 0
        fields = [("run", found.hash), ("step", found.step), ("status", found.status)]
        fields += [("began", tables.when(found.created)), ("ended", tables.when(found.finished))]
        fields += [("copy of", found.copied_from)] if found.copied_from else []
        fields += [("parameters", coding.dumps(dict(found.parameters)))]
        fields += [(f"input {pin.input}", f"{pin.requested} = {pin.datum.uri} ({pin.name})") for pin in found.inputs]
        fields += [("output", f"{datum.name} = {datum.uri}") for datum in made]
        tables.put_fields(fields)
        return 0

    return ended(work, json=json)


@runs.command("register", cls=Command, short_help="Register the outputs of a run that has ended.")
@click.argument("run")
@_what("--failed", is_flag=True, help="It has failed: register its files, and move no alias.")
@_what("--succeeded", is_flag=True, help="It has succeeded, even if another end of it was noted.")
@_output("--json", is_flag=True, help="Print one JSON object on stdout.")
def register_run(run: str, *, failed: bool, succeeded: bool, json: bool) -> int:
    """Register the outputs of RUN, as its own end would have: after a kill, or once what stood in the way is mended.

    Without --failed, it counts as a success: its aliases move. Of a run that is known to have failed, that has to be said
    (--succeeded). Run again, it does nothing twice.
    """
    if failed and succeeded:
        raise click.UsageError("--failed and --succeeded are two ends of one run")

    def work() -> int:
        known, noted = _known(run)
        if noted == "failed" and not (failed or succeeded):
            raise RegistrationError(
                f"run {known.hash} has failed, as was noted at its end; --failed registers its files, --succeeded moves its"
                " aliases, too"
            )
        outcome = recording.register(known, "failed" if failed else "succeeded")
        moved = () if outcome is None else outcome.aliases
        if json:
            aliases = {alias: datum.id for alias, datum in moved}
            screen.put_json({"run": known.hash, "registered": outcome.registered if outcome else 0, "aliases": aliases})
            return 0
        screen.say(f"{screen.counted(outcome.registered if outcome else 0, 'file')} registered")
        for alias, datum in moved:
            screen.say(f"the alias {screen.visible(alias)} is {screen.visible(datum.name)} now ({datum.uri})")
        return 0

    return ended(work, json=json)


def _known(run: str) -> tuple[of_process.Run, str]:
    """Return a run of this folder as its own process knew it, and the status that is noted of it."""
    if not recording.is_own_folder():
        message = f"{paths.get_outputs_path()} is the folder of several runs, so that nothing tells which files are of {run!r}"
        raise RegistrationError(f"{message}; `vhpack data add` registers single files")
    found = dataclasses.replace(of_process.current(), hash=run)
    registry = registrar.existing()
    if registry is not None:
        try:
            record = _get(registry, run)
        except NotRegisteredError:
            pass
        else:
            of_then = {"hash": record.hash, "step": record.step, "parameters": record.parameters}
            return dataclasses.replace(found, **of_then), record.status  # type: ignore[arg-type]
    root = paths.outputs_root(env.read(), found)
    if "/" in run or run in (".", "..") or not os.path.isdir(root):
        raise NotRegisteredError(f"{run!r} is no run here: there is no {root}")
    return found, ""


def _get(registry: Registry, run: str) -> RunRecord:
    from vhpack.registry import runs as rows

    with registry.reading() as connection:
        project = registry.project(connection)
        return rows.get(connection, project, rows.found(connection, project, run, registry.shown))


def _row(run: RunRecord) -> tuple[str, ...]:
    return (run.hash, run.step or "-", run.status, str(run.outputs), tables.when(run.created), tables.when(run.finished))


def _fields(run: RunRecord) -> dict[str, object]:
    return {
        "run": run.hash,
        "step": run.step,
        "status": run.status,
        "created": run.created.isoformat(),
        "finished": run.finished and run.finished.isoformat(),
        "copied_from": run.copied_from,
        "parameters": dict(run.parameters),
        "output_count": run.outputs,
    }


def _pin_fields(pin: Pin) -> dict[str, object]:
    return {
        "input": pin.input,
        "requested": pin.requested,
        "datum": pin.datum.id,
        "name": pin.name,
        "sha256": pin.datum.sha256,
        "size": pin.datum.size,
        "origin": pin.origin,
    }
