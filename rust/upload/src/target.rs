//! What the engine asks of a place that files are sent to. Implementations answer one request each and repeat nothing: retries,
//! journals and what to believe are decided once, above them.

use std::time::Duration;

use async_trait::async_trait;

use crate::body::Range;
use crate::checksum::{Digests, Wanted};
use crate::error::{Fault, Result};
use crate::meter::Meter;
use crate::plan::Limits;
use crate::wire::Span;
use std::sync::Arc;

/// How the server's word is tested that it has what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It refuses bytes that do not have the checksum that came with them; we have seen it do so, or know the service.
    Refuses,
    /// It checks nothing, but its tags are MD5s.
    Tags,
    /// Neither: what matters is read back.
    ReadBack,
}

/// What stands at the target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Remote {
    /// Where the server says it.
    pub size: Option<u64>,
    pub tag: Option<String>,
    /// Of the whole object, as the server computed it.
    pub crc64: Option<u64>,
    pub crc32c: Option<u32>,
    /// Which upload of ours made it.
    pub token: Option<String>,
}

/// A part, or a whole object, that was taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Taken {
    pub tag: String,
    pub digests: Digests,
}

/// A part as a server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub number: u64,
    pub tag: String,
    pub size: u64,
}

/// One part of a finished upload.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub number: u64,
    pub tag: String,
    pub length: u64,
    pub crc64: u64,
    pub crc32c: Option<u32>,
    pub md5: Option<[u8; 16]>,
}

/// An unfinished multipart upload on the server.
#[derive(Debug, Clone)]
pub(crate) struct Stale {
    pub id: String,
    /// Since it was begun, where the server says.
    pub age: Option<Duration>,
}

/// A place for one object.
#[async_trait]
pub(crate) trait Target: Send + Sync {
    /// What the store takes; `None` where there are no parts, and everything goes by one `put`.
    fn limits(&self) -> Option<Limits>;

    /// Which digests have to be known of bytes before they are sent; `None` where they may be sent as they are read.
    fn before(&self, proof: Proof) -> Option<Wanted>;

    /// Which digests the answer is compared with.
    fn wanted(&self, proof: Proof) -> Wanted;

    /// How answers are tested here.
    fn proof(&self) -> Proof;

    /// Whether something may stand at the target, as far as can be told for many at a time.
    async fn may_be_there(&self) -> bool {
        true
    }

    /// What stands at the target now; `None` if nothing does.
    async fn head(&self) -> Result<Option<Remote>, Fault>;

    /// Send all of it.
    async fn put(&self, range: Range, known: Digests, token: &str, meter: Arc<Meter>) -> Result<Taken, Fault>;

    /// Begin an upload in parts.
    async fn create(&self, token: &str) -> Result<String, Fault>;

    /// Send one part; numbers begin with 1.
    async fn part(
        &self,
        upload: &str,
        number: u64,
        range: Range,
        known: Option<Digests>,
        meter: Arc<Meter>,
    ) -> Result<Taken, Fault>;

    /// The parts that are there; `None` where the store cannot say.
    async fn parts(&self, upload: &str) -> Result<Option<Vec<Listed>>, Fault>;

    /// Make one object of the parts, which are in order and follow each other.
    async fn complete(&self, upload: &str, parts: &[Part], whole: u64) -> Result<(), Fault>;

    /// Forget the parts.
    async fn abort(&self, upload: &str) -> Result<(), Fault>;

    /// CRC-64 of a span of what stands at the target, read back. Where that is to be the whole, another length gives another value.
    async fn read_back(&self, span: &Span, whole: bool) -> Result<u64, Fault>;

    /// Unfinished uploads to just this target, whoever began them.
    async fn stale(&self) -> Result<Vec<Stale>, Fault>;
}
