//! The tables of a restore's progress, and all statements on them.
//!
//! `progress` has one row, which each transaction changes; `state` has what changes seldom, `counts` the rows of tables by
//! their OIDs and by the session that made them. `pieces` are entries of the base that were done before their turn, and
//! `lanes` how far each lane is. All have a primary key: under a publication of all tables, an UPDATE would be refused
//! without.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Place, Progress, Stage, FORMAT};
use crate::quote::{identifier, literal};

/// Their schema. The restored database does not have it.
pub const SCHEMA: &str = "incr_restore";

/// The connection limit with which a database is created, until its tables say who has begun it: a mark that exists as
/// soon as the database does. Superusers are not limited by it.
pub const BEGUN: i32 = 2_147_480_016;

/// A row if there is something of their name: whether it is all ours. Nothing that somebody else has made there is read: a
/// view or a trigger would run as whoever restores.
pub const IS_THERE: &str =
    "SELECT bool_and(relkind IN ('r', 'i', 't') AND relowner = me AND nspowner = me) \
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = relnamespace, \
        (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user) AS i (me) \
    WHERE nspname = 'incr_restore' HAVING bool_or(relname = 'progress')";

pub const READ: &str = "SELECT format, identity, stage, pieces, place, sets, is_set_due \
    FROM incr_restore.progress";

/// Without the session's settings, whose text may be in any encoding.
pub const READ_STATE: &str = "SELECT name, value FROM incr_restore.state \
    WHERE name !~ '^(incr_restore\\.|default_table)'";

/// Settings of the session that are as they were after the last commit.
pub const SET_AGAIN: &str = "SELECT pg_catalog.set_config(name, value, false) \
    FROM incr_restore.state WHERE name ~ '^(incr_restore\\.|default_table)'";

/// The mark of a database: its connection limit, and its setting that says that all is there.
pub const MARK: &str = "SELECT datconnlimit, (SELECT pg_catalog.substr(item, 23) \
        FROM pg_catalog.pg_db_role_setting, pg_catalog.unnest(setconfig) AS item \
        WHERE setdatabase = d.oid AND setrole = 0 AND item LIKE 'incr\\_restore.complete=%') \
    FROM pg_catalog.pg_database AS d WHERE datname = $1";

/// Makes them; within a transaction.
pub fn begin(progress: &Progress) -> String {
    let identity = text(&progress.identity);
    let place = text(&progress.place);
    let stage = progress.stage.word();
    format!(
        "SET LOCAL default_tablespace = ''; SET LOCAL default_table_access_method = heap; \
         CREATE SCHEMA {SCHEMA}; \
         CREATE TABLE {SCHEMA}.progress (format integer PRIMARY KEY, identity text, stage text, pieces bigint, \
            place text, sets bigint, is_set_due boolean) WITH (fillfactor = 50); \
         CREATE TABLE {SCHEMA}.state (name text PRIMARY KEY, value text); \
         CREATE TABLE {SCHEMA}.counts (relation oid, lane integer, rows bigint, PRIMARY KEY (relation, lane)) \
            WITH (fillfactor = 50); \
         CREATE TABLE {SCHEMA}.pieces (piece bigint PRIMARY KEY); \
         CREATE TABLE {SCHEMA}.lanes (lane integer PRIMARY KEY, place text) WITH (fillfactor = 50); \
         INSERT INTO {SCHEMA}.progress VALUES ({FORMAT}, {identity}, '{stage}', 0, {place}, 0, false)"
    )
}

/// Keeps a value.
pub fn keep<T: Serialize>(name: &str, value: &T) -> String {
    format!(
        "INSERT INTO {SCHEMA}.state VALUES ('{name}', {}) ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value",
        text(value)
    )
}

/// Keeps a value, unless there is one.
pub fn keep_first<T: Serialize>(name: &str, value: &T) -> String {
    format!(
        "INSERT INTO {SCHEMA}.state VALUES ('{name}', {}) ON CONFLICT (name) DO NOTHING",
        text(value)
    )
}

/// Renames of roles that are still to come, by the numbers of their sets.
pub const FORGET_RENAMES: &str =
    "DELETE FROM incr_restore.state WHERE name = 'incr_restore.renames'";

/// Keeps the session's settings, in which our functions have their state.
pub const KEEP_SETTINGS: &str = "INSERT INTO incr_restore.state AS s SELECT name, value FROM (\
        SELECT name, pg_catalog.current_setting(name, true) AS value FROM pg_catalog.unnest(\
            '{incr_restore.made,incr_restore.applied,incr_restore.renames,incr_restore.checks,\
            default_tablespace,default_table_access_method}'::text[]) AS name) AS now WHERE value IS NOT NULL \
    ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value WHERE s.value IS DISTINCT FROM EXCLUDED.value";

/// So many entries of the base are done.
pub fn pieces(count: u64) -> String {
    format!("UPDATE {SCHEMA}.progress SET pieces = {count}")
}

/// This entry of the base is done, whatever is with those before it.
pub fn piece(number: u64) -> String {
    format!("INSERT INTO {SCHEMA}.pieces VALUES ({number})")
}

/// Entries that are done, in any order.
pub const READ_PIECES: &str = "SELECT piece FROM incr_restore.pieces";

/// A stage begins.
pub fn stage(stage: Stage) -> String {
    let is_due = stage == Stage::Changes;
    let word = stage.word();
    format!("UPDATE {SCHEMA}.progress SET stage = '{word}', is_set_due = {is_due}")
}

/// All up to this place is applied.
pub fn place(place: &Place) -> String {
    format!("UPDATE {SCHEMA}.progress SET place = {}", text(place))
}

/// A lane has done all that is its own up to this place.
pub fn lane(number: i32, place: &str) -> String {
    format!(
        "INSERT INTO {SCHEMA}.lanes VALUES ({number}, {place}) ON CONFLICT (lane) DO UPDATE SET place = EXCLUDED.place"
    )
}

/// The places of lanes.
pub const READ_LANES: &str = "SELECT lane, place FROM incr_restore.lanes";

/// A place as a constant in SQL.
pub fn constant(place: &Place) -> String {
    text(place)
}

/// So many sets of globals are applied, but for the properties of the database.
pub fn set(count: usize) -> String {
    format!("UPDATE {SCHEMA}.progress SET sets = {count}, is_set_due = true; {KEEP_SETTINGS}")
}

/// The database has the properties that the last set gives it. `lets_in`: what PUBLIC may do in the end.
pub fn set_done(lets_in: Option<bool>) -> String {
    let keep = keep("lets_in", &lets_in);
    format!("{keep}; UPDATE {SCHEMA}.progress SET is_set_due = false")
}

/// Drops them.
pub fn end() -> String {
    format!(
        "DROP TABLE {SCHEMA}.progress, {SCHEMA}.state, {SCHEMA}.counts, {SCHEMA}.pieces, {SCHEMA}.lanes; \
         DROP SCHEMA {SCHEMA}"
    )
}

/// Marks a database: all is there. It is what is behind `ALTER DATABASE name`.
pub fn complete(seal: &str, is_partial: bool) -> String {
    let status = i32::from(is_partial);
    format!("SET incr_restore.complete = '{seal} {status}'")
}

/// Takes the mark away.
pub fn unmark(database: &str) -> String {
    format!(
        "ALTER DATABASE {} RESET incr_restore.complete",
        identifier(database)
    )
}

/// A string constant of JSON in ASCII, which is the same in every encoding.
fn text<T: Serialize>(value: &T) -> String {
    let json = serde_json::to_string(value).expect("plain values always become JSON");
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    String::from_utf8_lossy(&literal(ascii.as_bytes())).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_a_constant_in_every_encoding() {
        let value = vec!["it's".to_owned(), "ä\u{1f600}\\\n\"".to_owned()];
        let constant = text(&value);
        assert!(constant.is_ascii(), "{constant}");
        let json = constant.trim_matches('\'').replace("''", "'");
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), value);
    }

    #[test]
    fn the_mark_is_behind_its_name() {
        assert_eq!("incr_restore.complete=".len(), 22);
    }
}
