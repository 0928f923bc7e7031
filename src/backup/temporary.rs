//! Base backups wait for sessions on whose temporary objects permanent ones depend.
//!
//! `ALTER TABLE t ALTER v SET DEFAULT pg_temp.f()` is allowed: the default is dropped when the session ends.
//! Until then pg_dump writes it with a schema that no other database has, and every restore would fail.
//! Meanwhile the previous base is used, and what is captured after it leaves out such objects one by one.

use pgrx::prelude::*;
use pgrx::spi::SpiClient;

use crate::pg::failure::Failure;

/// How many of them a message lists.
const SHOWN: usize = 5;

/// Objects in a temporary schema depend on the schema; their parts depend on them, internally or
/// automatically. Objects that have another kind of dependency on these are permanent, or parts of permanent
/// ones.
const OVER_TEMPORARY: &str = "WITH RECURSIVE temporary (class, id, space) AS ( \
      SELECT 'pg_catalog.pg_namespace'::pg_catalog.regclass::pg_catalog.oid, n.oid, n.oid \
      FROM pg_catalog.pg_namespace n WHERE n.nspname LIKE 'pg\\_temp\\_%' \
      UNION SELECT d.classid, d.objid, t.space FROM temporary t JOIN pg_catalog.pg_depend d \
        ON d.refclassid = t.class AND d.refobjid = t.id \
      WHERE d.deptype IN ('i', 'a') OR t.class = 'pg_catalog.pg_namespace'::pg_catalog.regclass) \
    SELECT DISTINCT pg_catalog.convert_to(coalesce(o.type || ' ' || o.identity, d.classid || '/' || d.objid), 'UTF8'), n.nspname::text \
    FROM temporary t JOIN pg_catalog.pg_depend d ON d.refclassid = t.class AND d.refobjid = t.id AND d.deptype = 'n' \
      JOIN pg_catalog.pg_namespace n ON n.oid = t.space, \
      pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) AS o \
    WHERE NOT EXISTS (SELECT FROM temporary own WHERE own.class = d.classid AND own.id = d.objid) ORDER BY 1";

/// Fails if a permanent object depends on a temporary one.
pub fn ensure_none_is_needed(client: &SpiClient<'_>) -> Result<(), Failure> {
    let (mut objects, mut schemas) = (Vec::new(), Vec::new());
    for row in client.select(OVER_TEMPORARY, None, &[])? {
        let name = row.get::<Vec<u8>>(1)?.unwrap_or_default();
        objects.push(String::from_utf8_lossy(&name).into_owned());
        let schema = row.get::<String>(2)?.unwrap_or_default();
        if !schemas.contains(&schema) {
            schemas.push(schema);
        }
    }
    if objects.is_empty() {
        return Ok(());
    }
    let count = objects.len();
    objects.truncate(SHOWN);
    let more = match count - objects.len() {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Err(Failure::new(
        PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
        "permanent objects depend on temporary objects",
    )
    .detail(format!("{}{more} depend on objects in {}.", objects.join(", "), schemas.join(", ")))
    .hint("The base backup is made once the session that owns the temporary objects has ended. DROP SCHEMA … \
    CASCADE removes the temporary schema of a session that no longer exists."))
}
