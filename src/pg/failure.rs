//! An error with its SQLSTATE, detail and hint as a value: caught from PostgreSQL, or to be raised.
//!
//! Features return it, workers put it on the status board, SQL functions raise it.

use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;

use crate::pg::server::{signals, title};

/// A failure as the user will see it. The message is lower case without full stop, the hint a sentence.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub code: PgSqlErrorCode,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl Failure {
    pub fn new(code: PgSqlErrorCode, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Failure {
        self.detail = Some(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Raises it as an error of PostgreSQL.
    pub fn raise(self) -> ! {
        self.report(PgLogLevel::ERROR);
        unreachable!("an error report of level ERROR does not return")
    }

    /// Reports it at a level that does not abort the transaction. In a worker the message begins with its title.
    pub fn log(mut self, level: PgLogLevel) {
        if title::is_worker() {
            let message = self.message.strip_prefix("pg_incrbackup: ");
            self.message = format!("{}: {}", title::own(), message.unwrap_or(&self.message));
        }
        self.report(level);
    }

    /// The same in the launcher, about one of the databases.
    pub fn log_of(mut self, database: pg_sys::Oid, level: PgLogLevel) {
        let database = title::shown(database);
        self.message = format!("pg_incrbackup: {database}: {}", self.message);
        self.report(level);
    }

    /// Message and detail on one line.
    pub fn in_full(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{} ({})", self.message, detail.replace('\n', "; ")),
            None => self.message.clone(),
        }
    }

    fn report(self, level: PgLogLevel) {
        let mut report = ErrorReport::new(self.code, self.message, "pg_incrbackup");
        if let Some(detail) = self.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = self.hint {
            report = report.set_hint(hint);
        }
        match level {
            PgLogLevel::ERROR | PgLogLevel::FATAL | PgLogLevel::PANIC => report.report(level),
            _ => signals::telling(|| report.report(level)),
        }
    }
}

/// Keeps Rust's backtrace out of what users see. pgrx captures one whenever an error of PostgreSQL (a cancelled
/// statement, say) passes through Rust code, if the server's environment has RUST_BACKTRACE, and adds it to the error's
/// DETAIL. Only a panic of Rust code itself, a bug, keeps its place and its backtrace. Once, when the library is loaded.
pub fn hide_backtraces() {
    let of_pgrx = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        if payload.is::<&str>() || payload.is::<String>() {
            of_pgrx(info);
        }
    }));
}

impl From<CaughtError> for Failure {
    fn from(caught: CaughtError) -> Self {
        let (CaughtError::PostgresError(report)
        | CaughtError::ErrorReport(report)
        | CaughtError::RustPanic {
            ereport: report, ..
        }) = caught;
        Failure {
            code: report.sql_error_code(),
            message: report.message().to_string(),
            detail: report.detail().map(str::to_string),
            hint: report.hint().map(str::to_string),
        }
    }
}

/// SQLSTATE of an error of the archive.
pub fn code_of(error: &archive::Error) -> PgSqlErrorCode {
    use archive::Error::*;
    match error {
        _ if error.is_no_space() => PgSqlErrorCode::ERRCODE_DISK_FULL,
        _ if error.is_permission_denied() => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        InUse { .. } => PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
        TooManyChanges { .. } => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        NotOwner { .. } | OwnerIsAlive { .. } | NoOwner { .. } | LostHold { .. } => {
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
        }
        _ => PgSqlErrorCode::ERRCODE_IO_ERROR,
    }
}

impl From<archive::Error> for Failure {
    fn from(error: archive::Error) -> Self {
        let failure = Failure::new(code_of(&error), error.to_string());
        match error {
            archive::Error::InUse { .. } => {
                failure.hint("Try again later.")
            }
            archive::Error::TooManyChanges { .. } => {
                failure.hint("Narrow the time range with since and until.")
            }
            archive::Error::Directory(error) => failure.hint(error.hint()),
            archive::Error::NotOwner { .. } => failure.hint(
                "Use a different pg_incrbackup.directory for this server. Only if the other server will never \
                 write there again, run SELECT * FROM incr_setup(take_over => true).",
            ),
            archive::Error::OwnerIsAlive { .. } => failure.hint(
                "Only one server writes to an archive at a time: stop that server first, or run \
                 incr_teardown() there.",
            ),
            archive::Error::LostHold { .. } => failure.hint(
                "Nothing that this server has not made durable before counts, and nothing was confirmed to its slot. If it is \
                 to be a standby, let it follow the other server.",
            ),
            archive::Error::NoOwner { .. } => failure.hint(
                "Start the server that wrote it. If that server no longer exists, run SELECT * FROM \
                 incr_setup(take_over => true).",
            ),
            _ => failure,
        }
    }
}

impl From<archive::DirectoryError> for Failure {
    fn from(error: archive::DirectoryError) -> Self {
        let code = PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR;
        Failure::new(code, error.to_string()).hint(error.hint())
    }
}

impl From<pgrx::spi::Error> for Failure {
    fn from(error: pgrx::spi::Error) -> Self {
        Failure::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, error.to_string())
    }
}
