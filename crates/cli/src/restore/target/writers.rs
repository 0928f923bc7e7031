//! A copy that is followed is read by others, and written to by nobody else: new transactions of its database are read-only
//! unless a session asks for something else. What the source has set is noted, and in force again in the end.

use crate::connection::Session;
use crate::error::Result;
use crate::restore::progress::sql::keep;

use super::database::alter;

/// The name of what is noted.
const NOTED: &str = "read_only";

const SETTING: &str = "SELECT pg_catalog.split_part(item, '=', 2) \
    FROM pg_catalog.pg_db_role_setting AS s JOIN pg_catalog.pg_database AS d ON d.oid = setdatabase, \
        pg_catalog.unnest(setconfig) AS item \
    WHERE datname = pg_catalog.current_database() AND setrole = 0 AND item LIKE 'default\\_transaction\\_read\\_only=%'";

/// Within a transaction, after the database has got the properties of the source.
pub async fn keep_out(session: &Session) -> Result<()> {
    let rows = session.client.query_typed(SETTING, &[]).await?;
    let was: Option<String> = rows.first().map(|row| row.get(0));
    alter(session, "SET default_transaction_read_only = on").await?;
    Ok(session.client.batch_execute(&keep(NOTED, &was)).await?)
}

/// As the source has it. `was` is what the progress has under the name that [`noted`] gives.
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

/// The name of what [`keep_out`] notes.
pub fn noted() -> &'static str {
    NOTED
}
