//! A request's body that is read from the source while it goes out: two pieces in memory, never a whole part. The file on disk is
//! the buffer, so that a retry reads it again and a hundred parts in flight take 50 MB.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use crate::checksum::{Digesting, Digests, Wanted};
use crate::md5::Together;
use crate::meter::{Bucket, Meter};
use crate::source::{Source, read_exact};
use crate::turns::Turns;

/// Read at once. Below 128 KiB the calls begin to show; above 512 KiB a piece leaves the second-level cache before it is sent.
pub(crate) const PIECE: u64 = 256 << 10;

/// What one body needs at most: the piece that goes out, the one that is read, and one that the connection still holds.
pub(crate) const MEMORY: u64 = 3 * PIECE;

/// Handed to the connection at once, so that progress is told in steps that people can watch.
const FRAME: usize = 128 << 10;

/// Bytes of a source that make a body.
#[derive(Clone)]
pub(crate) struct Range {
    pub source: Arc<dyn Source>,
    /// Of the disk that it lies on.
    pub turns: Turns,
    pub offset: u64,
    pub length: u64,
    /// Bytes in hand, where they are few.
    pub bytes: Option<Bytes>,
    /// What they are known to be. A body whose bytes turn out to be others breaks off before its last piece, so that no server
    /// ever takes a mix for a whole.
    pub known: Option<u64>,
    /// The request before this one broke off: leave the server a moment to refuse before any byte goes out.
    pub held: bool,
}

impl Range {
    /// Bytes of a source of which nothing is known yet.
    pub fn new(source: &Arc<dyn Source>, turns: &Turns, offset: u64, length: u64) -> Self {
        let (source, turns) = (Arc::clone(source), turns.clone());
        Self { source, turns, offset, length, bytes: None, known: None, held: false }
    }
}

type Reading = Pin<Box<dyn Future<Output = io::Result<(Bytes, Digesting)>> + Send + Sync>>;

/// The body of one request.
pub(crate) struct RangeBody {
    range: Range,
    read: u64,
    reading: Option<Reading>,
    /// What it read, before that is wanted.
    ahead: Option<io::Result<(Bytes, Digesting)>>,
    current: Bytes,
    left: u64,
    meter: Arc<Meter>,
    bucket: Arc<Bucket>,
    pause: Option<Pin<Box<Sleep>>>,
    digests: Arc<Mutex<Option<Digests>>>,
}

impl RangeBody {
    /// `hold` is how long nothing goes out at first.
    pub fn new(range: Range, wanted: Wanted, hold: Option<Duration>, meter: Arc<Meter>, bucket: Arc<Bucket>) -> Self {
        let left = range.length;
        let mut body = Self {
            range,
            read: 0,
            reading: None,
            ahead: None,
            current: Bytes::new(),
            left,
            meter,
            bucket,
            pause: hold.map(|hold| Box::pin(tokio::time::sleep(hold))),
            digests: Arc::default(),
        };
        match &body.range.bytes {
            Some(bytes) => {
                body.current = bytes.clone();
                body.read = left;
            }
            None => body.read_on(Digesting::new(wanted)),
        }
        body
    }

    /// Where the digests stand once the last piece was read.
    pub fn digests(&self) -> Arc<Mutex<Option<Digests>>> {
        Arc::clone(&self.digests)
    }

    fn read_on(&mut self, digesting: Digesting) {
        let length = PIECE.min(self.range.length - self.read);
        let (source, offset) = (Arc::clone(&self.range.source), self.range.offset + self.read);
        self.read += length;
        let turns = self.range.turns.clone();
        let together = Arc::clone(&turns.together);
        let work = move || read_piece(&*source, offset, length, digesting, &together);
        self.reading = Some(Box::pin(async move { turns.run(work).await }));
    }

    /// Have the piece that is read next on its way, whatever goes out meanwhile.
    fn poll_ahead(&mut self, context: &mut Context<'_>) {
        if let Some(reading) = &mut self.reading
            && let Poll::Ready(piece) = reading.as_mut().poll(context)
        {
            (self.reading, self.ahead) = (None, Some(piece));
        }
    }

    /// The piece that was being read, and the next one begun.
    fn take_piece(&mut self, piece: Bytes, digesting: Digesting) -> io::Result<()> {
        self.current = piece;
        if self.read < self.range.length {
            self.read_on(digesting);
            return Ok(());
        }
        let digests = digesting.finish();
        if self.range.known.is_some_and(|known| known != digests.crc64) {
            return Err(io::Error::other("the file changed while it was sent"));
        }
        *self.digests.lock().unwrap_or_else(PoisonError::into_inner) = Some(digests);
        Ok(())
    }
}

/// Read a piece, and take it into the digests.
pub(crate) fn read_piece(
    source: &dyn Source,
    offset: u64,
    length: u64,
    mut digesting: Digesting,
    together: &Together,
) -> io::Result<(Bytes, Digesting)> {
    let mut buffer = vec![0; length as usize];
    read_exact(source, &mut buffer, offset)?;
    let piece = Bytes::from(buffer);
    digesting.update_together(&piece, together);
    Ok((piece, digesting))
}

/// Digests of a range, read from the source: the first of two passes, where a server wants to know before it gets the bytes.
pub(crate) async fn hash(range: &Range, wanted: Wanted) -> io::Result<Digests> {
    let (source, offset, length) = (Arc::clone(&range.source), range.offset, range.length);
    let together = Arc::clone(&range.turns.together);
    let work = move || {
        let mut digesting = Digesting::new(wanted);
        let mut done = 0;
        while done < length {
            let piece = PIECE.min(length - done);
            (_, digesting) = read_piece(&*source, offset + done, piece, digesting, &together)?;
            done += piece;
        }
        Ok(digesting.finish())
    };
    range.turns.run(work).await
}

impl Body for RangeBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        loop {
            if this.left == 0 {
                return Poll::Ready(None);
            }
            this.poll_ahead(context);
            if let Some(pause) = &mut this.pause {
                // Waiting for leave to send is no stall.
                this.meter.touch();
                if pause.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                this.pause = None;
            }
            if !this.current.is_empty() {
                let most = this.bucket.frame(FRAME);
                if let Some(wait) = this.bucket.take(most.min(this.current.len())) {
                    this.pause = Some(Box::pin(tokio::time::sleep(wait)));
                    continue;
                }
                let frame = this.current.split_to(most.min(this.current.len()));
                this.left -= frame.len() as u64;
                this.meter.sent(frame.len() as u64);
                return Poll::Ready(Some(Ok(Frame::data(frame))));
            }
            let Some(piece) = this.ahead.take() else {
                return if this.reading.is_some() { Poll::Pending } else { Poll::Ready(None) };
            };
            if let Err(error) = piece.and_then(|(bytes, digesting)| this.take_piece(bytes, digesting)) {
                this.left = 0;
                this.meter.broke(&error);
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
