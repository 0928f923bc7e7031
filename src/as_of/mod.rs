//! incr_as_of(): the rows of a table as of a moment, out of the files.
//!
//! `pg_incrbackup extract` reads the files, as a child of the calling backend, and writes the rows as COPY does; `answer`
//! reads what it says. `moment` reads the moment that is wanted, `columns` compares the table of then with that of now.
//!
//! The files have no privileges: who may SELECT all of the table's columns now, and sees all of its rows, may see those
//! that it had. The table is that of this very OID, whatever its name was.

mod answer;
mod columns;
mod moment;

use std::ffi::{CStr, OsString};
use std::time::Duration;

use pgrx::prelude::*;

use self::answer::{Answer, Line};
use crate::backup::dump;
use crate::pg::catalogs::table_type;
use crate::pg::decoding::relation::OpenRelation;
use crate::pg::failure::Failure;
use crate::pg::server;
use crate::pg::server::process::Program;
use crate::pg::server::table_rows::{self, TableRows};
use crate::pg::text::ServerText;
use crate::place;

/// How long to wait for output between two interruption points. A signal ends the wait.
const POLL: Duration = Duration::from_millis(100);

/// Has all that is committed in the files, as incr_flush() does.
pub type Flush<'a> = &'a dyn Fn() -> Result<(), Failure>;

/// Answers `call`, the running function's, whose first argument has the table's row type.
pub fn answer(
    call: pg_sys::FunctionCallInfo,
    moment: Option<ServerText>,
    flush: Flush<'_>,
) -> Result<(), Failure> {
    let table = table_type::table_of(table_rows::type_of_argument(call))?;
    table_type::ensure_may_read_all(table)?;
    let moment = moment.ok_or_else(|| {
        let code = PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED;
        Failure::new(code, "the moment must not be null")
    })?;
    let moment = moment::option(&moment)?;
    if Program::is_running() {
        let code = PgSqlErrorCode::ERRCODE_OBJECT_IN_USE;
        let message = "incr_as_of() is called by a function that it calls itself";
        return Err(Failure::new(code, message));
    }
    let place = place::find(server::my_database())?.ok_or_else(|| {
        let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
        Failure::new(code, "this database has no archive")
            .hint("SELECT * FROM incr_setup() begins one.")
    })?;
    let arguments: [OsString; 8] = [
        "--json".into(),
        "--quiet".into(),
        "extract".into(),
        dump::option("--archive=", place.path()),
        format!("--table-oid={}", table.to_u32()).into(),
        moment.into(),
        "--format=copy".into(),
        "--describe".into(),
    ];
    table_type::with_locked_table(table, |table| {
        // They may have changed while the lock was waited for.
        table_type::ensure_may_read_all(table.oid())?;
        columns::ensure_in_files(table, flush)?;
        extract(call, table, &arguments).map_err(dump::with_place_of_own_program)
    })
}

fn extract(
    call: pg_sys::FunctionCallInfo,
    table: OpenRelation,
    arguments: &[OsString],
) -> Result<(), Failure> {
    let path = dump::own_program();
    let cannot = |error| dump::cannot_run(&path, error);
    // What it keeps in files is where the session's own temporary files are.
    let environment = [("TMPDIR", server::temporary_directory().into_os_string())];
    let mut program = Program::start_with(&path, arguments, &environment, None).map_err(cannot)?;
    let sees_all = server::may_read_all_data();
    let mut answer = Answer::default();
    let mut result: Option<TableRows> = None;
    let mut taken = Ok(());
    loop {
        let (rows, taken) = (&mut result, &mut taken);
        let Answer { lines, messages } = &mut answer;
        let is_open = program.pump(
            POLL,
            |bytes| {
                *taken = lines.add(bytes, |line| match (line, rows.as_mut()) {
                    (Line::Description(text), _) => {
                        let wanted = columns::compare(table, text)?;
                        *rows = Some(TableRows::begin(call, table, &wanted)?);
                        Ok(())
                    }
                    (Line::Row(fields), Some(rows)) => {
                        let fields: Vec<Option<&CStr>> =
                            fields.iter().map(Option::as_deref).collect();
                        rows.put(&fields);
                        Ok(())
                    }
                    (Line::Row(_), None) => Err(answer::unexpected("a row before its columns")),
                });
                Ok(())
            },
            |bytes| messages.add(bytes),
        );
        let is_open = is_open.map_err(cannot)?;
        std::mem::replace(taken, Ok(()))?;
        if !is_open {
            break;
        }
    }
    let status = program.finish().map_err(cannot)?;
    if !status.success() {
        return Err(answer.messages.failure(status.code(), sees_all));
    }
    answer.lines.ensure_ended()?;
    let rows = result.ok_or_else(|| answer::unexpected("no columns"))?;
    rows.end();
    answer.messages.warn(sees_all);
    Ok(())
}
