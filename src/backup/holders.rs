//! Who has locked a table that incr_setup() waits for.

use pgrx::prelude::*;

use crate::pg::failure::Failure;
use crate::pg::server::{self, query};
use crate::replica_identity;

/// How much is said of each session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What pg_stat_activity shows to everybody: for the status board, which is written with a superuser's rights.
    Public,
    /// With what the current role may see of it: state, transaction and query.
    Rights,
}

/// Oldest transaction first. A prepared transaction has no process; its xid is that of the transaction id which the same
/// virtual transaction has locked.
const HOLDERS: &str = "SELECT pg_catalog.convert_to(pg_catalog.string_agg(line, E'\\n'), 'UTF8') FROM ( \
     SELECT CASE WHEN p.gid IS NULL \
       THEN pg_catalog.format('  pid %s, role %s, application %s, %s', l.pid, \
           COALESCE(a.usename, a.backend_type::pg_catalog.name, 'unknown'), \
           COALESCE(NULLIF(a.application_name, ''), 'unknown'), l.modes) \
         || CASE WHEN $3 AND a.xact_start IS NOT NULL THEN pg_catalog.format(', %s since %s: %s', \
           COALESCE(a.state, 'active'), pg_catalog.date_trunc('second', a.xact_start), \
           pg_catalog.substr(pg_catalog.regexp_replace(a.query, '\\s+', ' ', 'g'), 1, 60)) ELSE '' END \
       ELSE pg_catalog.format('  prepared transaction %L, role %s, %s, since %s: COMMIT PREPARED or ROLLBACK PREPARED ends it', \
         p.gid, p.owner, l.modes, pg_catalog.date_trunc('second', p.prepared)) END AS line \
     FROM (SELECT pid, virtualtransaction, pg_catalog.string_agg(mode, ' ' ORDER BY mode) AS modes FROM pg_catalog.pg_locks \
         WHERE locktype = 'relation' AND database = $1 AND relation = $2 AND granted \
           AND pid IS DISTINCT FROM pg_catalog.pg_backend_pid() GROUP BY 1, 2) AS l \
     LEFT JOIN pg_catalog.pg_stat_activity a USING (pid) \
     LEFT JOIN pg_catalog.pg_locks t ON l.pid IS NULL AND t.pid IS NULL AND t.locktype = 'transactionid' \
       AND t.virtualtransaction = l.virtualtransaction \
     LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = t.transactionid \
     ORDER BY COALESCE(a.xact_start, p.prepared) LIMIT 3) AS found";

/// What is waited for, with those who hold it, a line for each. Needs a transaction.
pub fn of_table(table: pg_sys::Oid, detail: Detail) -> Result<String, Failure> {
    query::see_current_activity()?;
    let has_details = detail == Detail::Rights;
    let arguments = [
        server::my_database().into(),
        table.into(),
        has_details.into(),
    ];
    let holders = query::one::<Vec<u8>>(HOLDERS, &arguments)?.unwrap_or_default();
    let name = replica_identity::shown(table).unwrap_or_default();
    Ok(format!(
        "a lock of table {name}, which is held by\n{}",
        String::from_utf8_lossy(&holders)
    ))
}
