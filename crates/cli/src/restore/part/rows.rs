//! The rows of a part, and the positions of its sequences: from the scratch database into the target.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::CopyInSink;

use super::chosen::Relation;
use super::long::Long;
use super::permitted;
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::quote::identifier;
use crate::restore::rights::Role;

/// Rows are sent in pieces of this size, in bytes.
const PIECE: usize = 64 << 10;

/// A table whose rows are copied.
#[derive(Debug)]
pub struct Copied {
    oid: u32,
    /// The OID in the scratch database of what `into` is.
    pub root: u32,
    from: String,
    /// The same in the target, or the partitioned table above it.
    pub into: String,
    /// Their names, not quoted.
    columns: Vec<String>,
}

const COLUMNS: &str =
    "SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid = $1 AND attnum > 0 \
    AND NOT attisdropped AND attgenerated = '' ORDER BY attnum";

/// What is to be copied. `keeps_tables`: partitions are as in the scratch database, but those by hash of an enum; else their
/// rows go where the target's own partitions take them.
pub async fn tables(
    scratch: &Session,
    relations: &[Relation],
    keeps_tables: bool,
) -> Result<Vec<Copied>> {
    let mut all = Vec::new();
    for relation in relations.iter().filter(|it| it.kind == "r") {
        let root = relations.iter().find(|it| it.oid == relation.root);
        let into = if keeps_tables && !relation.is_by_root {
            relation
        } else {
            root.unwrap_or(relation)
        };
        let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&relation.oid, Type::OID)];
        let columns = scratch.client.query_typed(COLUMNS, &parameters).await?;
        let columns = columns.iter().map(|row| Ok(row.try_get(0)?));
        all.push(Copied {
            oid: relation.oid,
            root: into.oid,
            from: relation.written.clone(),
            into: into.written.clone(),
            columns: columns.collect::<Result<_>>()?,
        });
    }
    Ok(all)
}

impl Copied {
    /// Refuses columns that the target does not have.
    pub async fn ensure_columns(&self, target: &Session) -> Result<()> {
        const MISSING: &str = "SELECT n FROM pg_catalog.unnest($2) AS n WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute \
            WHERE attrelid = pg_catalog.to_regclass($1) AND attname = n AND attnum > 0 AND NOT attisdropped)";
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&self.into, Type::TEXT), (&self.columns, Type::TEXT_ARRAY)];
        let rows = target.client.query_typed(MISSING, &parameters).await?;
        let missing: Vec<String> = rows
            .iter()
            .map(|row| Ok(identifier(row.try_get(0)?)))
            .collect::<Result<_>>()?;
        if missing.is_empty() {
            return Ok(());
        }
        let message = format!(
            "{} in the target has no column {}",
            self.into,
            missing.join(", ")
        );
        let hint = "Nothing was changed. --into-schema restores the table as it was, beside it.";
        Err(Error::failed(message, hint))
    }

    /// Refuses rows that the role may not insert.
    pub async fn ensure_permitted(&self, target: &Session, role: &Role) -> Result<()> {
        permitted::ensure_may_insert(target, role, &self.into, &self.columns).await
    }

    /// Copies them: how many there are in the scratch database, and how many are inserted in the target, where a trigger of
    /// a table that is in use may pass some over.
    pub async fn copy(&self, scratch: &Session, target: &Session) -> Result<(u64, u64)> {
        let columns: Vec<String> = self.columns.iter().map(|name| identifier(name)).collect();
        let columns = columns.join(", ");
        let listed = match columns.as_str() {
            "" => String::new(),
            columns => format!(" ({columns})"),
        };
        let into = format!("COPY {}{listed} FROM STDIN", self.into);
        let sink = target.client.copy_in::<_, Bytes>(&into).await?;
        let mut sink = std::pin::pin!(sink);
        let table = &self.from;
        let Some(long) = Long::find(scratch, self.oid, table).await? else {
            let all = format!("COPY {table}{listed} TO STDOUT");
            let sent = send(scratch, &all, sink.as_mut()).await?;
            return Ok((sent, sink.finish().await?));
        };
        let which = |condition: &str| {
            format!("COPY (SELECT {columns} FROM ONLY {table} WHERE {condition}) TO STDOUT")
        };
        let mut sent = send(scratch, &which(&long.others()), sink.as_mut()).await?;
        for row in &long.rows {
            let alone = which(&format!("ctid = '{row}'"));
            sent += send(scratch, &alone, sink.as_mut()).await?;
        }
        Ok((sent, sink.finish().await?))
    }
}

/// Sends the rows of a COPY; how many there are.
async fn send(scratch: &Session, out: &str, mut sink: Pin<&mut CopyInSink<Bytes>>) -> Result<u64> {
    let rows = scratch.client.copy_out(out).await?;
    let mut rows = std::pin::pin!(rows);
    let mut piece = BytesMut::new();
    let mut sent = 0;
    while let Some(row) = rows.next().await {
        // The server sends each row as a message.
        let mut row = row?;
        sent += 1;
        // Of a long one only a piece is in memory twice.
        while row.len() >= PIECE {
            if !piece.is_empty() {
                sink.send(piece.split().freeze()).await?;
            }
            sink.send(row.split_to(PIECE)).await?;
        }
        piece.extend_from_slice(&row);
        if piece.len() >= PIECE {
            sink.send(piece.split().freeze()).await?;
        }
    }
    if !piece.is_empty() {
        sink.send(piece.freeze()).await?;
    }
    Ok(sent)
}

/// What keeps a role that is no superuser from reading relations, the scratch database's own or given to others: what
/// their owners have revoked from themselves, and row security that holds for them. The definitions have been read by then.
pub async fn open(scratch: &Session, oids: &[u32]) -> Result<()> {
    const OPENED: &str = "SELECT CASE n WHEN 1 THEN pg_catalog.format('ALTER TABLE %I.%I NO FORCE ROW LEVEL SECURITY', nspname, relname) \
            WHEN 2 THEN pg_catalog.format('GRANT USAGE ON SCHEMA %I TO CURRENT_USER', nspname) \
            ELSE pg_catalog.format('GRANT SELECT ON %I.%I TO CURRENT_USER', nspname, relname) END \
        FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS s ON s.oid = c.relnamespace, pg_catalog.generate_series(1, 3) AS n \
        WHERE c.oid = ANY ($1) AND c.relkind IN ('r', 'p', 'S') AND CASE n WHEN 1 THEN c.relforcerowsecurity \
            WHEN 2 THEN NOT pg_catalog.has_schema_privilege(s.oid, 'USAGE') \
            ELSE NOT pg_catalog.has_table_privilege(c.oid, 'SELECT') END ORDER BY n";
    let oids = oids.to_vec();
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&oids, Type::OID_ARRAY)];
    for row in scratch.client.query_typed(OPENED, &parameters).await? {
        let statement: String = row.try_get(0)?;
        scratch.client.batch_execute(&statement).await?;
    }
    Ok(())
}

/// Moves a sequence of the target to where that of the scratch database is. `is_new`: this restore has made it; else it is
/// only moved forward, since what it has given out since must not be given again. A sentence if the role may not.
pub async fn position(
    scratch: &Session,
    target: &Session,
    sequence: &str,
    is_new: bool,
) -> Result<Option<String>> {
    let query = format!(
        "SELECT s.last_value, s.is_called, q.seqincrement FROM {sequence} AS s, pg_catalog.pg_sequence AS q \
         WHERE q.seqrelid = pg_catalog.to_regclass($1)"
    );
    let name: [(&(dyn ToSql + Sync), Type); 1] = [(&sequence, Type::TEXT)];
    let there = scratch.client.query_typed(&query, &name).await?;
    let (value, is_called): (i64, bool) = (there[0].try_get(0)?, there[0].try_get(1)?);
    if !is_new {
        const MAY: &str =
            "SELECT pg_catalog.has_sequence_privilege(pg_catalog.to_regclass($1)::pg_catalog.oid, 'SELECT'), \
            pg_catalog.has_sequence_privilege(pg_catalog.to_regclass($1)::pg_catalog.oid, 'UPDATE')";
        let may = target.client.query_typed(MAY, &name).await?;
        let (may_read, may_move): (bool, bool) = (may[0].try_get(0)?, may[0].try_get(1)?);
        let refused = |why: &str| {
            format!("the sequence {sequence} of the target {why}: at the source it was at {value}")
        };
        if !may_read {
            let why = "may have to be moved forward, and the role may not read it (SELECT, UPDATE)";
            return Ok(Some(refused(why)));
        }
        let live = target.client.query_typed(&query, &name).await?;
        let (at, increment): (i64, i64) = (live[0].try_get(0)?, live[0].try_get(2)?);
        let was_called: bool = live[0].try_get(1)?;
        let is_behind = if increment > 0 {
            value > at
        } else {
            value < at
        };
        let is_ahead = is_behind || value == at && is_called && !was_called;
        if !is_ahead {
            return Ok(None);
        }
        if !may_move {
            let why = format!("is at {at}, and the role may not move it forward (UPDATE)");
            return Ok(Some(refused(&why)));
        }
    }
    let set = "SELECT pg_catalog.setval(pg_catalog.to_regclass($1), $2, $3)";
    let values: [(&(dyn ToSql + Sync), Type); 3] = [
        (&sequence, Type::TEXT),
        (&value, Type::INT8),
        (&is_called, Type::BOOL),
    ];
    target.client.query_typed(set, &values).await?;
    Ok(None)
}
