//! Prerequisites of a backup. Each failure names the setting and the line to write.

use pgrx::prelude::*;

use super::dump;
use crate::pg::failure::Failure;
use crate::pg::server::{self, guc, query};
use crate::preflight::{ensure_not_in_recovery, ensure_preloaded, ensure_room};
use crate::workers::{has_slot, slot_name};
use crate::{place, settings};

const PREREQUISITE: PgSqlErrorCode = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
const LIMIT: PgSqlErrorCode = PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED;

/// Checks all of them; returns what was found, as text.
pub fn check(database: pg_sys::Oid) -> Result<String, Failure> {
    ensure_preloaded()?;
    ensure_not_in_recovery()?;
    ensure_wal_level()?;
    ensure_limits(database)?;
    ensure_plugin(database)?;
    let root = place::root()?;
    let version = ensure_pg_dump()?;
    Ok(format!(
        "directory \"{}\", {version}",
        root.path().display()
    ))
}

fn ensure_wal_level() -> Result<(), Failure> {
    let level = guc::value(c"wal_level").unwrap_or_default();
    if level == "logical" {
        return Ok(());
    }
    Err(Failure::new(
        PREREQUISITE,
        format!("wal_level is {level}, logical is needed"),
    )
    .hint("Add the line wal_level = logical to postgresql.conf and restart the server."))
}

/// Checks for a free slot and for workers.
fn ensure_limits(database: pg_sys::Oid) -> Result<(), Failure> {
    ensure_room(database)?;
    if has_slot(database) {
        return Ok(());
    }
    const USED: &str = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots";
    let used = query::one::<i64>(USED, &[])?.unwrap_or(0);
    let most = number(c"max_replication_slots");
    if used >= most {
        let more = used + 4;
        return Err(Failure::new(LIMIT, format!("all {most} replication slots are in use")).hint(
            format!("Add the line max_replication_slots = {more} to postgresql.conf and restart the server, \
            or drop an unused slot."),
        ));
    }
    let most = number(c"max_worker_processes");
    if most < 3 {
        return Err(Failure::new(
            LIMIT,
            format!("max_worker_processes is {most}, at least 3 are needed"),
        )
        .hint("Add the line max_worker_processes = 8 to postgresql.conf and restart the server."));
    }
    Ok(())
}

/// The output plugin's library must exist, and a slot of our name must be ours.
fn ensure_plugin(database: pg_sys::Oid) -> Result<(), Failure> {
    let wanted = settings::plugin();
    if has_slot(database) {
        return Ok(());
    }
    ensure_name_is_free(&slot_name(database))?;
    let library = server::library(&wanted);
    if wanted.contains('/') || library.exists() || cfg!(not(target_os = "linux")) {
        return Ok(());
    }
    let message = format!("the library of output plugin {wanted} is missing");
    Err(
        Failure::new(PgSqlErrorCode::ERRCODE_UNDEFINED_FILE, message)
            .detail(format!("File \"{}\" does not exist.", library.display()))
            .hint("Install it, or set pg_incrbackup.plugin = 'pg_incrbackup' in postgresql.conf."),
    )
}

/// 42710 if a slot with our name is not ours.
fn ensure_name_is_free(name: &str) -> Result<(), Failure> {
    // A slot that a running incr_setup() is creating has a process, which reports itself.
    const OTHERS: &str = "SELECT CASE WHEN slot_type = 'physical' THEN 'it is a physical slot' \
          WHEN database <> pg_catalog.current_database() THEN 'it belongs to another database' \
          WHEN temporary THEN 'it is a temporary slot' ELSE 'its output plugin is ' || plugin::text END \
        FROM pg_catalog.pg_replication_slots WHERE slot_name = $1::pg_catalog.name \
          AND (temporary OR slot_type = 'physical' OR database <> pg_catalog.current_database() \
            OR plugin <> ALL (ARRAY['pg_incrbackup', 'decoder_raw', $2]::pg_catalog.name[]))";
    let arguments = [name.into(), settings::plugin().into()];
    let Some(why) = query::one::<String>(OTHERS, &arguments)? else {
        return Ok(());
    };
    let code = PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT;
    let message = format!("slot \"{name}\" does not belong to pg_incrbackup: {why}");
    Err(Failure::new(code, message).hint(format!(
        "Drop it: SELECT pg_drop_replication_slot('{name}')."
    )))
}

/// pg_dump and pg_restore must be executable, and pg_dump be of the server's major version or a newer one.
fn ensure_pg_dump() -> Result<String, Failure> {
    let version = dump::version("pg_dump")?;
    dump::version("pg_restore")?;
    let number = version
        .split_whitespace()
        .find_map(|word| word.split('.').next()?.parse::<u32>().ok());
    let server = server::VERSION_NUM / 10_000;
    match number {
        Some(major) if major >= server => Ok(version),
        _ => Err(Failure::new(
            PREREQUISITE,
            format!("{version} cannot dump a server of version {server}"),
        )
        .detail(format!("It is \"{}\".", dump::program("pg_dump").display()))
        .hint(
            "Set pg_incrbackup.bin_directory to the directory of this server version's programs.",
        )),
    }
}

fn number(setting: &std::ffi::CStr) -> i64 {
    guc::value(setting)
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}
