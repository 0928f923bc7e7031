//! The database: its slot, the extension, its tables, and who holds up the creation of a slot.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row as Found};

use super::settings::Settings;
use super::Row;
use crate::connection::Session;
use crate::error::Result;
use crate::shown::count;

/// So many names are shown.
const LISTED: usize = 5;

/// Transactions that are older are worth a warning.
const LONG: &str = "5 seconds";

/// As the extension's own check words it (RelationGetIndexList of relcache.c): UPDATE and DELETE of these tables have no
/// old row in the WAL.
const KEYLESS: &str = "SELECT format('%I.%I', nspname, relname) FROM pg_class AS c \
    JOIN pg_namespace AS n ON n.oid = relnamespace \
    WHERE relkind = 'r' AND relpersistence = 'p' AND c.oid >= 16384 AND relreplident <> 'f' \
    AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indislive AND indisvalid AND indimmediate \
        AND CASE relreplident WHEN 'd' THEN indisprimary WHEN 'i' THEN indisreplident END) \
    AND NOT EXISTS (SELECT FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = refobjid \
        WHERE classid = 'pg_class'::regclass AND objid = c.oid AND refclassid = 'pg_extension'::regclass \
        AND deptype = 'e' AND extname = 'pg_incrbackup') ORDER BY 1";

pub async fn of_database(session: &Session, settings: &Settings) -> Result<Vec<Row>> {
    let client = &session.client;
    let (has_slot, slot) = slot(client, settings).await?;
    let mut rows = vec![slot];
    rows.extend(directory_on_disk(client, settings).await?);
    rows.push(extension(client).await?);
    rows.push(tables(client, settings).await?);
    rows.push(prepared(client, has_slot).await?);
    rows.push(transactions(client, has_slot).await?);
    Ok(rows)
}

async fn select(
    client: &Client,
    query: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Found>> {
    Ok(client.query_typed(query, parameters).await?)
}

/// Whether the database has its slot, and whether there is room for it.
async fn slot(client: &Client, settings: &Settings) -> Result<(bool, Row)> {
    const NAME: &str = "replication slot";
    let query = "SELECT (SELECT count(*) FROM pg_replication_slots), d.oid, s.slot_name::text, \
        s.plugin IN ('pg_incrbackup', 'decoder_raw', $1) AND s.database = d.datname AND NOT s.temporary \
        FROM pg_database AS d LEFT JOIN pg_replication_slots AS s ON s.slot_name = 'pg_incrbackup_' || d.oid \
        WHERE d.datname = current_database()";
    let plugin = settings
        .get("pg_incrbackup.plugin")
        .unwrap_or("pg_incrbackup");
    let rows = select(client, query, &[(&plugin, Type::TEXT)]).await?;
    let (used, oid): (i64, u32) = (rows[0].get(0), rows[0].get(1));
    let (slot, is_ours): (Option<String>, Option<bool>) = (rows[0].get(2), rows[0].get(3));
    if let Some(slot) = slot {
        let row = if is_ours == Some(true) {
            Row::ok(NAME, format!("{slot}: this database is backed up"))
        } else {
            let todo = format!("SELECT pg_drop_replication_slot('{slot}');");
            Row::missing(
                NAME,
                format!("{slot} does not belong to pg_incrbackup"),
                todo,
            )
        };
        return Ok((is_ours == Some(true), row));
    }
    let most = settings.number("max_replication_slots");
    let row = if used >= most {
        let todo = format!(
            "ALTER SYSTEM SET max_replication_slots = {}; or drop an unused slot.",
            used + 4
        );
        Row::missing(
            NAME,
            format!("all {most} replication slots are in use"),
            todo,
        )
        .after_restart()
    } else {
        let free = most - used;
        Row::ok(
            NAME,
            format!("pg_incrbackup_{oid} can be created: {free} of {most} slots are free"),
        )
    };
    Ok((false, row))
}

/// What is at `pg_incrbackup.directory`, where the role may look.
async fn directory_on_disk(client: &Client, settings: &Settings) -> Result<Option<Row>> {
    const NAME: &str = "archive on disk";
    let Some(directory) = settings
        .get("pg_incrbackup.directory")
        .filter(|path| path.starts_with('/'))
    else {
        return Ok(None);
    };
    let may = select(
        client,
        "SELECT has_function_privilege('pg_stat_file(text, boolean)', 'EXECUTE')",
        &[],
    )
    .await?;
    if !may[0].get::<_, bool>(0) {
        return Ok(Some(Row::ok(NAME, "only a superuser sees it")));
    }
    let looked = client
        .query_typed(
            "SELECT isdir FROM pg_stat_file($1, true)",
            &[(&directory, Type::TEXT)],
        )
        .await;
    let row = match looked {
        Err(error) => Row::warning(
            NAME,
            error
                .as_db_error()
                .map_or_else(|| error.to_string(), |error| error.message().to_owned()),
            "The server's operating system user must be able to enter it.",
        ),
        Ok(rows) => match rows.first().and_then(|row| row.get::<_, Option<bool>>(0)) {
            Some(true) => Row::ok(NAME, "it is a directory"),
            Some(false) => Row::missing(
                NAME,
                format!("{directory} is not a directory"),
                "Set pg_incrbackup.directory to one.",
            ),
            None => Row::ok(NAME, "it does not exist yet, and will be created"),
        },
    };
    Ok(Some(row))
}

async fn extension(client: &Client) -> Result<Row> {
    const NAME: &str = "extension";
    let query = "SELECT default_version, installed_version FROM pg_available_extensions WHERE name = 'pg_incrbackup'";
    let rows = select(client, query, &[]).await?;
    let Some(found) = rows.first() else {
        let todo = "Install it on the server's machine: make install.";
        return Ok(Row::missing(
            NAME,
            "pg_incrbackup is not installed on the server",
            todo,
        ));
    };
    let (available, installed): (String, Option<String>) = (found.get(0), found.get(1));
    Ok(match installed {
        None => Row::warning(
            NAME,
            format!("version {available} is available, and not in this database"),
            "CREATE EXTENSION pg_incrbackup;",
        ),
        Some(installed) if installed != available => Row::warning(
            NAME,
            format!("version {installed} in this database, {available} on the server"),
            "ALTER EXTENSION pg_incrbackup UPDATE;",
        ),
        Some(installed) => Row::ok(NAME, format!("version {installed}")),
    })
}

async fn tables(client: &Client, settings: &Settings) -> Result<Row> {
    const NAME: &str = "tables without a key";
    let tables: Vec<String> = select(client, KEYLESS, &[])
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect();
    if tables.is_empty() {
        return Ok(Row::ok(NAME, "none"));
    }
    let mut found = tables[..tables.len().min(LISTED)].join(", ");
    if tables.len() > LISTED {
        found.push_str(&format!(
            " and {} more",
            count((tables.len() - LISTED) as u64)
        ));
    }
    let todo = "Add a primary key, or ALTER TABLE … REPLICA IDENTITY FULL;";
    Ok(
        match settings
            .get("pg_incrbackup.replica_identity")
            .unwrap_or("full")
        {
            "full" => Row::ok(
                NAME,
                format!("{found}: incr_setup() sets a replica identity"),
            ),
            "error" => Row::warning(
                NAME,
                format!("{found}: UPDATE and DELETE will be refused"),
                todo,
            ),
            _ => Row::warning(
                NAME,
                format!("{found}: UPDATE and DELETE are not captured"),
                todo,
            ),
        },
    )
}

/// The creation of a slot waits for them, and so does the first base.
async fn prepared(client: &Client, has_slot: bool) -> Result<Row> {
    const NAME: &str = "prepared transactions";
    let query = "SELECT quote_literal(gid), prepared::text, count(*) OVER () FROM pg_prepared_xacts ORDER BY prepared LIMIT 1";
    let rows = select(client, query, &[]).await?;
    let Some(oldest) = rows.first() else {
        return Ok(Row::ok(NAME, "none"));
    };
    let (gid, since, all): (String, String, i64) = (oldest.get(0), oldest.get(1), oldest.get(2));
    let found = format!("{all}, the oldest since {since}");
    Ok(if has_slot {
        Row::ok(NAME, found)
    } else {
        let todo = format!("End it in its database, or incr_setup() waits for it: COMMIT PREPARED {gid}; or ROLLBACK PREPARED {gid};");
        Row::warning(NAME, found, todo)
    })
}

async fn transactions(client: &Client, has_slot: bool) -> Result<Row> {
    const NAME: &str = "long transactions";
    let query = "SELECT pid, coalesce(datname::text, ''), xact_start::text, count(*) OVER () FROM pg_stat_activity \
        WHERE backend_xid IS NOT NULL AND xact_start < now() - $1::text::interval ORDER BY xact_start LIMIT 1";
    let rows = select(client, query, &[(&LONG, Type::TEXT)]).await?;
    let Some(oldest) = rows.first() else {
        return Ok(Row::ok(NAME, "none"));
    };
    let (pid, database, since, all): (i32, String, String, i64) =
        (oldest.get(0), oldest.get(1), oldest.get(2), oldest.get(3));
    let found = format!("{all}, the oldest since {since} (process {pid} in {database})");
    Ok(if has_slot {
        Row::ok(NAME, found)
    } else {
        let todo =
            format!("End it, or incr_setup() waits for it: SELECT pg_terminate_backend({pid});");
        Row::warning(NAME, found, todo)
    })
}
