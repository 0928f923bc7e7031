//! Errors, and the exit status of each.

use std::process::ExitCode;

use archive::sqlstate;
use tokio_postgres::error::Severity;

pub type Result<T> = std::result::Result<T, Error>;

/// How the program ends. Of several, the last one in this order counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Done,
    /// Failed, or incomplete.
    Failed,
    WrongUse,
    NoSuchMoment,
    Damaged,
}

impl Outcome {
    /// Of an error.
    pub fn of(error: &Error) -> Outcome {
        match error {
            Error::WrongUse { .. } => Outcome::WrongUse,
            Error::NoSuchMoment { .. } => Outcome::NoSuchMoment,
            Error::Archive(archive::Error::Damaged { .. }) | Error::Damaged { .. } => {
                Outcome::Damaged
            }
            Error::Archive(_)
            | Error::Closed
            | Error::Failed { .. }
            | Error::Unavailable { .. }
            | Error::Server(_) => Outcome::Failed,
        }
    }

    /// Of what was made, completely or not.
    pub fn partial(is_partial: bool) -> Outcome {
        if is_partial {
            Outcome::Failed
        } else {
            Outcome::Done
        }
    }

    /// As the README and `--help` list them.
    pub fn status(self) -> ExitCode {
        ExitCode::from(match self {
            Outcome::Done => 0,
            Outcome::Failed => 1,
            Outcome::WrongUse => 2,
            Outcome::NoSuchMoment => 3,
            Outcome::Damaged => 4,
        })
    }
}

/// What went wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{message}")]
    WrongUse { message: String, hint: String },

    #[error("{message}")]
    NoSuchMoment { message: String, hint: String },

    /// The archive contradicts itself.
    #[error("{message}")]
    Damaged { message: String, hint: String },

    #[error("{message}")]
    Failed { message: String, hint: String },

    /// A server is gone, or out of what it needs: this says nothing about the archive.
    #[error("{message}")]
    Unavailable { message: String, hint: String },

    /// Whoever read the output has closed it: nobody is told.
    #[error("the output is closed")]
    Closed,

    #[error(transparent)]
    Archive(#[from] archive::Error),

    /// A server refused, or is gone.
    #[error("{}", in_words(.0))]
    Server(#[from] tokio_postgres::Error),
}

impl Error {
    pub fn wrong_use(message: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::WrongUse {
            message: message.into(),
            hint: hint.into(),
        }
    }

    pub fn no_such_moment(message: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::NoSuchMoment {
            message: message.into(),
            hint: hint.into(),
        }
    }

    pub fn damaged(message: impl Into<String>) -> Error {
        Error::Damaged {
            message: message.into(),
            hint: "Take the file from another copy of the archive; pg_incrbackup verify says what it costs.".to_owned(),
        }
    }

    pub fn failed(message: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::Failed {
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// The same, with another hint.
    pub fn with_hint(self, hint: String) -> Error {
        let message = self.to_string();
        self.worded(message, hint)
    }

    /// The same of a server or whatever refused, with more words: where, and at what.
    pub fn with_message(self, message: String) -> Error {
        let hint = self.hint().to_owned();
        self.worded(message, hint)
    }

    /// Whether a server is gone, or out of what it needs.
    pub fn is_of_server(&self) -> bool {
        match self {
            Error::Unavailable { .. } => true,
            Error::Server(error) => is_unavailable(error),
            _ => false,
        }
    }

    fn worded(self, message: String, hint: String) -> Error {
        if self.is_of_server() {
            return Error::Unavailable { message, hint };
        }
        match Outcome::of(&self) {
            Outcome::WrongUse => Error::WrongUse { message, hint },
            Outcome::NoSuchMoment => Error::NoSuchMoment { message, hint },
            Outcome::Damaged => Error::Damaged { message, hint },
            Outcome::Done | Outcome::Failed => Error::Failed { message, hint },
        }
    }

    /// What to do; empty if nothing in particular.
    pub fn hint(&self) -> &str {
        match self {
            Error::WrongUse { hint, .. }
            | Error::NoSuchMoment { hint, .. }
            | Error::Damaged { hint, .. }
            | Error::Failed { hint, .. }
            | Error::Unavailable { hint, .. } => hint,
            Error::Archive(archive::Error::Damaged { .. }) => {
                "Take the file from another copy of the archive; pg_incrbackup verify says what it costs."
            }
            Error::Archive(_) | Error::Closed => "",
            Error::Server(error) => error.as_db_error().and_then(|e| e.hint()).unwrap_or(""),
        }
    }
}

/// Whether it is not about what was executed: the connection, resources, an operator who intervenes, the system. FATAL
/// ends the session, whatever it is.
fn is_unavailable(error: &tokio_postgres::Error) -> bool {
    let Some(said) = error.as_db_error() else {
        return error.is_closed() || is_io(error);
    };
    sqlstate::is_unavailable(said.code().code())
        || matches!(
            said.parsed_severity(),
            Some(Severity::Fatal | Severity::Panic)
        )
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    let source = std::error::Error::source(error);
    let error = source.and_then(|source| source.downcast_ref::<std::io::Error>());
    error.is_some_and(is_of_system)
}

/// What cannot be put into a message, a zero byte in a statement or more than its length can say, is invalid input.
fn is_of_system(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, InvalidInput};
    !matches!(error.kind(), InvalidInput | InvalidData)
}

/// As psql words an error of the server.
fn in_words(error: &tokio_postgres::Error) -> String {
    let Some(said) = error.as_db_error() else {
        let cause = std::error::Error::source(error);
        return cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    };
    let mut text = format!("{} (SQLSTATE {})", said.message(), said.code().code());
    for more in [said.detail(), said.where_()].into_iter().flatten() {
        text.push_str(&format!("\n    {}", more.replace('\n', "\n    ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_stays_of_its_kind_however_it_is_worded() {
        let gone = Error::Unavailable {
            message: "closed".into(),
            hint: String::new(),
        };
        let told = gone
            .with_message("a:7: closed".into())
            .with_hint("x".into());
        assert!(told.is_of_server() && told.to_string() == "a:7: closed");
        let damaged = Error::damaged("a").with_message("b".into());
        assert_eq!(Outcome::of(&damaged), Outcome::Damaged);
        assert!(!damaged.is_of_server());
        assert!(!Error::failed("a", "").with_hint("b".into()).is_of_server());
    }

    #[test]
    fn a_message_that_cannot_be_made_is_no_connection_that_is_gone() {
        use std::io::ErrorKind::{BrokenPipe, InvalidInput};
        assert!(is_of_system(&BrokenPipe.into()));
        assert!(!is_of_system(&InvalidInput.into()));
    }
}
