//! incr_mark(): a name for a point of time, written into the transaction that calls it.
//!
//! A row of ddl_history carries it, so that it has its place between the changes of the transaction, is undone with a
//! savepoint, and passes every output plugin and both readers.

use archive::escape::percent_encode;
use pgrx::prelude::*;

use super::ddl_history::{Object, Record, WrittenRow};
use crate::output_plugin::ddl_history::MARK;
use crate::pg::ddl;
use crate::pg::failure::Failure;
use crate::pg::text::ServerText;

/// Maximum length of a name in bytes of UTF-8: percent-encoded, it fits into a structural comment.
const LONGEST: usize = 1000;

/// Writes the mark. 22023 if the name is empty, too long, or has control characters; 42704 if the extension's table is
/// missing.
pub fn write(name: &ServerText) -> Result<(), Failure> {
    let text = name.to_utf8();
    ensure_name(&text)?;
    let history = ddl::ddl_history::find().ok_or_else(|| {
        let code = PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT;
        Failure::new(
            code,
            "the table ddl_history of pg_incrbackup does not exist",
        )
        .hint("DROP EXTENSION pg_incrbackup, and create it again.")
    })?;
    let encoded = percent_encode(text.as_bytes()).into_bytes();
    let record = Record::note(MARK, name.0.clone(), encoded);
    let object = Object {
        object_type: b"mark".to_vec(),
        identity: name.0.clone(),
    };
    WrittenRow::insert(history, record, Some(object));
    Ok(())
}

fn ensure_name(name: &str) -> Result<(), Failure> {
    let wrong = |why: String| {
        let code = PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE;
        Err(Failure::new(code, why).hint("For example: SELECT incr_mark('before release 42')."))
    };
    if name.trim().is_empty() {
        return wrong("the name of a mark must not be empty".to_owned());
    }
    if name.len() > LONGEST {
        return wrong(format!(
            "the name of a mark must not be longer than {LONGEST} bytes"
        ));
    }
    if name.chars().any(char::is_control) {
        return wrong("the name of a mark must not contain control characters".to_owned());
    }
    Ok(())
}
