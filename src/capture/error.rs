//! Why a capture worker stopped.
//!
//! What follows is decided by the kind, never by the words: [`CaptureError::Broken`] ends the chain,
//! [`CaptureError::Shutdown`] is no error, and everything else is retried. Every kind has its SQLSTATE, which is on
//! the status board and in the log.

use std::cell::RefCell;
use std::io;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

use crate::pg::failure::{code_of, Failure};

/// An error of the capture layer. PostgreSQL's own errors are raised as panics, and [`caught`] gives them their kind.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error(transparent)]
    Archive(#[from] archive::Error),

    #[error(transparent)]
    Frame(#[from] crate::output_plugin::frame::UnknownFrame),

    #[error("could not read the slot: {0}")]
    Spi(#[from] pgrx::spi::Error),

    /// PostgreSQL raised it: a query, logical decoding or an output plugin.
    #[error("{}", .0.in_full())]
    Server(Failure),

    /// An output plugin other than ours sent something else than expected.
    #[error("could not parse the output plugin's {0}")]
    Plugin(&'static str),

    /// The operating system, outside of the archive's files.
    #[error("could not {action}: {source}")]
    System {
        action: &'static str,
        source: io::Error,
    },

    /// The chain has a gap or an end; a new one is needed.
    #[error("{0}")]
    Broken(String),

    /// The settings, or the state of the archive, prevent it from running.
    #[error("{}", .0.in_full())]
    Off(Failure),

    /// The worker was told to exit.
    #[error("shutdown requested")]
    Shutdown,
}

pub type Result<T> = std::result::Result<T, CaptureError>;

impl CaptureError {
    /// [`CaptureError::Off`] for a reason that has no SQLSTATE of its own.
    pub fn off(reason: impl Into<String>) -> CaptureError {
        let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
        CaptureError::Off(Failure::new(code, reason))
    }

    /// [`CaptureError::System`] for use in `map_err`.
    pub fn system(action: &'static str) -> impl FnOnce(io::Error) -> CaptureError {
        move |source| CaptureError::System { action, source }
    }

    pub fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Archive(error) => code_of(error),
            Self::Frame(_) | Self::Plugin(_) => PgSqlErrorCode::ERRCODE_DATA_EXCEPTION,
            Self::Spi(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            Self::Server(failure) | Self::Off(failure) => failure.code,
            Self::System { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                PgSqlErrorCode::ERRCODE_DISK_FULL
            }
            Self::System { .. } => PgSqlErrorCode::ERRCODE_IO_ERROR,
            Self::Broken(_) => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::Shutdown => PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN,
        }
    }
}

thread_local! {
    /// An error of ours that is passing through PostgreSQL's code.
    static PASSING: RefCell<Option<CaptureError>> = const { RefCell::new(None) };
}

/// For an error in a callback of logical decoding: what is to be raised there, so that PostgreSQL's code ends.
/// [`caught`] restores the error itself.
pub fn through_server(error: CaptureError) -> Failure {
    let failure = Failure::new(error.code(), error.to_string());
    PASSING.set(Some(error));
    failure
}

/// The kind of what ended the worker's work.
pub fn caught(error: CaughtError) -> CaptureError {
    let passing = PASSING.take();
    passing.unwrap_or_else(|| CaptureError::Server(Failure::from(error)))
}
