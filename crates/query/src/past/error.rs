//! What keeps the engine from knowing the rows.

/// An error of the engine; it never gives a wrong row instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Archive(#[from] archive::Error),

    /// A file does not have what the files before it make it have: a statement finds no row, or too many.
    #[error("{place}: {why}")]
    Contradiction {
        /// File and line.
        place: String,
        why: String,
    },

    /// Something the files say exactly only to a server: a value that it computes.
    #[error("{place}: {why}")]
    NotFollowed {
        /// File and line, and the statement's beginning.
        place: String,
        why: String,
    },

    /// What is asked for is not there.
    #[error("{0}")]
    NotThere(String),

    /// The temporary file, in which rows are that exceed the memory.
    #[error("could not use a temporary file in TMPDIR: {0}")]
    Spill(String),

    /// Of what is called for each row or change.
    #[error("{0}")]
    Stopped(#[from] Box<dyn std::error::Error + Send + Sync>),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What to do; empty if nothing in particular.
    pub fn hint(&self) -> &'static str {
        match self {
            Error::NotFollowed { .. } => {
                "A server can compute it: pg_incrbackup restore --table NAME with the same moment, into a scratch database."
            }
            Error::Contradiction { .. } | Error::Archive(archive::Error::Damaged { .. }) => {
                "pg_incrbackup verify says what of the archive is damaged; another copy of it may be sound."
            }
            Error::Spill(_) => "Set TMPDIR to a directory with more room.",
            Error::Archive(_) | Error::NotThere(_) | Error::Stopped(_) => "",
        }
    }
}

impl From<redb::Error> for Error {
    fn from(error: redb::Error) -> Error {
        Error::Spill(error.to_string())
    }
}
