//! What a DBA gets wrong when naming the archive's directory: each has its own variant, so that a
//! function, the log and the health report can say the same thing with the same hint.

use std::io;
use std::path::{Path, PathBuf};

/// Why a directory can't be the root of an archive.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("archive directory \"{}\" is not an absolute path", .0.display())]
    NotAbsolute(PathBuf),
    #[error("could not create archive directory \"{}\": its parent directory does not exist", .0.display())]
    MissingParent(PathBuf),
    #[error("archive directory \"{}\" is a symbolic link", .0.display())]
    Symlink(PathBuf),
    #[error("archive directory \"{}\" is not a directory", .0.display())]
    NotADirectory(PathBuf),
    #[error("archive directory \"{}\" is inside the data directory", .0.display())]
    InsideDataDirectory(PathBuf),
    #[error("archive directory \"{}\" contains the data directory", .0.display())]
    ContainsDataDirectory(PathBuf),
    #[error("archive directory \"{}\" belongs to user id {owner}, not to {expected}", path.display())]
    WrongOwner {
        path: PathBuf,
        owner: u32,
        expected: u32,
    },
    #[error("archive directory \"{}\" is open to other users (mode {mode:04o})", path.display())]
    WrongMode { path: PathBuf, mode: u32 },
    #[error("archive directory \"{}\" is not writable", .0.display())]
    NotWritable(PathBuf),
    #[error("could not {action} archive directory \"{}\": {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl DirectoryError {
    /// What the DBA can do about it: a sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotAbsolute(_) => "Use an absolute path.",
            Self::MissingParent(_) => "Create the parent directory, or mount its file system.",
            Self::Symlink(_) => "Use the directory that the link points to.",
            Self::NotADirectory(_) => "Use a directory, or a path that does not exist yet.",
            Self::InsideDataDirectory(_) | Self::ContainsDataDirectory(_) => {
                "Choose a directory outside the data directory, preferably on another disk."
            }
            Self::WrongOwner { .. } => {
                "Give the directory to the operating system user that runs the server."
            }
            Self::WrongMode { .. } => {
                "Check whether anybody has changed its files, then run chmod 0700 on it."
            }
            Self::NotWritable(_) => {
                "The operating system user that runs the server must be able to write there."
            }
            Self::Io { .. } => "See the operating system's message for the cause.",
        }
    }

    pub(crate) fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }

    pub(crate) fn io<'a>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
