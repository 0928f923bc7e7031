//! Takes changes back in a database, in one transaction.

use archive::segment::Key;
use archive_query::history::literal::name_of;
use futures_util::future::join_all;
use tokio_postgres::types::Type;
use tokio_postgres::Client;

use super::collect::Former;
use super::machine;
use super::script::{in_encoding, Units, SETTINGS};
use super::undone::Undone;
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::shown::line;
use archive_query::report::text::readable;

/// Units that are sent at once.
const AT_ONCE: usize = 100;

/// What became of it.
#[derive(Debug, Default)]
pub struct Done {
    /// For each table, by its place: rows that were deleted again, changed back, inserted again.
    pub counts: Vec<[u64; 3]>,
    /// What was left as it is, and why.
    pub conflicts: Vec<String>,
    pub warnings: Vec<String>,
    /// Whether it was kept, not rolled back.
    pub is_kept: bool,
}

/// How it is done.
pub struct How<'a> {
    pub encoding: &'a str,
    pub is_applied: bool,
    pub is_strict: bool,
    pub has_triggers: bool,
}

/// Takes the changes back, the last one first.
pub async fn run(
    conninfo: &str,
    units: &Units<'_>,
    tables: &[Former],
    how: &How<'_>,
) -> Result<Done> {
    let mut session = Session::open(conninfo, None).await?;
    session.set_encoding(how.encoding).await?;
    let mut warnings = Vec::new();
    for former in tables {
        ensure_same(&session, former).await?;
        if how.has_triggers && has_triggers(&session, former).await? {
            warnings.push(format!(
                "{} has triggers, which fire; what they wrote when the changes were made is taken back by itself: \
                 --no-triggers does without them",
                former.shown()
            ));
        }
    }
    session.client.batch_execute("BEGIN").await?;
    prepare(&session, how).await?;
    let mut done = Done {
        counts: vec![[0; 3]; tables.len()],
        warnings,
        ..Done::default()
    };
    let key = Key::random().map_err(|error| Error::failed(error.to_string(), ""))?;
    let key = key.as_str();
    for statement in machine::preparation(key, how.has_triggers) {
        session.client.batch_execute(&statement).await?;
    }
    let shown = in_encoding(how.encoding);
    for (from, units) in units.chunks(AT_ONCE).enumerate() {
        let lines: Vec<Vec<u8>> = units
            .iter()
            .enumerate()
            .map(|(nth, unit)| machine::unit(key, from * AT_ONCE + nth, unit, tables, &shown))
            .collect();
        let sent = join_all(lines.iter().map(|line| session.statement(line))).await;
        sent.into_iter().collect::<Result<Vec<u64>>>()?;
    }
    for former in tables {
        session.script(&machine::columns(key, former)).await?;
    }
    let work = machine::work(key);
    session.client.batch_execute(&work).await.map_err(|error| {
        let error = Error::from(error);
        let message = format!("{error}: nothing was taken back");
        error.with_message(message)
    })?;
    done.read(&session, key, units, tables).await?;
    let is_complete = done.conflicts.is_empty();
    done.is_kept = how.is_applied && (is_complete || !how.is_strict);
    let end = if done.is_kept { "COMMIT" } else { "ROLLBACK" };
    session.client.batch_execute(end).await?;
    Ok(done)
}

/// Settings as a client of this role has them, but for those on which the meaning of values depends.
async fn prepare(session: &Session, how: &How<'_>) -> Result<()> {
    // Functions of triggers rely on it; statements of ours do not.
    const USUAL_PATH: &str = "SELECT pg_catalog.set_config('search_path', coalesce( \
        (SELECT pg_catalog.substr(setting, 13) FROM pg_catalog.pg_db_role_setting AS s, \
           pg_catalog.unnest(s.setconfig) AS setting \
         WHERE setting OPERATOR(pg_catalog.~) '^search_path=' \
           AND s.setrole OPERATOR(pg_catalog.=) ANY (ARRAY[0, (SELECT oid FROM pg_catalog.pg_roles \
             WHERE rolname OPERATOR(pg_catalog.=) CURRENT_USER)]::pg_catalog.oid[]) \
           AND s.setdatabase OPERATOR(pg_catalog.=) ANY (ARRAY[0, (SELECT oid FROM pg_catalog.pg_database \
             WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())]::pg_catalog.oid[]) \
         ORDER BY s.setrole OPERATOR(pg_catalog.<>) 0 DESC, s.setdatabase OPERATOR(pg_catalog.<>) 0 DESC LIMIT 1), \
        (SELECT boot_val FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'search_path')), true)";
    session.client.batch_execute(SETTINGS).await?;
    if !how.has_triggers {
        let set = "SET LOCAL session_replication_role = replica";
        session.client.batch_execute(set).await?;
    }
    session.client.execute_typed(USUAL_PATH, &[]).await?;
    Ok(())
}

/// The target has the table, with the same columns.
async fn ensure_same(session: &Session, former: &Former) -> Result<()> {
    const COLUMNS: &str = "SELECT pg_catalog.textsend(a.attname::pg_catalog.text), \
            pg_catalog.textsend(pg_catalog.format_type(a.atttypid, a.atttypmod)), \
            a.attgenerated OPERATOR(pg_catalog.<>) '' \
        FROM pg_catalog.pg_attribute AS a \
        WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped";
    let shown = former.shown();
    let hint =
        "The changes are taken back in the database that they were made in, or in a copy of it.";
    let client: &Client = &session.client;
    let Some(oid) = session.oid_of_relation(&former.table.name).await? else {
        return Err(Error::failed(
            format!("the target has no table {shown}"),
            hint,
        ));
    };
    let rows = client.query_typed(COLUMNS, &[(&oid, Type::OID)]).await?;
    for column in &former.table.columns {
        let name = name_of(&column.name);
        let there = rows.iter().find(|row| row.get::<_, &[u8]>(0) == &*name);
        let name = line(&readable(&column.name));
        let why = match there {
            None => "does not exist",
            Some(row) if row.get::<_, bool>(2) => "is generated",
            Some(row) if row.get::<_, &[u8]>(1) != column.type_ => "has another type",
            Some(_) => continue,
        };
        let message = format!("column {name} of {shown} {why} in the target");
        return Err(Error::failed(message, hint));
    }
    Ok(())
}

/// Whether triggers of users fire on the table.
async fn has_triggers(session: &Session, former: &Former) -> Result<bool> {
    const TRIGGERS: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger \
        WHERE tgrelid OPERATOR(pg_catalog.=) $1 AND NOT tgisinternal AND tgenabled IN ('O', 'A'))";
    let Some(oid) = session.oid_of_relation(&former.table.name).await? else {
        return Ok(false);
    };
    let rows = session
        .client
        .query_typed(TRIGGERS, &[(&oid, Type::OID)])
        .await?;
    Ok(rows[0].get(0))
}

impl Done {
    /// What became of the units.
    async fn read(
        &mut self,
        session: &Session,
        key: &str,
        units: &Units<'_>,
        tables: &[Former],
    ) -> Result<()> {
        let query = format!(
            "SELECT unit, step, CASE WHEN is_refused THEN pg_catalog.textsend(said) END FROM pg_temp.undo_{key} ORDER BY unit"
        );
        for row in session.client.query_typed(&query, &[]).await? {
            let nth: i64 = row.get(0);
            let unit = usize::try_from(nth).ok().and_then(|nth| units.get(nth));
            let Some(unit) = unit else { continue };
            let step: Option<i32> = row.get(1);
            let step = step.and_then(|step| usize::try_from(step - 1).ok());
            match (
                step.and_then(|step| unit.get(step)),
                row.get::<_, Option<&[u8]>>(2),
            ) {
                (Some((undone, _)), _) => self.conflicts.push(undone.not_taken_back(tables)),
                (None, Some(said)) => {
                    let rows: Vec<String> = unit.iter().map(|(it, _)| it.row(tables)).collect();
                    let said = readable(said);
                    self.conflicts.push(format!("{}: {said}", rows.join(", ")));
                }
                (None, None) => unit.iter().for_each(|(undone, _)| self.count(undone)),
            }
        }
        Ok(())
    }

    fn count(&mut self, undone: &Undone) {
        let nth = match undone.operation() {
            "INSERT" => 0,
            "UPDATE" => 1,
            _ => 2,
        };
        self.counts[undone.table][nth] += 1;
    }
}
