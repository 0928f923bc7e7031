//! Foreign keys in the scratch database of a role that may not change catalogs: such a key is NOT VALID where rows of
//! other tables, which are not in the part, are missing. It is left out of the part, and no news.

use tokio_postgres::error::SqlState;

use super::missed::is_key_of_part;
use super::wanted::Wanted;
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::quote::shown;
use crate::restore::plan::Plan;
use crate::restore::rights::Rights;

/// Tells of a key that is not as at the source, unless it only is because rows of others are missing. (One that is there,
/// NOT VALID, is found when it is left out of the part.)
pub fn tell_of_key(
    part: Option<&Wanted>,
    rights: &Rights,
    (sql, is_there): (&[u8], bool),
    sentence: String,
) {
    if part.is_none_or(|part| is_key_of_part(part, sql)) {
        rights.note(sentence);
    } else if !is_there {
        rights.note_of_others(sql, sentence);
    }
}

/// Makes a foreign key that rows contradict for new rows only, so that later changes find it; false for other statements.
pub async fn key_without_rows(
    session: &Session,
    plan: &Plan,
    rights: &Rights,
    statement: &[u8],
) -> Result<bool> {
    let makes = |words: &[u8]| memchr::memmem::find(statement, words).is_some();
    if !makes(b" FOREIGN KEY ") || !makes(b" ADD CONSTRAINT ") {
        return Ok(false);
    }
    let Err(error) = session.attempt(statement).await else {
        return Ok(true);
    };
    let is_orphan = matches!(&error, Error::Server(error) if error.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION));
    if !is_orphan {
        return Ok(false);
    }
    let later = [statement, b" NOT VALID"].concat();
    // Of a partitioned table it cannot be, before 18.
    let is_there = session.attempt(&later).await.is_ok();
    let what = if is_there { "NOT VALID" } else { "not there" };
    let sentence = format!("a foreign key is {what}: {error}: {}", shown(statement));
    // One that is set aside is made again at the end.
    if !rights.is_no_replica() || !is_there {
        tell_of_key(plan.part.as_ref(), rights, (statement, is_there), sentence);
    }
    Ok(true)
}
