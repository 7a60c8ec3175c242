//! One failure type: a sentence, for a program whose reader is `run.py` and the person beside it.

use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter};
use std::path::Path;

/// What went wrong, on which path.
#[derive(Debug)]
pub struct Failure(String);

/// A result whose error is a [`Failure`].
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    pub fn usage(word: &OsStr) -> Self {
        Self(format!("cannot make sense of `{}`; see the head of benches/src/main.rs", word.display()))
    }

    /// Give a converter for `map_err`: "cannot `verb` `path`: cause".
    pub fn while_trying<E: Display>(verb: &str, path: &Path) -> impl FnOnce(E) -> Self {
        move |cause| Self(format!("cannot {verb} `{}`: {cause}", path.display()))
    }
}

impl Display for Failure {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
