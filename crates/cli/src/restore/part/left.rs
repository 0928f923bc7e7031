//! What a restore leaves on the server when something of it fails.

use crate::connection::Session;
use crate::error::{Error, Result};
use crate::restore::progress::Progress;
use crate::restore::target::roles::Made;
use crate::restore::target::scratch::Held;
use crate::restore::target::server::drop_statement;

/// The hint of an error that says neither that the part is there, nor that it is not.
pub const UNKNOWN: &str = "Whether the part is in the target is not known";

/// Ends the transaction in which a part is carried over.
pub async fn commit(target: &Session) -> Result<()> {
    let done = target.client.batch_execute("COMMIT").await;
    done.map_err(|error| {
        let is_answer = error.as_db_error().is_some();
        let error = Error::from(error);
        if is_answer {
            return error;
        }
        let message = format!("the connection was lost at the end of the transaction: {error}");
        let hint = format!("{UNKNOWN}: look before you restore it again.");
        error.with_message(message).with_hint(hint)
    })
}

/// The roles and tablespaces that a restore has made which could not begin ([`Made::ids`]).
pub async fn made_in(held: &Held) -> Vec<String> {
    // The error that counts is the first one.
    let progress = Progress::read(held.session()).await.ok().flatten();
    let made = progress.and_then(|progress| progress.kept::<Made>("made").ok());
    made.map(|made| made.ids).unwrap_or_default()
}

/// A warning about what is done all the same.
pub fn warning(what: &str, error: &Error) -> String {
    match error.hint() {
        "" => format!("{what}: {error}"),
        hint => format!("{what}: {error}. {hint}"),
    }
}

/// An error of a restore, with what is left of it. `kept`: roles and tablespaces.
pub fn behind(
    error: Error,
    scratch: &str,
    ended: &Result<()>,
    kept: &Result<Vec<String>>,
) -> Error {
    let mut left = Vec::new();
    if let Err(why) = ended {
        let drop = drop_statement(scratch);
        left.push(format!(
            "The scratch database \"{scratch}\" is left ({why}): {drop}"
        ));
    }
    match kept {
        Ok(kept) if kept.is_empty() => {}
        Ok(kept) => left.push(format!(
            "This restore has made, and leaves: {}.",
            kept.join(", ")
        )),
        Err(why) => left.push(format!("Roles that this restore made may be left ({why}).")),
    }
    if left.is_empty() {
        return error;
    }
    let hint = match error.hint() {
        "" => left.join(" "),
        hint => format!("{hint} {}", left.join(" ")),
    };
    error.with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_what_is_left() {
        let error = || Error::failed("no", "Try again.");
        let hint = |ended, kept| behind(error(), "s", &ended, &kept).hint().to_owned();
        assert_eq!(hint(Ok(()), Ok(Vec::new())), "Try again.");
        assert_eq!(
            hint(
                Err(Error::failed("in use", "")),
                Ok(vec!["role a NOLOGIN".to_owned()])
            ),
            "Try again. The scratch database \"s\" is left (in use): DROP DATABASE \"s\"; \
             This restore has made, and leaves: role a NOLOGIN."
        );
        assert!(hint(Ok(()), Err(error())).contains("may be left"));
    }
}
