//! What the workers do with the blocks of a compressed tar: fill, compress, write in order, take back.

use std::sync::MutexGuard;

use super::blocks::{Block, Mark, Stream};
use super::large::Large;
use super::order::{Buffer, Shared, State, Turn};
use super::record::Record;
use crate::error::{Error, Result, Stage};
use crate::frame::tar;
use crate::report::Remark;
use crate::sink::Sink;

/// What a worker that would have to wait can do for the others.
pub(super) enum Work<'a> {
    /// Pack blocks of the large file whose turn it is.
    Large(&'a Large),
    /// Compress this block of the tar, and hand it in.
    Block(Block),
}

/// How a worker does it.
pub(super) type Help<'h> = &'h mut dyn FnMut(Work<'_>);

impl<S: Sink> Shared<'_, S> {
    /// Write a batch, or add it to the tar that is compressed.
    pub fn deliver(&self, buffer: &mut Buffer, help: Help<'_>) -> Result<()> {
        let Some(stream) = &self.stream else {
            return self.output().write(buffer, self.progress);
        };
        let mut stream = Stream::lock(stream);
        let at = stream.position;
        let bytes = &buffer.bytes[..buffer.used];
        let mut from = 0;
        let starts = buffer.records.iter().skip(1).map(|record| record.offset as usize);
        let groups = stream.groups();
        for end in starts.filter(|_| groups).chain([buffer.used]) {
            self.feed(&mut stream, &bytes[from..end], false, help)?;
            if stream.is_group() {
                self.cut(&mut stream, help)?;
            }
            from = end;
        }
        self.output().adopt(buffer, at, self.progress);
        Ok(())
    }

    fn feed(&self, stream: &mut Stream, mut bytes: &[u8], in_large: bool, help: Help<'_>) -> Result<()> {
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(stream.left(in_large)));
            stream.append(head);
            if stream.left(in_large) == 0 {
                self.cut(stream, help)?;
            }
            bytes = rest;
        }
        Ok(())
    }

    /// Hand the block that is being filled to whoever compresses it, and go on in another.
    fn cut(&self, stream: &mut Stream, help: Help<'_>) -> Result<()> {
        let full = stream.cut();
        let mut state = self.lock();
        state.blocks.push(full);
        self.wake.notify_all();
        loop {
            if let Some(block) = state.blocks.take() {
                stream.begin(block);
                return Ok(());
            }
            state = self.help_or_wait(state, help)?;
        }
    }

    /// Compress a block that waits, or wait for those that others compress.
    fn help_or_wait<'g>(&'g self, mut state: MutexGuard<'g, State>, help: Help<'_>) -> Result<MutexGuard<'g, State>> {
        self.cancel.check(Stage::Pack)?;
        if state.failed.is_some() {
            return Err(Error::cancelled(Stage::Pack));
        }
        let Some(block) = state.blocks.queue.pop_front() else { return Ok(self.wait(state)) };
        drop(state);
        help(Work::Block(block));
        Ok(self.lock())
    }

    /// Hand in a compressed block. Writes it, and all that wait behind it, when it is due.
    pub fn hand_in(&self, block: Block) -> Result<()> {
        let mut state = self.lock();
        state.blocks.ready.insert(block.number, block);
        if state.blocks.writing {
            return Ok(());
        }
        state.blocks.writing = true;
        loop {
            let due = state.blocks.written;
            let Some(block) = state.blocks.ready.remove(&due) else { break };
            drop(state);
            self.output().write_block(&block, || self.cancel.check(Stage::Pack), self.progress)?;
            state = self.lock();
            state.blocks.give(block);
            state.blocks.written += 1;
            self.wake.notify_all();
        }
        state.blocks.writing = false;
        Ok(())
    }

    /// Begin a large member, in a frame of its own where members keep together. The mark is what [`take_back`](Self::take_back)
    /// goes back to, and is made only where that may be asked for.
    pub fn begin_large(&self, _turn: &Turn, stream: &mut Stream, marked: bool, help: Help<'_>) -> Result<Option<Mark>> {
        if stream.groups() && !stream.block.raw().is_empty() {
            self.cut(stream, help)?;
        }
        if !marked {
            return Ok(None);
        }
        let block = self.lock().blocks.cut;
        self.output().mark(block);
        Ok(Some(stream.mark(block)))
    }

    /// Append bytes of a large member.
    pub fn append_large(&self, stream: &mut Stream, bytes: &[u8], help: Help<'_>) -> Result<()> {
        self.feed(stream, bytes, true, help)
    }

    /// Count `length` bytes that were read into the stream's room.
    pub fn filled(&self, stream: &mut Stream, length: usize, help: Help<'_>) -> Result<()> {
        stream.filled(length);
        if stream.left(true) == 0 { self.cut(stream, help) } else { Ok(()) }
    }

    /// End a large member, and its last frame.
    pub fn end_large(&self, stream: &mut Stream, record: Record, hash: Option<u128>, help: Help<'_>) -> Result<()> {
        if stream.groups() && !stream.block.raw().is_empty() {
            self.cut(stream, help)?;
        }
        self.output().keep(record, hash, self.progress);
        Ok(())
    }

    /// Forget everything since the mark: a large member that changed while it was packed.
    pub fn take_back(&self, stream: &mut Stream, mark: &Mark, remark: Remark, help: Help<'_>) -> Result<()> {
        let mut state = self.lock();
        while !state.blocks.is_idle() || state.blocks.writing {
            state = self.help_or_wait(state, help)?;
        }
        state.blocks.cut = mark.block;
        state.blocks.written = mark.block;
        drop(state);
        stream.go_back(mark);
        self.output().go_back(remark)
    }

    /// End the tar. All members are in it, and no other worker is left.
    pub fn close(&self, help: Help<'_>) -> Result<()> {
        let Some(stream) = &self.stream else { return Ok(()) };
        let mut stream = Stream::lock(stream);
        self.feed(&mut stream, &tar::END, false, help)?;
        let mut last = stream.cut();
        last.last = true;
        let mut state = self.lock();
        state.blocks.push(last);
        while !state.blocks.is_idle() {
            state = self.help_or_wait(state, help)?;
        }
        Ok(())
    }
}
