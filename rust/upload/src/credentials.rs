//! Keys that the caller gives and renews. The engine never calls into Python: it says that it wants new ones, and waits.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::destination::Options;
use crate::error::{Result, UploadError, UploadErrorKind};
use crate::sign::Keys;

/// Keys, and whether they were refused.
pub struct Renewable {
    keys: Mutex<Keys>,
    wanted: AtomicBool,
    /// They were refused without a word, as HEAD refuses, and may be good all the same.
    suspected: AtomicBool,
}

fn read(options: &Options) -> Result<Keys> {
    let one =
        |names: [&str; 2]| names.iter().find_map(|name| options.get(*name)).filter(|value| !value.is_empty()).cloned();
    let missing = || {
        UploadError::new(
            UploadErrorKind::NoCredentials,
            "the credentials have no access_key_id or no secret_access_key; check the profile",
        )
    };
    let id = one(["access_key_id", "aws_access_key_id"]).ok_or_else(missing)?;
    let secret = one(["secret_access_key", "aws_secret_access_key"]).ok_or_else(missing)?;
    Ok(Keys::new(&id, &secret, one(["session_token", "aws_session_token"]).as_deref()))
}

impl Renewable {
    /// The first keys, named as the options of S3 are.
    pub fn new(options: &Options) -> Result<Self> {
        Ok(Self { keys: Mutex::new(read(options)?), wanted: AtomicBool::new(false), suspected: AtomicBool::new(false) })
    }

    /// Newer keys.
    pub fn renew(&self, options: &Options) -> Result<()> {
        let new = read(options)?;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if *keys != new {
            self.suspected.store(false, Relaxed);
            *keys = new;
        }
        self.wanted.store(false, Relaxed);
        Ok(())
    }

    /// Whether the server refused these.
    pub fn wanted(&self) -> bool {
        self.wanted.load(Relaxed)
    }

    /// Whether to ask for others after a refusal without a word: once for each pair of keys.
    pub(crate) fn suspect(&self) -> bool {
        !self.suspected.swap(true, Relaxed)
    }

    pub(crate) fn want(&self) {
        self.wanted.store(true, Relaxed);
    }

    pub(crate) fn keys(&self) -> Keys {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
