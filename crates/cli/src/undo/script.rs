//! The way back as SQL, for psql.
//!
//! Each statement is in a DO block, on one line, in a literal whose tag is a random key: psql neither counts nor substitutes
//! anything there. A statement that does nothing, or that a constraint refuses, is a warning, and the others go on.

use std::io::{self, Write};

use archive::segment::Key;
use archive::time::iso;

use super::collect::{Former, Undone};
use crate::stretch::reading::Commit;

/// The settings on which the meaning of values depends; the others are the user's.
pub const SETTINGS: &str = "SET LOCAL standard_conforming_strings = on; SET LOCAL DateStyle = 'ISO, MDY'; \
     SET LOCAL IntervalStyle = postgres; SET LOCAL TimeZone = 'UTC'; SET LOCAL lc_monetary = 'C'; \
     SET LOCAL xmloption = content; SET LOCAL array_nulls = on; SET LOCAL transform_null_equals = off; \
     SET LOCAL row_security = off";

/// A transaction, for people.
pub fn named(commit: Commit) -> String {
    let at = commit
        .at
        .map_or_else(String::new, |at| format!(" of {}", iso(at)));
    format!("transaction {}{at}", commit.xid)
}

/// What a change is, and that it was not taken back.
pub fn not_taken_back(undone: &Undone, tables: &[Former]) -> String {
    let (operation, row) = (undone.operation(), undone.row(tables));
    let xid = undone.commit.xid;
    if undone.after.is_none() {
        return format!("{row}, which transaction {xid} has deleted: a row with one of its unique values is there");
    }
    let later = match undone.later {
        Some(later) => format!(": {} has changed it later", named(later)),
        None => String::new(),
    };
    format!("{row} is not as the {operation} of transaction {xid} has left it{later}")
}

/// Writes the script; `encoding` is that of the database.
pub fn write(
    out: &mut dyn Write,
    undone: &[Undone],
    tables: &[Former],
    encoding: &str,
    has_triggers: bool,
) -> io::Result<()> {
    let key = Key::random()?;
    let key = key.as_str();
    writeln!(
        out,
        "-- Takes back changes, the last one first, each where its row is still as it has left it."
    )?;
    writeln!(out, "-- A row that is not, or that a constraint refuses, is left as it is: a warning says which.")?;
    writeln!(out, "SET client_encoding = '{encoding}';")?;
    writeln!(out, "BEGIN;")?;
    writeln!(out, "{SETTINGS};")?;
    if !has_triggers {
        writeln!(out, "SET LOCAL session_replication_role = replica;")?;
    }
    writeln!(out, "SET CONSTRAINTS ALL DEFERRED;")?;
    let mut last = None;
    for undone in undone.iter().rev() {
        let Some(statement) = undone.statement(tables) else {
            continue;
        };
        if last.replace(undone.commit.lsn) != Some(undone.commit.lsn) {
            writeln!(out, "-- {}", named(undone.commit))?;
        }
        let conflict = not_taken_back(undone, tables);
        write!(out, "DO $r{key}$ DECLARE n bigint; BEGIN EXECUTE $s{key}$")?;
        out.write_all(&statement)?;
        write!(
            out,
            "$s{key}$; GET DIAGNOSTICS n = ROW_COUNT; IF n OPERATOR(pg_catalog.=) 0 THEN RAISE WARNING USING MESSAGE = \
             $m{key}${conflict}$m{key}$; END IF; EXCEPTION WHEN integrity_constraint_violation THEN \
             RAISE WARNING USING MESSAGE = pg_catalog.concat($m{key}${}: $m{key}$, SQLERRM); END $r{key}$;",
            undone.row(tables)
        )?;
        writeln!(out)?;
    }
    writeln!(out, "SET CONSTRAINTS ALL IMMEDIATE;")?;
    writeln!(out, "COMMIT;")
}
