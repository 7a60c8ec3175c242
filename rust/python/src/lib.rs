//! `vhpack._vhpack`: convert, detach, call, convert back.

mod archive;
mod call;
mod convert;
mod ending;
mod folder;
mod hash;
mod manifest;
mod report;
mod upload;
mod watch;

use pyo3::prelude::*;

/// The native module. Docstrings live in Python, once.
#[pymodule]
mod _vhpack {
    use std::collections::BTreeMap;

    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::archive::{Archive, ExtractReport, Member, MemberReader, VerifyReport};
    #[pymodule_export]
    use crate::call::{pack, plan};
    #[pymodule_export]
    use crate::ending::run_at_exit;
    #[pymodule_export]
    use crate::folder::{adopt, exchange, look_through, sync_system, write_file};
    #[pymodule_export]
    use crate::hash::{hash_both, hash_check, hash_paths};
    #[pymodule_export]
    use crate::manifest::{Manifest, ManifestMember};
    #[pymodule_export]
    use crate::report::{CheckReport, HashReport, PackReport, PlanReport, Progress};

    #[pymodule_export]
    use crate::upload::{Following, Upload, Uploader};
    #[pymodule_export]
    use crate::watch::Watcher;

    #[pyfunction]
    fn versions() -> BTreeMap<&'static str, &'static str> {
        let mut versions = BTreeMap::from(vhpack_core::versions());
        versions.insert("vhpack", env!("CARGO_PKG_VERSION"));
        versions
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
