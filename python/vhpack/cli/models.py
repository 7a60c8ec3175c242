"""`vhpack model`: models that are registered, their versions, and what becomes of these."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import warnings
from typing import TYPE_CHECKING

import click

from vhpack import archive, models, outbox, output_model, sizes, uploading
from vhpack.cli import screen, tables
from vhpack.cli.endings import ended
from vhpack.cli.sections import Command, under
from vhpack.cloning import clone
from vhpack.errors import ModelError, PackOSError, TargetExistsError, UploadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from vhpack.models import ModelVersion, Overview

_EXAMPLES = """\b
Examples:
  vhpack model list 'resnet*' --published
  vhpack model publish resnet --alias prod
  vhpack model download model://resnet/prod
  vhpack model prune resnet --keep 3
"""

_SUFFIX = re.compile(r"\.(?:zip|tgz|tzst|tar(?:\.gz|\.zst)?)\Z", re.IGNORECASE)
_what = under("What")
_output = under("Output")
_json = _output("--json", is_flag=True, help="Print one JSON object on stdout.")


@click.group("model", epilog=_EXAMPLES, short_help="Look at models, publish, fetch and prune them.")
def model() -> None:
    """Look at models and their versions, publish, fetch and prune them.

    MODEL is an ID or its beginning, a name that no other model has, or model://NAME/ALIAS.
    """


@model.command("list", cls=Command, short_help="List models.")
@click.argument("glob", required=False)
@_what("--tag", metavar="TAG", multiple=True, help="Only those that have it; several may be given.")
@_what("--published/--not-published", default=None, help="Only those that are published, or that are not.")
@_json
def list_models(glob: str | None, *, tag: tuple[str, ...], published: bool | None, json: bool) -> int:
    """List the models, or those whose name matches a quoted GLOB."""

    def work() -> int:
        found = models.listed(glob, tag, published)
        if json:
            screen.put_json({"models": [_fields(each) for each in found]})
        else:
            tables.put(("Model", "ID", "Version", "State", "Made"), [_row(each) for each in found])
        return 0

    return ended(work, json=json)


@model.command("show", cls=Command, short_help="Show what is known of a model.")
@click.argument("model_id", metavar="MODEL")
@_json
def show(model_id: str, *, json: bool) -> int:
    """Show all that is known of MODEL."""

    def work() -> int:
        fields = _fields(models.overview(model_id))
        if json:
            screen.put_json(fields)
        else:
            tables.put_fields([(name, _text(value)) for name, value in fields.items()])
        return 0

    return ended(work, json=json)


@model.command("versions", cls=Command, short_help="List the versions of a model.")
@click.argument("model_id", metavar="MODEL")
@_json
def versions(model_id: str, *, json: bool) -> int:
    """List the versions of MODEL, the last one first."""

    def work() -> int:
        found = models.Model(model_id).versions()[::-1]
        if json:
            screen.put_json({"versions": [_version_fields(each) for each in found]})
        else:
            rows = [
                (str(each.n), _text(each.iteration), each.state, _size(each), tables.when(each.created), each.error or each.url)
                for each in found
            ]
            tables.put(("Version", "Iteration", "State", "Size", "Made", "Where"), rows)
        return 0

    return ended(work, json=json)


@model.command("download", cls=Command, short_help="Fetch the weights of a model.")
@click.argument("model_id", metavar="MODEL")
@_what("--version", type=click.IntRange(min=1), metavar="N", help="This version. [default: the current one]")
@_what("--iteration", type=click.IntRange(min=0), metavar="N", help="The last version of this iteration.")
@_what("--extract", is_flag=True, help="Of a package, write its files.")
@_output("-o", "--output", "output", metavar="PATH", help="Write there. [default: here, by its own name]")
@_output("--force", is_flag=True, help="Replace a file that is there.")
@_json
def download(
    model_id: str, *, version: int | None, iteration: int | None, extract: bool, output: str | None, force: bool, json: bool
) -> int:
    """Fetch the weights of MODEL, and write them only if they are what was stored."""

    def work() -> int:
        found = models.Model(model_id)
        path = found.get_weights(raise_on_error=True, version=version, iteration=iteration)
        assert path is not None  # noqa: S101 - or it would have been raised
        name, left_out = os.path.basename(path), 0
        target = os.path.abspath(output or (_folder_for(name) if extract else name))
        if extract:
            with archive.open(path) as packed:
                report = packed.extract(target, existing="overwrite" if force else "error")
            left_out = len(report.skipped)
        else:
            target = os.path.join(target, name) if os.path.isdir(target) else target
            _place(path, target, force=force)
        if left_out:
            screen.fail(f"{screen.counted(left_out, 'member')} of {screen.visible(name)} could not be extracted")
            screen.say_pairs(f"Left out {left_out:,}", report.skipped)
        if json:
            screen.put_json({"path": target})
        else:
            screen.put_names([target])
        return 1 if left_out else 0

    return ended(work, json=json)


@model.command("publish", cls=Command, short_help="Let a model never change any more.")
@click.argument("model_id", metavar="MODEL")
@_what("--alias", metavar="NAME", help="Let model://MODEL-NAME/NAME mean it from now on, too.")
@_what("--version", type=click.IntRange(min=1), metavar="N", help="What the alias means. [default: the current one]")
@_what("--note", default="", metavar="TEXT", help="Why, for the alias's history.")
@_json
def publish(model_id: str, *, alias: str | None, version: int | None, note: str, json: bool) -> int:
    """Publish MODEL: no version is added to it any more, and name, labels and configuration stay what they are."""
    if alias is None and (version is not None or note):
        raise click.UsageError("--version and --note are about an --alias; give one")

    def work() -> int:
        found = models.Model(model_id)
        uri = None
        if alias is None:
            found.publish()
        else:
            uri = found.publish_as(alias, version=version, note=note)
        if json:
            screen.put_json({**_fields(models.overview(found.id)), "alias": uri})
        else:
            also = "" if uri is None else f", and {screen.visible(uri)} means it now"
            screen.say(f"the model {screen.visible(found.name)} ({found.id}) is published{also}")
        return 0

    return ended(work, json=json)


@model.command("prune", cls=Command, short_help="Remove old versions of a model.")
@click.argument("model_id", metavar="MODEL")
@_what("--keep", type=click.IntRange(min=1), default=5, metavar="N", help="How many stored versions stay. [default: 5]")
@_json
def prune(model_id: str, *, keep: int, json: bool) -> int:
    """Remove the stored versions of MODEL but the last ones, and but what an alias or a run needs."""

    def work() -> int:
        with _remarks() as said:
            gone = models.Model(model_id).prune(keep)
        for remark in said:
            screen.say(screen.visible(remark))
        if json:
            screen.put_json({"pruned": [_version_fields(each) for each in gone], "kept": said})
        else:
            screen.say(f"{screen.counted(len(gone), 'version')} removed")
        return 0

    return ended(work, json=json)


@model.command("resume", cls=Command, short_help="Store the versions that a killed job left.")
@_json
def resume(*, json: bool) -> int:
    """Go on with versions that a job which was killed has left, and with those that failed."""

    def work() -> int:
        begun = output_model.OutputModel.resume_uploads()
        failed: list[str] = []
        with _remarks() as said:
            try:
                output_model.OutputModel.wait_for_uploads(raise_on_error=True)
            except (UploadError, ModelError):
                left = output_model.OutputModel.uploads("failed")
                failed = [f"version {each.n} of {each.model}: {each.error}" for each in left]
        uploading.wait_for_uploads(raise_on_error=False)
        for remark in said:
            screen.say(screen.visible(remark))
        for why in failed:
            screen.fail(why)
        if json:
            screen.put_json({"resumed": begun, "failed": failed})
        else:
            screen.say(f"{screen.counted(begun - len(failed), 'version')} stored" if begun else "nothing to resume")
        return 1 if failed else 0

    try:
        return ended(work, json=json, interrupted="interrupted; what is not stored yet stays as it is, for the same command")
    finally:
        # The program ends here, whatever is under way.
        outbox.own().abandoned = True


def _folder_for(archive_name: str) -> str:
    """Return what a folder is called that a package is unpacked to: as the archive, without its suffix."""
    stem = _SUFFIX.sub("", archive_name)
    return stem if stem.strip(".") and stem != archive_name else f"{archive_name}.files"


def _place(path: str, target: str, *, force: bool) -> None:
    """Copy a file to where it is wanted: there it is complete, or not at all."""
    staged = os.path.join(os.path.dirname(target), f".{secrets.token_hex(8)}.staged")
    try:
        if not clone(path, staged):
            shutil.copyfile(path, staged)
        os.chmod(staged, 0o666 & ~_umask())
        if force:
            os.replace(staged, target)
        else:
            os.link(staged, target)
    except FileExistsError:
        raise TargetExistsError(17, f"{target} exists; say --force to replace it", target) from None
    except OSError as error:
        raise PackOSError(error.errno, f"{target} cannot be written: {error.strerror}", target) from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(staged)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def _remarks() -> Iterator[list[str]]:
    """Give what is warned of meanwhile, for people to read at the end."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield said
        finally:
            said += [str(each.message) for each in caught]


def _row(found: Overview) -> tuple[str, ...]:
    record, versions = found.record, found.versions
    last = versions[-1] if versions else None
    state = "published" if record.published is not None else "-" if last is None else last.state
    return (
        record.name,
        record.id,
        "-" if last is None else str(last.n),
        state,
        tables.when(versions[0].created if versions else None),
    )


def _fields(found: Overview) -> dict[str, object]:
    record, current = found.record, found.record.current
    return {
        "id": record.id,
        "name": record.name,
        "project": record.project,
        "task": record.task,
        "url": None if current is None else current.url,
        "published": record.published is not None,
        "framework": record.framework,
        "tags": [*record.tags, *models.system_tags_of(record)],
        "labels": dict(record.labels),
        "aliases": found.aliases,
        "versions": len(found.versions),
        "config": record.config_text,
        "comment": record.comment,
    }


def _version_fields(version: ModelVersion) -> dict[str, object]:
    def moment(value: datetime | None) -> str | None:
        return None if value is None else value.isoformat()

    return {
        "model": version.model,
        "version": version.n,
        "iteration": version.iteration,
        "state": version.state,
        "url": version.url,
        "size": version.size,
        "files": version.files,
        "sha256": version.sha256,
        "datum": version.datum,
        "created": moment(version.created),
        "stored": moment(version.stored),
        "error": version.error,
    }


def _size(version: ModelVersion) -> str:
    return "-" if version.size is None else sizes.text(version.size)


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {each}" for key, each in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)
