//! Why an archive is not replaced, and what can be done: every way that is named works.

use std::io;

use crate::error::{Error, ErrorKind, Stage, show, show_bytes};
use crate::fs;
use crate::journal::{Distrusted, Unfinished};
use crate::remove::Folder;

/// Why the archive of a list may not be replaced by the one that is asked for.
pub(crate) enum Why<'a> {
    /// The removal has ended, and there are only files that it kept or left out.
    Ended,
    /// This folder, from which originals were removed, is not there, or another.
    Away(&'a Folder<'a>),
    /// The disk of this folder has another number now, so that originals which are missing there may never have been removed.
    Doubted(&'a Folder<'a>),
    /// The sources name this file, too, which is not one of those that are left.
    Extra(Vec<u8>),
    /// This file is left, and the same sources do not name it any more.
    Missed(Vec<u8>),
    /// Files that were to be packed again changed meanwhile.
    LeftOut,
    /// It is another call.
    Other,
}

/// `many` says that the archive is one of several shards.
pub(crate) fn only_copy(list: &Unfinished, why: &Why<'_>, many: bool) -> Error {
    let (target, path) = (show(&list.target.shown), show(&list.path()));
    let kind = match why {
        Why::Away(folder) if fs::lstat(fs::path(folder.path)).is_err() => ErrorKind::NotFound,
        _ => ErrorKind::TargetExists,
    };
    let others = if many { " and the other shards" } else { "" };
    let packs = format!("move {target}{others} away, and the same call packs what is there now");
    let holds = format!("{target} holds files whose originals an interrupted pack has removed");
    let message = match why {
        Why::Ended => format!(
            "{target} holds files whose originals an earlier pack has removed, and this pack would replace it by one of what that pack kept or left out; {packs}, or choose another name ({path} lists what is left)"
        ),
        Why::Away(folder) => {
            let folder = show_bytes(folder.path);
            let now = if kind == ErrorKind::NotFound {
                "is not there now: bring it back as it was, not as a copy"
            } else {
                "is another folder now, such as one that was copied or restored, or is on a disk that was mounted again under another number: bring the one back that was packed"
            };
            format!(
                "{holds} from {folder}, which {now}, and say the same call again to finish the removal; or {packs}; or remove {path}, which only ends the removal: what is left of the originals stays, and {target} may then be replaced"
            )
        }
        Why::Doubted(folder) => format!(
            "{holds} from {}, whose disk was mounted again under another number, and may be a copy from before there were originals, so nothing takes its place: {packs}; or remove {path}, which only ends the removal: what is left of the originals stays, and {target} may then be replaced",
            show_bytes(folder.path)
        ),
        Why::Extra(extra) => format!(
            "{holds}, and the sources name files that came later, such as {}: move those elsewhere and say the same call again to finish the removal; or {packs}",
            show_bytes(extra)
        ),
        Why::Missed(missed) => format!(
            "{holds}, and {}, which is left of them, is not among what would be packed: move it elsewhere and say the same call again to finish the removal; or {packs}",
            show_bytes(missed)
        ),
        Why::LeftOut => format!(
            "{holds}, and files changed while they were packed again; nothing was published: say the same call again when they are at rest, or {packs}"
        ),
        Why::Other => format!(
            "{holds}, and this pack would replace it: say the same call again that made it, with the removal of originals, to finish that; or {packs}; or choose another name ({path} lists the originals)"
        ),
    };
    let error = Error::new(kind, Stage::Plan, message.clone());
    match why {
        Why::Away(folder) if kind == ErrorKind::NotFound => {
            let cause = io::Error::from_raw_os_error(libc::ENOENT);
            Error::io(Stage::Remove, "enter", fs::path(folder.path), cause).with_message(message)
        }
        _ => error.at(&list.target.shown),
    }
}

/// The error on a target that exists, where a removal is to be finished.
pub(crate) fn exists(error: Error, list: &Unfinished) -> Error {
    let target = show(&list.target.shown);
    error.with_message(if list.ended {
        format!(
            "{target} exists, and holds files whose originals an earlier pack has removed; choose another name, or move it away"
        )
    } else {
        format!(
            "{target} exists, and an earlier pack to it has not removed all of its originals: the same call again that removes them, and is no dry run, finishes that; else choose another name, or move it away"
        )
    })
}

/// The error on an archive whose list cannot be gone by.
pub(crate) fn distrusted(Distrusted { target, list, why }: &Distrusted) -> Error {
    let (target, list, folder) =
        (&target.shown, show(list), fs::lstat(list).is_ok_and(|stat| fs::Kind::of(&stat) == fs::Kind::Directory));
    let remove = if folder { "remove the list, which is a folder" } else { "remove the list" };
    let message = format!(
        "{0} may hold files whose originals an earlier pack has removed, and its list of them, {list}, {why}; move {0} away, and the same call packs what is there now; or {remove}, if nothing is missing: {0} may then be replaced",
        show(target)
    );
    Error::new(ErrorKind::TargetExists, Stage::Plan, message).at(target)
}
