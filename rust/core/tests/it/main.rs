//! One integration binary, a file per subject.

#![expect(clippy::disallowed_methods, reason = "tests prepare and look at files themselves")]

mod pack;
