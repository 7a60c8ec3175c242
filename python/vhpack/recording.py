"""A run's outputs become datums at its end, and each upload when it has arrived."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from vhpack import env, paths, registrar, runs
from vhpack.errors import JobWarning, MissingExtraError, OptionError, PackError, RegistrationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vhpack.exits import End, Watch
    from vhpack.gathering import Gathered, Sent
    from vhpack.registry.records import Outcome, Output
    from vhpack.registry.runs import Facts
    from vhpack.runs import Run
    from vhpack.types import InputDict, ParameterDict
    from vhpack.upload import Upload

_SHOWN = 10  # of many aliases
_LOOK = 0.5  # seconds between two looks whether uploads have arrived


class _Recorder:
    """What this process knows of the run that it registers."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.run = runs.current().hash
        self.began_ns = time.time_ns()
        self.watch: Watch | None = None
        self.inside = False
        """A `with` block is open, which registers the run at its own end."""
        self.done = False
        self.begun: dict[str, tuple[int, int, tuple[str, str] | None]] = {}
        """By path: size and time of modification of files when their upload began; the digests of those that will be removed."""
        self.sent: dict[str, Sent] = {}
        """By URI, what has arrived and is registered."""
        self.waiting: list[Upload] = []
        self.thread: threading.Thread | None = None
        self.lock = threading.Lock()


_recorder: _Recorder | None = None
_one_at_a_time = threading.Lock()  # the thread that follows uploads, and the end of the run


@contextlib.contextmanager
def run(
    *,
    step: str | None = None,
    default_parameters: ParameterDict | None = None,
    default_inputs: InputDict | None = None,
) -> Iterator[Run]:
    """Run the block as one run, and register its outputs at the end: what notebooks, tests and programs of several runs use.

    When the block ends well, the run's outputs become datums, with what sidecars and `output_properties` say of them, and the
    aliases that they claim are moved: all of it, or nothing. When it ends by an exception, the files are registered, and no alias
    moves. A script that calls `prepare()` needs none of this: its end is that of its run.

    A block inside a child process of a run is part of that run, and registers nothing by itself.

    Args:
        step: The step's name, as for `vhpack.prepare`, which is called with it; None leaves that to the block.
        default_parameters: As for `vhpack.prepare`.
        default_inputs: As for `vhpack.prepare`.

    Raises:
        OptionError: such a block is open already.
        RegistrationError: a sidecar asks for what cannot be; nothing is registered, and all files are where they were.
        RegistryError: the registry cannot be used; `vhpack runs register` does it later.

    Example:
        >>> import vhpack
        >>> with vhpack.run(step="train") as run:
        ...     with open(vhpack.outputs().path("model.txt"), "w") as file:
        ...         print("weights", file=file)
        >>> run.step
        'train'
    """
    from vhpack.exits import ended_by
    from vhpack.prepare import prepare

    if _recorder is not None and _recorder.inside and _recorder.process == os.getpid():
        raise OptionError("a run is open already; end its `with vhpack.run(...)` before the next one begins")
    if _recorder is not None and _recorder.done and _recorder.process == os.getpid():
        runs.reset()
    recorder = begin(inside=True)
    status: End = "failed"
    try:
        if step is not None:
            prepare(step=step, default_parameters=default_parameters, default_inputs=default_inputs)
        yield runs.current()
        status = "succeeded"
    except SystemExit as error:
        status = ended_by(error)
        raise
    finally:
        if recorder is not None:
            recorder.inside, recorder.done = False, True
            if registrar.is_on():
                _end_block(recorder, status)


def begin(*, inside: bool = False) -> _Recorder | None:
    """Let this process register the run at its end, unless a parent of it does; called by `prepare()`."""
    global _recorder  # noqa: PLW0603 - one for each process
    if not env.take_recording():
        return None
    current = runs.current().hash
    if _recorder is None or _recorder.process != os.getpid() or _recorder.run != current:
        _forget()
        _recorder = _Recorder()
        if not inside and registrar.is_on() and _is_script():
            _at_the_end(_recorder)
    _recorder.inside = _recorder.inside or inside
    return _recorder


def is_recorded() -> bool:
    """Return whether this process registers the run's uploads."""
    return _recorder is not None and _recorder.process == os.getpid() and not _recorder.done and registrar.is_on()


def undisturbed() -> contextlib.AbstractContextManager[object]:
    """Return what keeps a registration from looking at the outputs folder, as long as files are removed there.

    One that has looked already is waited for: its contents are in the store then.
    """
    return _one_at_a_time


def note(path: str, *, removed_after: bool) -> None:
    """Remember a file that is about to be uploaded: what it was, for it may be another, or gone, when it has arrived."""
    if _recorder is None or not is_recorded():
        return
    from vhpack import gathering

    status = os.stat(path)
    digests = gathering.digest(path) if removed_after else None
    _recorder.begun[path] = (status.st_size, status.st_mtime_ns, digests)


def follow(uploads: Sequence[Upload]) -> None:
    """Register files as their uploads arrive; called when they have begun."""
    if _recorder is None or not is_recorded() or not uploads:
        return
    with _recorder.lock:
        _recorder.waiting.extend(uploads)
        if _recorder.thread is None:
            _recorder.thread = threading.Thread(target=_watch_uploads, args=(_recorder,), name="vhpack-register", daemon=True)
            _recorder.thread.start()


def register(run: Run, status: End | None, *, since_ns: int | None = None) -> Outcome | None:
    """Register the outputs of a run; None where there is nothing to say of it.

    Args:
        run: The run.
        status: How it ended.
        since_ns: When it began, where its outputs folder is not its own.

    Raises:
        PackError: it cannot be registered; nothing of it is.
    """
    return _registered(run, status, since_ns)[1]


def _registered(run: Run, status: End | None, since_ns: int | None) -> tuple[Sequence[Output], Outcome | None]:
    # Before anything is read: without what the registry needs, or with a damaged one, all of that would be in vain.
    known = registrar.existing()
    from vhpack import gathering
    from vhpack.registry import keeping, registering

    environment = env.read()
    root = paths.outputs_root(environment, run)
    with _one_at_a_time, _without_collection():
        gathered = gathering.Gathered()
        if os.path.isdir(root):
            gathered = gathering.gather(root, _arrived(root), since_ns=since_ns, besides=registrar.own_paths())
        if environment.job_id and not environment.store_dir:
            gathered = _uploaded_only(gathered)
        if not gathered.outputs and known is None:
            return (), None
        # Looked at first, so that no content is kept for a run that cannot be registered.
        claims = registering.claimed(gathered.outputs)
        registry = registrar.opened()
        with keeping.kept(registry, gathered.contents, gathering.disk()) as open_elsewhere:
            outcome = registering.register(registry, _facts(run), gathered.outputs, status, claims)
        gathering.warn_of_open([content.path for content in open_elsewhere], root, "for writing by another process", stacklevel=5)
        return gathered.outputs, outcome


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Let no garbage be collected: among a million small values that all stay, looking for it takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def is_own_folder() -> bool:
    """Return whether the outputs folder is the run's alone, and not one that other runs have written to or will."""
    environment = env.read()
    return not (environment.outputs_dir or environment.job_id or environment.flat_local_outputs)


def _uploaded_only(gathered: Gathered) -> Gathered:
    """Leave out what ends with the machine of a job of the platform: no content of it stays where this registry knows of.

    Raises:
        RegistrationError: something is claimed for such a file.
    """
    from vhpack.gathering import Gathered

    claimed = next(
        (output for output in gathered.outputs if output.location is None and "valohai.alias" in output.properties), None
    )
    if claimed is not None:
        what = f"{claimed.name} claims an alias, and its content stays on this machine"
        raise RegistrationError(f"{what}; upload it (live_upload), or name a VHPACK_STORE_DIR")
    return Gathered([output for output in gathered.outputs if output.location is not None])


def _facts(run: Run) -> Facts:
    from vhpack.registry.runs import Facts

    began = _recorder.began_ns // 1000 if _recorder is not None and _recorder.run == run.hash else 0
    return Facts(run.hash, run.step, run.parameters, env.read().run_copy_of or None, began)


def _end_block(recorder: _Recorder, status: End) -> None:
    try:
        _, outcome = _register(recorder, status)
    except MissingExtraError:
        _say_missing()
    except (PackError, OSError) as error:
        if status == "succeeded":
            raise
        # An exception is on its way, which this one would only hide.
        _say(f"vhpack: the run's files are not registered: {error}")
    else:
        say_outcome(outcome)


def _register(recorder: _Recorder, status: End) -> tuple[Sequence[Output], Outcome | None]:
    return _registered(runs.current(), status, None if is_own_folder() else recorder.began_ns)


def _hand_over(outputs: Sequence[Output]) -> bool:
    """Have the end noted by whoever gets to know the exit status; return whether somebody does."""
    from vhpack import afterwards, leaving

    # A process of `multiprocessing` ends without the C library's own end.
    return not leaving.is_worker() and afterwards.hand_over(_facts(runs.current()), outputs)


def _at_the_end(recorder: _Recorder) -> None:
    from vhpack import exits, leaving

    recorder.watch = exits.Watch()
    leaving.register(lambda: _leave(recorder))


def _leave(recorder: _Recorder) -> None:
    """Register the run, at the end of the program."""
    if recorder is not _recorder or recorder.process != os.getpid() or recorder.done or recorder.inside:
        return
    if env.read().run_recorder != str(os.getpid()) or runs.current().hash != recorder.run:
        return  # reset
    recorder.done = True
    status: End = recorder.watch.end() if recorder.watch is not None else "unknown"
    try:
        _register_at_the_end(recorder, status)
    finally:
        if issubclass(getattr(sys, "last_type", None) or Exception, KeyboardInterrupt):
            _be_interrupted()


def _register_at_the_end(recorder: _Recorder, status: End) -> None:
    try:
        outputs, outcome = _register(recorder, status)
    except MissingExtraError:
        _say_missing()
    except (PackError, OSError) as error:
        from vhpack import leaving

        _say(f"vhpack: the outputs of run {recorder.run} are not registered: {error}")
        _say(f"vhpack: all files are where they were; `vhpack runs register {recorder.run}` does it again")
        leaving.end_with_120()
    else:
        say_outcome(outcome)
        if status == "unknown" and outcome is not None and not _hand_over(outputs):
            _say_unknown(recorder.run)


def _be_interrupted() -> None:
    """Let the process end by SIGINT, as after any Ctrl-C: the interpreter forgets that when it compiles, as imports do."""
    with contextlib.suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")  # noqa: S102 - a text, for only code that was compiled for it is heeded


def say_outcome(outcome: Outcome | None) -> None:
    """Say on stderr which aliases were moved."""
    moved = outcome.aliases if outcome is not None else ()
    for alias, datum in moved[:_SHOWN]:
        _say(f"vhpack: the alias {alias} is {datum.name} now ({datum.uri})")
    if len(moved) > _SHOWN:
        _say(f"vhpack: and {len(moved) - _SHOWN:,} more aliases were moved")


def _say_unknown(run_hash: str) -> None:
    root = paths.get_outputs_path()
    from vhpack import gathering

    if os.path.isdir(root) and not gathering.claims_nothing(root):
        _say(
            "vhpack: the program ended by a SystemExit that says not how, so no alias was moved; end it by sys.exit(), or say"
            f" `vhpack runs register {run_hash}`"
        )


def _say_missing() -> None:
    root = paths.get_outputs_path()
    from vhpack import gathering

    if not gathering.claims_nothing(root):
        _say("vhpack: aliases, tags and datasets of this run are not registered: pip install 'vhpack[registry]'")


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - at the end of a program there is nobody else to tell


def _watch_uploads(recorder: _Recorder) -> None:
    while True:
        with recorder.lock:
            ended = [upload for upload in recorder.waiting if upload._has_ended()]  # noqa: SLF001 - the uploads are ours
            recorder.waiting = [upload for upload in recorder.waiting if upload not in ended]
            last = not recorder.waiting
            if last:
                recorder.thread = None
        done = [upload for upload in ended if upload.state == "done"]
        if done and not recorder.done:
            try:
                _register_uploads(recorder, done)
            except MissingExtraError:
                return  # which the end of the run says, if there is anything to say
            except (PackError, OSError) as error:
                import warnings

                # The end of the run does it again, and says what is wrong then.
                warnings.warn(f"uploads are not registered yet: {error}", JobWarning, stacklevel=1)
        if last:
            return
        recorder.waiting[0]._wait(_LOOK)  # noqa: SLF001


def _register_uploads(recorder: _Recorder, done: Sequence[Upload]) -> None:
    registry = registrar.opened()
    from vhpack.registry import registering
    from vhpack.registry.records import Output

    root = paths.get_outputs_path()
    with _one_at_a_time:
        for upload in done:
            _remember(recorder, root, upload)
        sent = [recorder.sent[upload.uri] for upload in done if upload.uri in recorder.sent]
        # What sidecars say is added at the end of the run, when they are complete.
        outputs = [Output(each.name, each.size, each.sha256, each.xxh3_128, each.modified_ns, each.uri) for each in sent]
        if outputs and not recorder.done:
            registering.register(registry, _facts(runs.current()), outputs, None)


def _remember(recorder: _Recorder, root: str, upload: Upload) -> None:
    """Know of an upload that has arrived, if its file is, or was, what had been sent."""
    if upload.uri in recorder.sent or not upload.path.startswith(root + "/"):
        return
    from vhpack.gathering import Sent, digest

    try:
        status: os.stat_result | None = os.stat(upload.path)
    except FileNotFoundError:
        status = None
    size, modified_ns, digests = recorder.begun.get(upload.path) or (-1, -1, None)
    if status is not None and size < 0:  # an archive that was sent while it was packed
        size, modified_ns = status.st_size, status.st_mtime_ns
    if digests is None:
        if status is None or (status.st_size, status.st_mtime_ns) != (size, modified_ns):
            return
        digests = digest(upload.path)
    recorder.sent[upload.uri] = Sent(paths.name_below(root, upload.path), upload.uri, size, modified_ns, *digests)


def _arrived(root: str) -> list[Sent]:
    """Return what has been uploaded from the outputs folder."""
    if _recorder is None or _recorder.process != os.getpid():
        return []
    outbox = sys.modules.get("vhpack.outbox")
    for upload in outbox.own().uploads if outbox is not None else ():
        if upload.uri and upload.state == "done":
            _remember(_recorder, root, upload)
    return list(_recorder.sent.values())


def _is_script() -> bool:
    """Return whether the end of this process is that of a run: a notebook's kernel goes on from one to the next."""
    from vhpack.prepare import is_kernel

    return not is_kernel()


def _forget() -> None:
    if _recorder is not None and _recorder.watch is not None and _recorder.process == os.getpid():
        _recorder.watch.close()
