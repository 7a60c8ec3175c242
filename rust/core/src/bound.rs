//! How long an archive can become, from what is known before its first byte.

use std::ops::Range;

use crate::plan::Plan;
use crate::request::{Format, PackOptions};
use crate::scan::EntryKind;

/// Both headers of a zip member with every extra field, or a tar's header, extended header and padding; the name apart.
const HEADERS: u64 = 3 << 10;

/// The end of a symbolic link, in whichever header it stands.
const LINK: u64 = 8 << 10;

/// What ends an archive, and what begins and ends a compressed tar.
const ENDS: u64 = 64 << 10;

/// What the archive of these members of the plan will hardly exceed; `sizes` are those of all members of the plan.
pub(crate) fn bound(plan: &Plan, members: Range<usize>, sizes: &[u64], format: Format, options: &PackOptions) -> u64 {
    let mut sum: u64 = 0;
    for (entry, size) in plan.entries()[members.clone()].iter().zip(&sizes[members]) {
        let (folder, name) = plan.member(entry);
        let link = if entry.kind == EntryKind::StoredLink { LINK } else { 0 };
        let names = 3 * (folder.len() + name.len()) as u64;
        sum = sum.saturating_add(HEADERS + names + link + u64::from(options.align)).saturating_add(*size);
    }
    // In a zip what does not shrink is stored; a compressed tar has no such way out.
    let grown = match format {
        Format::Zip | Format::Tar => 0,
        Format::TarGz | Format::TarZst => sum >> 7,
    };
    sum.saturating_add(grown).saturating_add(ENDS)
}
