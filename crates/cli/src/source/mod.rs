//! Finds the archive that the command line names.

pub mod counted;
mod server;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::escape::percent_encode_name;
use archive::storage::{Directory, Storage};

use crate::args::Archive;
use crate::error::{Error, Result};
use server::Server;

/// A database's archive.
#[derive(Clone)]
pub struct Source {
    /// As its directory is called, or the database of the server.
    pub name: String,
    pub storage: Arc<dyn Storage>,
    /// Where it is, if it is on this machine.
    pub directory: Option<PathBuf>,
}

/// The archives that are meant: one, or all below a root.
pub fn all(archive: &Archive) -> Result<Vec<Source>> {
    if let Some(conninfo) = &archive.from {
        let (name, server) = Server::connect(conninfo)?;
        let storage = Arc::new(server);
        return Ok(vec![Source {
            name,
            storage,
            directory: None,
        }]);
    }
    let directory = archive.archive.as_ref().expect("clap requires one of them");
    ensure_readable(directory)?;
    if let Some(name) = &archive.database {
        let below = directory.join(percent_encode_name(name));
        if !is_database(&below) {
            let message = format!("\"{}\" is not the directory of a database", below.display());
            let hint = "pg_incrbackup info --archive, without --database, lists those there are.";
            return Err(Error::wrong_use(message, hint));
        }
        return Ok(vec![at(&below)]);
    }
    if is_database(directory) {
        return Ok(vec![at(directory)]);
    }
    let names = archive::durable::names_in(directory)?;
    let mut found: Vec<Source> = names
        .iter()
        .map(|name| directory.join(name))
        .filter(|path| is_database(path))
        .map(|path| at(&path))
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    if found.is_empty() {
        let message = format!("\"{}\" holds no archive", directory.display());
        let hint = "--archive takes pg_incrbackup.directory, a database's directory in it, or a copy of either.";
        return Err(Error::failed(message, hint));
    }
    Ok(found)
}

/// Fails unless it is a directory that this user may read: an archive is its server's alone (mode 0700), and seen by
/// another user it must not look as if it were not there.
fn ensure_readable(directory: &Path) -> Result<()> {
    let Err(error) = std::fs::read_dir(directory) else {
        return Ok(());
    };
    let shown = directory.display();
    match error.kind() {
        ErrorKind::PermissionDenied => Err(Error::failed(
            format!("could not read directory \"{shown}\": permission denied"),
            "Only the server's user can read an archive: run this as that user (sudo -u postgres), or with a copy of the files.",
        )),
        ErrorKind::NotFound | ErrorKind::NotADirectory => Err(Error::failed(
            format!("there is no directory \"{shown}\""),
            "--archive takes pg_incrbackup.directory, a database's directory in it, or a copy of either.",
        )),
        // Something of the disk, say: the error of whoever reads it says what.
        _ => Ok(()),
    }
}

/// A database's directory has a chain.
fn is_database(path: &Path) -> bool {
    let is_chain = |name: &String| archive::layout::names::parse_chain_name(name).is_some();
    path.is_dir() && archive::durable::names_in(path).is_ok_and(|names| names.iter().any(is_chain))
}

fn at(path: &Path) -> Source {
    // A link to it is fine; below it none is followed.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let encoded = path.file_name().unwrap_or_default().to_string_lossy();
    let decoded = archive::escape::percent_decode(encoded.as_bytes()).unwrap_or_default();
    Source {
        name: String::from_utf8(decoded).unwrap_or_else(|_| encoded.into_owned()),
        storage: Arc::new(Directory::at(path)),
        directory: Some(path.to_owned()),
    }
}

/// The one archive that is meant.
pub fn one(archive: &Archive) -> Result<Source> {
    let mut found = all(archive)?;
    if found.len() > 1 {
        let names: Vec<&str> = found.iter().map(|source| source.name.as_str()).collect();
        let message = format!("there are several databases: {}", names.join(", "));
        return Err(Error::wrong_use(
            message,
            "Choose one with --database NAME.",
        ));
    }
    found
        .pop()
        .ok_or_else(|| Error::failed("there is no archive", ""))
}
