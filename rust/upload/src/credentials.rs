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
    Ok(Keys {
        id: one(["access_key_id", "aws_access_key_id"]).ok_or_else(missing)?,
        secret: one(["secret_access_key", "aws_secret_access_key"]).ok_or_else(missing)?,
        token: one(["session_token", "aws_session_token"]),
    })
}

impl Renewable {
    /// The first keys, named as the options of S3 are.
    pub fn new(options: &Options) -> Result<Self> {
        Ok(Self { keys: Mutex::new(read(options)?), wanted: AtomicBool::new(false) })
    }

    /// Newer keys.
    pub fn renew(&self, options: &Options) -> Result<()> {
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = read(options)?;
        self.wanted.store(false, Relaxed);
        Ok(())
    }

    /// Whether the server refused these.
    pub fn wanted(&self) -> bool {
        self.wanted.load(Relaxed)
    }

    pub(crate) fn want(&self) {
        self.wanted.store(true, Relaxed);
    }

    pub(crate) fn keys(&self) -> Keys {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
