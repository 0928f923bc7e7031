//! Errors, and the exit status of each.

use std::process::ExitCode;

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
            Error::Archive(_) | Error::Failed { .. } | Error::Server(_) => Outcome::Failed,
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
            | Error::Failed { hint, .. } => hint,
            Error::Archive(archive::Error::Damaged { .. }) => {
                "Take the file from another copy of the archive; pg_incrbackup verify says what it costs."
            }
            Error::Archive(_) => "",
            Error::Server(error) => error.as_db_error().and_then(|e| e.hint()).unwrap_or(""),
        }
    }
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
