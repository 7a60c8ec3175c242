//! Long reads, in steps that an interrupt can come between: a stream may have to be unpacked from its beginning.

use super::container::Container;
use super::content::Content;
use super::tar::TarStream;
use super::{Archive, Member, MemberReader};
use crate::cancel::CancelToken;
use crate::error::{Result, Stage};

/// Unpacked or read between two looks at the flag: a thirtieth of a second at 120 MB/s, which is slow.
const STEP: u64 = 4 << 20;

impl Archive {
    /// Whether members can be read in any order at no cost, and so by several threads.
    pub(super) fn is_random(&self) -> bool {
        match &self.container {
            Container::Zip(_) => true,
            Container::Tar(tar, _) => tar.stream.is_random(),
        }
    }

    /// Where the tar stream has to be unpacked from to get to `to`.
    fn reached(&self, to: u64) -> u64 {
        match &self.container {
            Container::Tar(tar, _) => match &tar.stream {
                TarStream::Sequential(stream) => stream.reached(to),
                _ => to,
            },
            Container::Zip(_) => to,
        }
    }

    /// Whether reading so many of a member's bytes from `from` on is more than a step, and so worth a flag.
    pub fn takes_long(&self, member: &Member, from: u64, length: u64) -> bool {
        let to = self.container.place(member, from);
        (to - self.reached(to)).saturating_add(length) > STEP
    }

    /// In a stream that must be unpacked on the way, go to the member's byte `from`.
    pub(super) fn approach(&self, member: &Member, from: u64, cancel: &CancelToken) -> Result<()> {
        let to = self.container.place(member, from);
        loop {
            cancel.check(Stage::Read)?;
            let reached = self.reached(to);
            if to - reached <= STEP {
                return Ok(());
            }
            let read = self.container.read_at(&*self.source, &mut [0], reached + STEP);
            if read.map_err(|fault| self.explain_in(member, fault))? == 0 {
                return Ok(());
            }
        }
    }

    /// [`read_into`](Self::read_into), ended by `cancel` between two steps.
    pub fn read_into_in_steps(&self, member: &Member, out: &mut [u8], cancel: &CancelToken) -> Result<()> {
        if out.len() as u64 != member.size || !self.takes_long(member, 0, member.size) {
            return self.read_into(member, out);
        }
        self.approach(member, 0, cancel)?;
        let explained = |fault| self.explain_in(member, fault);
        let mut content = Content::new(&self.container, &*self.source, member).map_err(explained)?;
        let mut at = 0;
        while at < out.len() {
            cancel.check(Stage::Read)?;
            let to = out.len().min(at + STEP as usize);
            let portion = &mut out[at..to];
            at += content.read_at(&self.container, &*self.source, member, at as u64, portion).map_err(explained)?;
        }
        content.finish(&self.container, &*self.source, member).map_err(explained)
    }
}

impl MemberReader {
    /// Whether [`read_at`](Self::read_at) with this length and position is more than a step.
    pub fn takes_long(&self, offset: u64, length: u64) -> bool {
        self.archive.takes_long(&self.member, offset, length)
            || self.content().way(offset).saturating_add(length) > STEP
    }

    /// In a packed member, unpack what lies before `offset`; the content is free for others between two steps.
    fn approach(&self, offset: u64, cancel: &CancelToken) -> Result<()> {
        let Self { archive, member, .. } = self;
        if offset >= member.size {
            // What is behind the end needs no way to it.
            return Ok(());
        }
        loop {
            cancel.check(Stage::Read)?;
            let mut content = self.content();
            if content.way(offset) <= STEP {
                return Ok(());
            }
            let gone = content.approach(&*archive.source, offset, STEP);
            gone.map_err(|fault| archive.explain_in(member, fault))?;
        }
    }

    /// [`read_at`](Self::read_at), ended by `cancel` between two steps.
    pub fn read_at_in_steps(&self, out: &mut [u8], offset: u64, cancel: &CancelToken) -> Result<usize> {
        self.archive.approach(&self.member, offset, cancel)?;
        self.approach(offset, cancel)?;
        let mut filled = 0;
        while filled < out.len() {
            cancel.check(Stage::Read)?;
            let to = out.len().min(filled + STEP as usize);
            match self.read_at(&mut out[filled..to], offset.saturating_add(filled as u64))? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }
}
