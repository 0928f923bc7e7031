//! Whether a base, or a set of globals, is as its checksums and its line in the manifest say.

use std::thread::ScopedJoinHandle;

use archive::manifest::Entry;
use archive::storage::Storage;
use archive::verify::Sealed;

use crate::error::{Error, Result};

/// Its size in bytes. Every file must be as its list of checksums says, and the list as the manifest says.
pub fn ensure_sealed(
    storage: &dyn Storage,
    directory: &str,
    sealed: Sealed,
    listed: Option<&Entry>,
) -> Result<u64> {
    let damaged = |file: &str, why: &str| {
        let place = storage.place(&format!("{directory}/{file}"));
        Err(Error::damaged(format!("\"{place}\" is damaged: {why}")))
    };
    if let Some((file, why)) = sealed.problems.first() {
        return damaged(file, why);
    }
    let Some(entry) = sealed.entry else {
        return damaged("", "its files do not tell what it is");
    };
    if listed.is_some_and(|listed| listed.sha256 != entry.sha256) {
        return damaged("SHA256SUMS", "its checksum does not match the manifest");
    }
    Ok(entry.bytes)
}

/// What a thread has found; its panic goes on here.
pub fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
