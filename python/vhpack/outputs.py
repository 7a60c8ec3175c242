"""Outputs: where a run's files go, and one archive made of many."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, overload

from vhpack import env, paths, runs
from vhpack._packing import Settings, encode, run
from vhpack.errors import OptionError, PackOSError, PackPermissionError, PackWarning, UploadOutsideError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vhpack._engine import PackReport
    from vhpack._packing import Codec, OnChange, Patterns, Sources, StrPath, Symlinks, Watch
    from vhpack.directory import OutputDir
    from vhpack.runs import Destination
    from vhpack.upload import Upload

_SHOWN = 10  # names in one warning; all of them would bury what the warning says
_MANIFEST = ".manifest.jsonl"
_SIDECARS = (".metadata.json", "/valohai.metadata.jsonl")


def outputs(name: str = "") -> Outputs:
    """Return the run's outputs, or those in the folder `name` among them.

    Args:
        name: A path relative to the outputs folder, or an absolute one below it. Nothing is created yet.

    Example:
        >>> import vhpack
        >>> vhpack.outputs("images").path("cat.png", makedirs=False)
        '/.../.valohai/outputs/...-...-.../images/cat.png'
    """
    return Outputs(str(name))


@dataclass(frozen=True)
class Outputs:
    """A folder of the run's outputs; `vhpack.outputs(name)` makes it."""

    name: str = ""
    """The folder, relative to the outputs folder or absolute below it."""

    @property
    def dir_path(self) -> str:
        """Absolute path of the folder that holds all outputs of the run, whatever `name` is.

        Example:
            >>> import vhpack
            >>> vhpack.outputs("images").dir_path == vhpack.outputs().dir_path
            True
        """
        return paths.outputs_root(env.read(), runs.current())

    def path(self, filename: StrPath, makedirs: bool = True) -> str:  # noqa: FBT001
        """Return the absolute path of an output file, and see to it that its folder exists.

        The path stays valid after `os.chdir`, and child processes of this run get the same.

        Args:
            filename: The file, relative to this folder; an absolute path is returned as it is.
            makedirs: Create the folders above the file.

        Raises:
            OptionError: `name` leads out of the outputs folder.
            PackPermissionError: the folder cannot be made there.

        Example:
            >>> import vhpack
            >>> with open(vhpack.outputs("logs").path("epoch/1.txt"), "w") as file:
            ...     print("loss 0.5", file=file)
        """
        path = self._join(filename)
        if makedirs:
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
            except PermissionError as error:
                message = f"cannot make the folder of {path}: {error.strerror}; name a folder for outputs in VH_OUTPUTS_DIR"
                raise PackPermissionError(error.errno, message, error.filename) from None
        return path

    def directory(self, *, resume: bool = False) -> OutputDir:
        """Return this folder as one that is written as a whole: all of it appears when the `with` block ends, or nothing.

        Args:
            resume: Go on from where a killed process, or a block that raised, was with the same folder; see `vhpack.OutputDir`. A
                local run has a folder of its own unless `VH_OUTPUTS_DIR` or `VH_FLAT_LOCAL_OUTPUTS` is set.

        Raises:
            OptionError: this is the folder of all outputs, or leads out of it.

        Example:
            >>> import vhpack
            >>> with vhpack.outputs("curves").directory() as out:
            ...     out.write_bytes("loss.csv", b"epoch,loss")
            >>> [name for name, content in vhpack.read_outputs(out.target)]
            ['loss.csv']
        """
        from vhpack.directory import OutputDir

        folder = paths.outputs_folder(self.dir_path, self.name)
        if folder == self.dir_path:
            raise OptionError("the folder of all outputs is not replaced as a whole; say outputs(name).directory()")
        return OutputDir(folder, resume=resume)

    def live_upload(self, filename: StrPath, *, to: str | None = None, remove_after: bool = False) -> list[Upload]:
        """Have output files uploaded now and not at the end of the job, and return at once.

        With a destination (`to`, `vhpack.set_upload_destination` or `VHPACK_UPLOAD_URI`), vhpack itself sends each file in the
        background, under its path in the outputs folder, checks what arrived, and goes on where it was after a crash
        (`vhpack resume`). Without one, the files are marked read-only, which tells the platform to take them, and nothing is
        sent by vhpack. It is never both: with a destination, files on the platform are not marked; since the platform
        uploads at the end of the job whatever is left in the folder, say `remove_after` there.

        Files have to be complete. Each is brought to the disk, and its sidecar with it, and marked read-only, before it is
        sent; a large file's mark may come a moment after this call. Folders and symbolic links are never marked: that
        would change what is in, or behind, them.

        The call returns within some milliseconds for a file; of a folder each file takes another hundredth of one.

        Args:
            filename: A file, a folder (everything below it) or a pattern under the rules of
                `glob.glob(recursive=True)`, relative to this folder. One that exists is taken as it is.
            to: The folder to send to, as `vhpack.set_upload_destination` takes it, instead of that one.
            remove_after: Remove each file once it has arrived.

        Returns:
            An upload for each file that vhpack sends, which may be waited for; none where the platform does.

        Warns:
            PackWarning: symbolic links, or what is no regular file, are not sent.

        Raises:
            SourceNotFoundError: there is no such file.
            NoFilesError: nothing matches.
            UploadOutsideError: the file lies outside the outputs folder. OptionError: `name` does.
            UnknownSchemeError, BadDestinationError: the destination means nothing.
            PackOSError: a file cannot be marked; those before it are.

        Example:
            >>> import os, vhpack
            >>> path = vhpack.outputs("models").path("epoch-1.pt")
            >>> with open(path, "wb") as file:
            ...     _ = file.write(b"weights")
            >>> vhpack.outputs("models").live_upload("epoch-*.pt")
            []
            >>> vhpack.wait_for_uploads().failed
            []
            >>> os.access(path, os.W_OK) and os.geteuid() != 0
            False
        """
        from vhpack import destinations, finding

        environment = env.read()
        destination = destinations.chosen(to, environment)
        sender = destinations.sender(environment, destination)
        root = self.dir_path
        found = finding.files(paths.outputs_folder(root, self.name), os.fspath(filename))
        names = [_name_of(path, root, destination) for path in found.files]
        if sender == "off":
            return []
        if sender == "platform":
            destination = None
        if found.left_out and destination is not None:
            import warnings

            warnings.warn(found.sentence(), PackWarning, stacklevel=2)
        return _send(
            found.files, names, destination, mark=sender == "platform" or not environment.job_id, remove_after=remove_after
        )

    @overload
    def compress(
        self,
        source: Sources,
        filename: StrPath,
        live_upload: bool = ...,  # noqa: FBT001
        remove_originals: bool = ...,  # noqa: FBT001
        *,
        shard_size: None = None,
        manifest: bool = ...,
        level: int | None = ...,
        codec: Codec = ...,
        align: int | None = ...,
        jobs: int | None = ...,
        memory: int | str | None = ...,
        exclude: Patterns = ...,
        reproducible: bool = ...,
        symlinks: Symlinks = ...,
        on_change: OnChange = ...,
        progress: Watch = ...,
    ) -> str: ...

    @overload
    def compress(
        self,
        source: Sources,
        filename: StrPath,
        live_upload: bool = ...,  # noqa: FBT001
        remove_originals: bool = ...,  # noqa: FBT001
        *,
        shard_size: int | str,
        manifest: bool = ...,
        level: int | None = ...,
        codec: Codec = ...,
        align: int | None = ...,
        jobs: int | None = ...,
        memory: int | str | None = ...,
        exclude: Patterns = ...,
        reproducible: bool = ...,
        symlinks: Symlinks = ...,
        on_change: OnChange = ...,
        progress: Watch = ...,
    ) -> list[str]: ...

    def compress(
        self,
        source: Sources,
        filename: StrPath,
        live_upload: bool = False,  # noqa: FBT001
        remove_originals: bool = True,  # noqa: FBT001
        *,
        level: int | None = None,
        codec: Codec = "auto",
        align: int | None = None,
        shard_size: int | str | None = None,
        manifest: bool = False,
        jobs: int | None = None,
        memory: int | str | None = None,
        exclude: Patterns = (),
        reproducible: bool = False,
        symlinks: Symlinks = "follow",
        on_change: OnChange = "error",
        progress: Watch = None,
    ) -> str | list[str]:
        """Pack output files into one archive among the outputs, and remove the originals.

        The originals are removed, unless `remove_originals` is false, once the archive is complete and on disk: exactly
        the files that were packed, never a folder, never the archive itself. On any failure, and on Ctrl-C, before that they
        all stay and no half of an archive is left among the outputs; a removal that is cut off is finished by the same
        call. An archive of an earlier call is replaced.

        Args:
            source: A file, a folder (the files directly in it) or a pattern under the rules of
                `glob.glob(recursive=True)`, or any iterable of them; relative to this folder. One that exists is
                taken as it is before it is read as a pattern. Wildcards take no earlier `filename` and no sidecars
                (`*.metadata.json`, `valohai.metadata.jsonl`): the platform still needs those.
            filename: The archive, relative to this folder; its suffix (`.zip`, `.tar`, `.tar.gz`, `.tar.zst`) says the format.
                Its folder is created.
            live_upload: Have the archive uploaded at once, as `live_upload` does. With a destination it is sent while it is
                packed, and appears there once it is complete here; a pack that fails leaves nothing there. A call that was
                killed is finished by the same call, and what had arrived is not sent again.
            remove_originals: Remove the files that were packed.
            level: Effort, from 0 (store) to 12 (smallest); see `vhpack.pack`.
            codec: `"auto"` deflates what shrinks and stores what does not; `"store"` and `"deflate"` do one; `"zstd"` makes
                zips that many readers refuse. Tars have one codec for all, which their suffix says.
            align: 64 or 4096: where the bytes of stored members of a `.zip` may begin; see `vhpack.pack`.
            shard_size: Make several archives of at most so many bytes of files each, `images-00000.zip` and so on for
                `images.zip`, and return the list of them; see `vhpack.pack`.
            manifest: Write `NAME.manifest.jsonl` beside each archive: what is in it, with digests; see `vhpack.pack`.
            jobs: Number of threads; by default one for each core.
            memory: Bytes that buffers may take in all, as a number or as text like `"256MiB"`, the default; see `vhpack.pack`.
            exclude: Patterns of what to leave out; see `vhpack.pack`.
            reproducible: Give all members one time and plain modes; see `vhpack.pack`.
            symlinks: `"follow"` packs what links lead to, `"store"` the links, `"skip"` neither.
            on_change: `"error"` ends the pack when a file changes while it is read; `"skip"` leaves the file out and
                keeps its original.
            progress: `True` for a bar on a terminal, or a function; see `vhpack.pack`.

        Returns:
            The absolute path of the archive; with `shard_size` the list of them. Members are named relative to the part of
            their source before the first wildcard, so that files named one by one lie at the top.

        Warns:
            PackWarning: a source matched nothing beside others that did, files were left out, or an original
                could not be removed. The archive is complete all the same.

        Raises:
            NoFilesError: nothing matches.
            OptionError: an option is out of range, or `name` leads out of the outputs folder.
            PackOSError: the archive is complete, but cannot be marked read-only.
            PackError: the archive could not be made; `vhpack.pack` lists the kinds.

        Example:
            >>> import vhpack
            >>> images = vhpack.outputs("resized")
            >>> for number in range(3):
            ...     with open(images.path(f"{number}.png"), "wb") as file:
            ...         _ = file.write(b"not really an image")
            >>> images.compress("*.png", "images.zip")
            '/.../resized/images.zip'
        """
        target = self.path(filename)
        settings = Settings(
            root=self.dir_path,
            exclude=exclude,
            symlinks=symlinks,
            on_change=on_change,
            codec=codec,
            level=level,
            align=align,
            shard_size=shard_size,
            manifest=manifest,
            jobs=jobs,
            memory=memory,
            reproducible=reproducible,
            remove_originals=remove_originals,
            force=True,
        )
        # The folder itself, as joining its path with no name gives it.
        report = self._packed(
            encode("." if isinstance(source, str) and not source else source), target, settings, progress, live_upload=live_upload
        )
        _warn(report)
        return target if shard_size is None else report.targets

    def _packed(self, sources: bytes, target: str, settings: Settings, progress: Watch, *, live_upload: bool) -> PackReport:
        # The folder goes apart from the sources, since wildcard characters in its path are none.
        folder = paths.outputs_folder(self.dir_path, self.name)
        pack = functools.partial(run, sources, b"", os.fsencode(target), layout="outputs", base=folder, progress=progress)
        if not live_upload:
            return pack(settings)
        from vhpack import destinations, uploading

        # What is uploaded at once has to be right before anybody hears of it. The mark is the engine's to set, last of all: the
        # platform may take the archive away in that very moment, and a call that is killed before it has to find out that
        # the mark alone is missing.
        settings = replace(settings, durable=True)
        destination, marks = self._sender()
        if destination is None:
            return pack(settings, read_only=marks)
        uri = destinations.below(destination.uri, paths.name_below(self.dir_path, target))
        with uploading.following(target, uri, destination) as following:
            return pack(settings, read_only=marks, follow=following)

    def _sender(self) -> tuple[Destination | None, bool]:
        """Return where vhpack is to send, if it is, and whether to mark what is uploaded."""
        from vhpack import destinations

        environment = env.read()
        destination = destinations.chosen(None, environment)
        sender = destinations.sender(environment, destination)
        marks = sender == "platform" or (sender == "self" and not environment.job_id)
        return (destination if sender == "self" else None), marks

    def _join(self, filename: StrPath) -> str:
        return os.path.join(paths.outputs_folder(self.dir_path, self.name), filename)


Output = Outputs  # as scripts for the platform know it


def _send(files: list[str], names: list[str], destination: Destination | None, *, mark: bool, remove_after: bool) -> list[Upload]:
    from vhpack import destinations, recording, uploading

    def before(path: str) -> None:
        from vhpack import finding

        for each in (finding.sidecar_of(path), path):
            if each is not None:
                _bring_to_disk(each)
        if mark:
            _mark_read_only(path)
        if destination is not None:
            recording.note(path, removed_after=remove_after)

    pairs = destinations.pairs(files, names, destination.uri) if destination else [(path, "") for path in files]
    begun = uploading.begin(pairs, destination, before=before, remove_after=remove_after)
    if destination is not None:
        recording.follow(begun)
        return begun
    # What has gone wrong by now is this call's; what will, is told by `wait_for_uploads` and at the end.
    for upload in begun:
        if upload.state == "failed" and (error := upload.error) is not None:
            raise PackOSError(error.errno, str(error), error.filename)
    return []


def _name_of(path: str, root: str, destination: Destination | None) -> str:
    try:
        return paths.name_below(root, path)
    except OptionError as error:
        raise UploadOutsideError(None, str(error), path, None, None if destination is None else destination.uri) from None


def _bring_to_disk(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        message = f"{path} cannot be brought to the disk: {error.strerror}; it is not marked for upload"
        raise PackOSError(error.errno, message, path) from None


def _mark_read_only(path: str) -> None:
    try:
        os.chmod(path, os.stat(path).st_mode & 0o555)
    except OSError as error:
        message = f"{path} is complete, but cannot be marked read-only: {error.strerror}; mark it by hand to upload it"
        raise PackOSError(error.errno, message, path) from None


def _warn(report: PackReport) -> None:
    import warnings

    def warn(message: str) -> None:
        warnings.warn(message, PackWarning, stacklevel=4)

    for message in report.warnings:
        warn(message)
    # That wildcards leave these out is their documented meaning, and no news to a caller.
    own = {name for target in report.targets for name in (target, target + _MANIFEST)}
    skipped = [(path, why) for path, why in report.skipped if path not in own and not path.endswith(_SIDECARS)]
    if skipped:
        warn(f"{len(skipped)} left out of {report.target}: {_listed(skipped)}")
    if report.kept:
        warn(f"{len(report.kept)} originals could not be removed; look at each before you remove it: {_listed(report.kept)}")


def _listed(pairs: Sequence[tuple[str, str]]) -> str:
    rest = f" and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
    return "; ".join(f"{path!r}: {why}" for path, why in pairs[:_SHOWN]) + rest
