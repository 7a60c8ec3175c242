//! Manifests: whatever is read is no more than what was there, and whole where no error says otherwise.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use vhpack_core::ErrorKind;
use vhpack_core::read::Manifest;

fuzz_target!(|bytes: &[u8]| {
    let refused = |error: vhpack_core::Error| {
        assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{error}");
    };
    let mut manifest = match Manifest::from_source(Path::new("fuzzed"), Box::new(bytes.to_vec())) {
        Ok(manifest) => manifest,
        Err(error) => return refused(error),
    };
    let promised = manifest.head().members;
    let (mut count, mut names) = (0, 0);
    for member in manifest.by_ref() {
        match member {
            // A character escaped is longer than it is; one that is not is as long.
            Ok(member) => (count, names) = (count + 1, names + member.name.len()),
            Err(error) => {
                refused(error);
                assert!(manifest.next().is_none());
                return;
            }
        }
    }
    assert!(count == promised && names <= bytes.len());
});
