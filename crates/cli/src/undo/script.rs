//! The way back as SQL, for psql: what [`super::machine`] makes, each unit on a line of its own.

use std::io::{self, Write};

use archive::segment::Key;

use super::collect::Former;
use super::machine;
use super::statement::Step;
use super::undone::{named, Undone};

/// The settings on which the meaning of values depends; the others are the user's.
pub const SETTINGS: &str = "SET LOCAL standard_conforming_strings = on; SET LOCAL DateStyle = 'ISO, MDY'; \
     SET LOCAL IntervalStyle = postgres; SET LOCAL TimeZone = 'UTC'; SET LOCAL lc_monetary = 'C'; \
     SET LOCAL xmloption = content; SET LOCAL array_nulls = on; SET LOCAL transform_null_equals = off; \
     SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = hex; SET LOCAL row_security = off";

/// What is undone, and how, in units.
pub type Units<'a> = [Vec<(&'a Undone, Step)>];

/// Messages are of any characters, and texts are in the encoding of the database.
pub fn in_encoding(encoding: &str) -> impl Fn(String) -> String {
    let is_utf8 = encoding == "UTF8";
    move |text| {
        if is_utf8 {
            text
        } else {
            text.replace(|c: char| !c.is_ascii(), "?")
        }
    }
}

/// Writes the script; `encoding` is that of the database.
pub fn write(
    out: &mut dyn Write,
    units: &Units<'_>,
    tables: &[Former],
    encoding: &str,
    has_triggers: bool,
) -> io::Result<()> {
    let key = Key::random()?;
    let key = key.as_str();
    writeln!(
        out,
        "-- Takes back changes, the last one first, each where its row is still as it has left it: each line that begins with\n\
         -- INSERT INTO pg_temp is one, or some that belong together. A line that is removed is not taken back.\n\
         -- A row that is not so, or that a constraint refuses, is left as it is: a warning says which."
    )?;
    writeln!(out, "SET client_encoding = '{encoding}';")?;
    writeln!(out, "BEGIN;")?;
    writeln!(out, "{SETTINGS};")?;
    if !has_triggers {
        writeln!(out, "SET LOCAL session_replication_role = replica;")?;
    }
    for statement in machine::preparation(key, has_triggers) {
        writeln!(out, "{statement};")?;
    }
    let shown = in_encoding(encoding);
    let mut last = None;
    for (number, unit) in units.iter().enumerate() {
        let Some((undone, _)) = unit.first() else {
            continue;
        };
        if last.replace(undone.commit.lsn) != Some(undone.commit.lsn) {
            writeln!(out, "-- {}", named(undone.commit))?;
        }
        out.write_all(&machine::unit(key, number, unit, tables, &shown))?;
        writeln!(out, ";")?;
    }
    for former in tables {
        out.write_all(&machine::columns(key, former))?;
        writeln!(out, ";")?;
    }
    writeln!(out, "{};", machine::work(key))?;
    writeln!(out, "{};", machine::warnings(key))?;
    writeln!(out, "COMMIT;")
}
