//! A copy that is followed is read by others, and written to by nobody else: new transactions of its database are read-only
//! unless a session asks for something else. What the source has set is noted, and in force again in the end.

use crate::connection::Session;
use crate::error::Result;
use crate::restore::progress::{sql, Progress};

use super::database::alter;
use super::statements::Words;

/// The name of what is noted.
const NOTED: &str = "read_only";

const KEEP_OUT: &str = "SET default_transaction_read_only = on";

const SETTING: &str = "SELECT pg_catalog.split_part(item, '=', 2) \
    FROM pg_catalog.pg_db_role_setting AS s JOIN pg_catalog.pg_database AS d ON d.oid = setdatabase, \
        pg_catalog.unnest(setconfig) AS item \
    WHERE datname = pg_catalog.current_database() AND setrole = 0 AND item LIKE 'default\\_transaction\\_read\\_only=%'";

/// What a statement of database.sql, with the name of the database, sets it to at the source.
pub fn setting_of(statement: &[u8]) -> Option<String> {
    let mut words = Words(statement);
    let is_it = words.eat("ALTER DATABASE ")
        && words.name().is_some()
        && words.eat(" SET default_transaction_read_only TO ");
    let value = is_it.then(|| String::from_utf8_lossy(words.0))?;
    Some(value.trim_matches('\'').to_owned())
}

/// Within a transaction, after the database has got the properties of the source. `source`: what that has set, or that it has
/// set nothing; `None`, too, if this is not known: then what the database has is noted, unless something is.
pub async fn keep_out(session: &Session, source: Option<Option<String>>) -> Result<()> {
    let note = match &source {
        Some(set) => sql::keep(NOTED, set),
        None => sql::keep_first(NOTED, &setting(session).await?),
    };
    alter(session, KEEP_OUT).await?;
    Ok(session.client.batch_execute(&note).await?)
}

/// The same where a copy is taken up, if somebody has let writers in.
pub async fn keep_out_again(session: &Session) -> Result<()> {
    if setting(session).await?.as_deref() == Some("on") {
        return Ok(());
    }
    session.client.batch_execute("BEGIN").await?;
    keep_out(session, None).await?;
    Ok(session.client.batch_execute("COMMIT").await?)
}

/// What the database has now.
async fn setting(session: &Session) -> Result<Option<String>> {
    let rows = session.client.query_typed(SETTING, &[]).await?;
    Ok(rows.first().map(|row| row.get(0)))
}

/// What is noted.
pub async fn noted(session: &Session) -> Result<Option<String>> {
    match Progress::read(session).await? {
        Some(progress) => progress.kept(NOTED),
        None => Ok(None),
    }
}

/// As the source has it. `was` is what [`noted`] gives.
pub async fn let_in(session: &Session, was: Option<&str>) -> Result<()> {
    match was {
        // Whatever it is, it was a value of the setting.
        Some(was) if was.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            let set = format!("SET default_transaction_read_only = '{was}'");
            alter(session, &set).await
        }
        _ => alter(session, "RESET default_transaction_read_only").await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_setting_of_the_database_is_the_databases() {
        let of = |text: &str| setting_of(text.as_bytes());
        let set = "ALTER DATABASE \"a \"\"b\" SET default_transaction_read_only TO 'on'";
        assert_eq!(of(set).as_deref(), Some("on"));
        for other in [
            "ALTER DATABASE \"a\" SET default_transaction_deferrable TO 'on'",
            "ALTER ROLE a IN DATABASE \"a\" SET default_transaction_read_only TO 'on'",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
