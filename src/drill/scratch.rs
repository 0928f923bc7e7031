//! The scratch database of a drill: its name, and its removal.
//!
//! The name contains the cluster's identifier and the database's OID, so that a drill can identify the
//! leftovers of an earlier one of the same database, and drops nothing else.

use archive::drills::{self, Begun};
use archive::DatabaseDir;
use pgrx::prelude::*;

use super::client;
use super::target::Target;
use crate::backup::SCRATCH_PREFIX;
use crate::pg::failure::Failure;
use crate::pg::server::{self, title};

/// Name of the scratch database of `database`: letters, digits and underscores only.
pub fn name(database: pg_sys::Oid) -> String {
    format!(
        "{SCRATCH_PREFIX}{}_{}",
        server::system_identifier(),
        database.to_u32()
    )
}

/// The database's names: it has another one until the restore has finished.
fn names(database: pg_sys::Oid) -> [String; 2] {
    let name = name(database);
    [format!("{name}.restoring"), name]
}

/// Drops the scratch database, and the roles and tablespaces that its restore created. Records in the archive
/// that nothing is left.
pub fn remove(
    target: &Target,
    place: &DatabaseDir,
    database: pg_sys::Oid,
    begun: &Begun,
) -> Result<(), Failure> {
    if let Some(server) = begun
        .server
        .as_ref()
        .filter(|it| **it != target.system_identifier)
    {
        // Whatever has these names and OIDs here is somebody else's.
        left_on(server, target);
        return Ok(drills::end(place)?);
    }
    let names = names(database);
    wait_for_the_restore(target, &names[0])?;
    for name in names {
        if !is_there(target, &name)? {
            continue;
        }
        let told = made_by_the_restore_in(target, &name)?;
        if !told.is_empty() {
            // Nobody can tell it when the database has gone.
            let noted = drills::made_ids(place).into_iter().chain(told);
            drills::note_made(place, &noted.collect::<Vec<String>>())?;
        }
        // A subscription would prevent dropping the database; if it were dropped unchanged, it would drop the
        // source's slot at the publisher.
        const SUBSCRIPTIONS: &str = "SELECT format('ALTER SUBSCRIPTION %I DISABLE', subname), \
                format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', subname), \
                format('DROP SUBSCRIPTION %I', subname) \
            FROM pg_catalog.pg_subscription AS s JOIN pg_catalog.pg_database AS d ON d.oid = subdbid \
            WHERE datname = pg_catalog.current_database() \\gexec\n";
        const COUNT: &str = "SELECT 1 FROM pg_catalog.pg_subscription AS s \
            JOIN pg_catalog.pg_database AS d ON d.oid = subdbid WHERE datname = ";
        let count = format!("{COUNT}'{name}';");
        if !client::sql(&target.maintenance, target.version, &count)?.is_empty() {
            let script = format!("SET search_path = pg_catalog;\n{SUBSCRIPTIONS}");
            client::sql(target.database(&name), target.version, &script)?;
        }
        let drop = format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE);");
        client::sql(&target.maintenance, target.version, &drop)?;
    }
    let (roles, spaces) = (drills::made(place, 'r'), drills::made(place, 't'));
    // A role that can log in has come into use.
    let script = format!(
        "SELECT pg_catalog.format('DROP ROLE %I', rolname) FROM pg_catalog.pg_roles \
            WHERE oid IN ({}) AND NOT rolcanlogin \\gexec\n\
         SELECT pg_catalog.format('DROP TABLESPACE %I', spcname) FROM pg_catalog.pg_tablespace \
            WHERE oid IN ({}) \\gexec\n",
        list(&roles),
        list(&spaces)
    );
    if !roles.is_empty() || !spaces.is_empty() {
        let ran = client::psql(&target.maintenance, target.version, &script, false)?;
        if !ran.messages.is_empty() {
            let code = PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST;
            Failure::new(
                code,
                "pg_incrbackup: could not drop roles or tablespaces that a drill created on its target server",
            )
            .detail(ran.tail(8))
            .log(PgLogLevel::WARNING);
        }
    }
    Ok(drills::end(place)?)
}

/// The connection parameters lead to another server than at the drill's start.
fn left_on(server: &str, target: &Target) {
    let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    let message = "pg_incrbackup: the target server of a drill that did not end is another one now";
    let detail = format!(
        "What it has created is left on the server with the system identifier {server}; this one has {}.",
        target.system_identifier
    );
    Failure::new(code, message)
        .detail(detail)
        .log(PgLogLevel::WARNING);
}

/// A server process that is creating the database, or was, may not have noticed yet that its program is gone: the database
/// would appear when it has been looked for. 55P03 if it takes too long.
fn wait_for_the_restore(target: &Target, name: &str) -> Result<(), Failure> {
    // As pg_incrbackup restore locks it (crates/cli, restore/progress), in a database beside it.
    let script = format!(
        "SET lock_timeout = '60s'; SELECT FROM pg_advisory_lock(hashtextextended('{name}', 7810187));"
    );
    client::sql(&target.maintenance, target.version, &script)?;
    Ok(())
}

/// What the restore says in the database that it has made beside it, `r` and `t` with OIDs: it is committed together with
/// the roles, while the drill may have been stopped before it could note them, and before tablespaces are created, each of
/// those that were missing. Nothing that somebody else has made there is read.
fn made_by_the_restore_in(target: &Target, name: &str) -> Result<Vec<String>, Failure> {
    const MADE: &str = "SELECT count(*) = 1 AS is_there FROM pg_class AS c \
            JOIN pg_namespace AS n ON n.oid = relnamespace \
            JOIN pg_roles AS r ON r.oid = relowner AND r.oid = nspowner \
        WHERE nspname = 'incr_restore' AND relname = 'state' AND relkind = 'r' AND rolname = current_user \\gset\n\
        \\if :is_there\n\
        WITH made AS (SELECT value::jsonb AS made FROM incr_restore.state WHERE name = 'made') \
        SELECT jsonb_array_elements_text(made -> 'ids') FROM made \
        UNION SELECT concat('t', s.oid) FROM made, jsonb_array_elements(made -> 'missing_spaces') AS name, \
            pg_tablespace AS s JOIN pg_roles AS r ON r.oid = spcowner \
        WHERE rolname = current_user AND pg_tablespace_location(s.oid) LIKE 'pg\\_tblspc/%' \
            AND textsend(spcname::text) = (SELECT decode(string_agg(lpad(to_hex(byte::int), 2, '0'), '' ORDER BY place), 'hex') \
                FROM jsonb_array_elements_text(name) WITH ORDINALITY AS n (byte, place));\n\
        \\endif\n";
    let ran = client::psql(target.database(name), target.version, MADE, true)?;
    if !ran.is_good {
        // One that the server has not finished creating, or dropping.
        title::log(&format!(
            "could not read what a drill created beside \"{name}\": {}",
            ran.tail(4)
        ));
    }
    let ids = String::from_utf8_lossy(&ran.output);
    Ok(ids.split_whitespace().map(str::to_owned).collect())
}

/// 42P04 if a database has that name and is not known to be from a drill of ours. A copy of this server has
/// the same identifier, and may restore to the same server.
pub fn ensure_absent(target: &Target, database: pg_sys::Oid) -> Result<(), Failure> {
    let mut found = None;
    for name in names(database) {
        if is_there(target, &name)? {
            found = Some(name);
        }
    }
    let Some(name) = found else {
        return Ok(());
    };
    let code = PgSqlErrorCode::ERRCODE_DUPLICATE_DATABASE;
    let message = format!("scratch database \"{name}\" already exists");
    Err(Failure::new(code, message)
        .detail(
            "It was not left behind by a drill of this archive; a copy of this server may be using it.",
        )
        .hint(format!("If it is not in use, run DROP DATABASE \"{name}\".")))
}

fn is_there(target: &Target, name: &str) -> Result<bool, Failure> {
    let query = format!("SELECT 1 FROM pg_catalog.pg_database WHERE datname = '{name}';");
    let rows = client::sql(&target.maintenance, target.version, &query)?;
    Ok(!rows.is_empty())
}

fn list(oids: &[u32]) -> String {
    let texts: Vec<String> = oids.iter().map(u32::to_string).collect();
    if texts.is_empty() {
        "0".to_string()
    } else {
        texts.join(", ")
    }
}
