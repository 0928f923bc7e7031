//! Where the files of a database's archive are read from: a directory, a running server, later an object store.
//!
//! Readers that are not on the server (the program `pg_incrbackup`) see an archive only through [`Storage`], so they
//! work alike wherever it is. A file is named by its path below the database's directory, with `/`:
//! `chain-1/manifest.jsonl`.

mod directory;

use std::io::{self, Read};

pub(crate) use directory::open_below;
pub use directory::Directory;

use crate::error::Result;
use crate::lock::Lock;
use crate::pause::Pause;

/// The files of one database's archive. Files may be added, closed (renamed), compressed and removed while they are read.
pub trait Storage: Send + Sync {
    /// The contents of a directory (`""` for that of the database), sorted by name; empty if it does not exist.
    fn list(&self, directory: &str) -> Result<Vec<Item>>;

    /// The bytes of a file from `offset` on; `None` if it does not exist.
    fn open(&self, file: &str, offset: u64) -> Result<Option<Box<dyn Read + Send>>>;

    /// The size of a file in bytes; `None` if it does not exist.
    fn size(&self, file: &str) -> Result<Option<u64>>;

    /// While it lives, retention removes nothing, where that can be arranged.
    fn hold(&self) -> Result<Option<Lock>> {
        Ok(None)
    }

    /// A whole file to which processes append under a lock, while none of them does; `None` if it does not exist. `pause` is
    /// called while waiting. A storage without locks reads it as it is.
    fn read_at_rest(&self, file: &str, _pause: Pause) -> Result<Option<Vec<u8>>> {
        match self.open(file, 0)? {
            None => Ok(None),
            Some(mut input) => {
                let mut bytes = Vec::new();
                match input.read_to_end(&mut bytes) {
                    Ok(_) => Ok(Some(bytes)),
                    Err(source) => Err(crate::Error::Io {
                        action: "read",
                        path: self.place(file).into(),
                        source,
                    }),
                }
            }
        }
    }

    /// A file, or the whole (`""`), as a person calls it.
    fn place(&self, file: &str) -> String;
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub name: String,
    pub is_directory: bool,
    /// In bytes; 0 for a directory.
    pub size: u64,
}

/// A whole file in memory; `None` if it does not exist. For the small ones: manifests, metadata, scripts.
pub fn read(storage: &dyn Storage, file: &str) -> Result<Option<Vec<u8>>> {
    let Some(mut input) = storage.open(file, 0)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    let read = input.read_to_end(&mut bytes);
    read.map_err(failed("read", storage, file))?;
    Ok(Some(bytes))
}

/// Adds the file and the action to an error of the operating system, or of a connection; what cannot be decompressed is
/// damaged.
pub fn failed<'a>(
    action: &'static str,
    storage: &'a dyn Storage,
    file: &'a str,
) -> impl FnOnce(io::Error) -> crate::Error + 'a {
    move |source| {
        let path = storage.place(file).into();
        match source.kind() {
            // Of a decoder, for bytes that no encoder has written.
            io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::UnexpectedEof => crate::Error::Damaged {
                path,
                offset: 0,
                why: source.to_string(),
            },
            _ => crate::Error::Io {
                action,
                path,
                source,
            },
        }
    }
}
