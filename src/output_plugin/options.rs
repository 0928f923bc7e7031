//! The plugin's options: two of decoder_raw, and three for our own workers.

use pgrx::prelude::*;

use crate::pg::failure::Failure;

/// The options of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// BEGIN and COMMIT as separate rows.
    pub include_transaction: bool,
    /// Output is frames (`frame.rs`) for a capture worker.
    pub framing: bool,
    /// With framing: number of rows after which a run of INSERTs is written as COPY; 0: never.
    pub copy_threshold: u32,
    pub is_binary: bool,
    /// With framing: an UPDATE that does not have them shows the old values of what it changed, as a comment.
    pub old_values: bool,
    /// The database's encoding is UTF-8. Not an option; set by the session.
    pub is_utf8: bool,
}

impl Options {
    /// Parses `name = value` pairs; a boolean option without a value is on.
    pub fn parse(pairs: &[(String, Option<String>)]) -> Result<Self, Failure> {
        let mut options = Self::default();
        for (name, value) in pairs {
            let value = value.as_deref();
            match name.as_str() {
                "include_transaction" => options.include_transaction = switch(name, value)?,
                "framing" => options.framing = switch(name, value)?,
                "old_values" => options.old_values = switch(name, value)?,
                "copy_threshold" => {
                    let number = value.and_then(|value| value.parse().ok());
                    options.copy_threshold = number.ok_or_else(|| invalid(name, value))?;
                }
                "output_format" => match value {
                    Some("textual") => options.is_binary = false,
                    Some("binary") => options.is_binary = true,
                    _ => return Err(invalid(name, value)),
                },
                _ => return Err(unknown(name)),
            }
        }
        Ok(options)
    }
}

fn switch(name: &str, value: Option<&str>) -> Result<bool, Failure> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("on" | "true" | "yes" | "t" | "y" | "1") => Ok(true),
        Some("off" | "false" | "no" | "f" | "n" | "0") => Ok(false),
        Some(_) => Err(invalid(name, value)),
    }
}

fn invalid(name: &str, value: Option<&str>) -> Failure {
    let value = value.unwrap_or_default();
    Failure::new(
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("invalid value \"{value}\" for option \"{name}\" of output plugin pg_incrbackup"),
    )
    .hint(
        "Boolean options take on or off, output_format takes textual or binary, copy_threshold a number.",
    )
}

fn unknown(name: &str) -> Failure {
    Failure::new(
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("option \"{name}\" of output plugin pg_incrbackup is unknown"),
    )
    .hint("Valid options are include_transaction, output_format, framing, copy_threshold and old_values.")
}
