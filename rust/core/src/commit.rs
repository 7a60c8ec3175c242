//! Make the archive visible, durable first where something depends on it.

use crate::cancel::CancelToken;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::journal::Journal;
use crate::pipeline::{Record, Written, cut_short};
use crate::report::Remark;
use crate::request::{Originals, PackOptions};
use crate::reread::reread;
use crate::sink::{Sink as _, StagedFile};

/// An archive that has its name; proof of what was asked for: with originals to remove, that it was read back, that it
/// and its name are on disk.
pub(crate) struct Committed {
    pub records: Vec<Record>,
    pub skipped: Vec<Remark>,
    pub length: u64,
    pub digest: u128,
    /// Device and inode of the archive.
    pub identity: (u64, u64),
    /// The list that its originals go by, where they may.
    pub journal: Option<Journal>,
}

/// Check, sync where asked, publish.
pub(crate) fn commit(written: Written<StagedFile>, options: &PackOptions, cancel: &CancelToken) -> Result<Committed> {
    let Written { sink, length, records, skipped, digest, .. } = written;
    if sink.length() != length || sink.length_on_disk()? != length {
        return Err(cut_short());
    }
    // The disk is waited for while the last bytes are read along.
    sink.close()?;
    let durable = options.originals != Originals::Keep;
    let removable = options.originals == Originals::Remove;
    let check = || cancel.check(Stage::Commit);
    if durable {
        sink.sync(check)?;
    }
    if removable {
        read_back(&sink, length, digest, options.jobs, check)?;
    }
    check()?;
    // Another pack that ended meanwhile may have removed what this one has not seen, or is about to remove.
    let finished = sink.publish(options.force, true, removable, check)?;
    if durable {
        finished.sync_name()?;
    }
    Ok(Committed { records, skipped, length, digest, identity: finished.identity, journal: finished.journal })
}

/// The staged bytes are those that were written: before originals go, the archive is read once from end to end.
fn read_back(
    sink: &StagedFile,
    length: u64,
    digest: u128,
    jobs: usize,
    check: impl Fn() -> Result<()> + Sync,
) -> Result<()> {
    let mut seen = Digest::new();
    if reread(&mut seen, 0..length, jobs, |at, room| sink.read_back(at, room), check)? < length {
        return Err(cut_short());
    }
    if seen.finish() == digest {
        return Ok(());
    }
    let message = "the staged archive does not read back as it was written; nothing was published, nothing removed";
    Err(Error::new(ErrorKind::Io, Stage::Commit, message))
}
