//! Indexes that are not valid: CREATE INDEX CONCURRENTLY or REINDEX CONCURRENTLY left them behind
//! when it failed. pg_dump leaves them out, and so does the stream, until a REINDEX makes them good.

use pgrx::prelude::*;

use super::ddl_catalog::options;
use super::ddl_identity::OwnPrivileges;
use super::ddl_node::Sql;
use super::ddl_statement::Statement;
use super::query::{connect_now, select_kept};

/// Those of the index or table $1 and its partitions, or all. By name: REINDEX CONCURRENTLY gives an
/// index another OID.
const UNFINISHED: &str = "SELECT bytes(c.oid::regclass) FROM pg_index i \
     JOIN pg_class c ON c.oid = i.indexrelid \
     WHERE NOT i.indisvalid AND c.relkind = 'i' AND c.relpersistence <> 't' \
     AND ($1 IN (0, i.indexrelid, i.indrelid) \
       OR EXISTS (SELECT FROM pg_partition_tree($1) WHERE relid IN (i.indexrelid, i.indrelid))) ORDER BY 1";

/// Where each index is; compared before and after a REINDEX (TABLESPACE …).
const PLACES: &str = "SELECT bytes(c.oid::regclass), bytes(quote_ident(s.spcname)) \
     FROM pg_class c JOIN pg_database d ON d.datname = current_database() \
     JOIN pg_tablespace s ON s.oid = COALESCE(NULLIF(c.reltablespace, 0), d.dattablespace) \
     WHERE c.relkind IN ('i', 'I') AND c.relpersistence <> 't' AND c.oid >= 16384 \
     AND c.relnamespace <> 'pg_toast'::regnamespace ORDER BY 1";

/// What makes a finished index, and what hangs it in where its table's parent has one. Another
/// session's REINDEX that waited meanwhile finds it finished, too.
const DEFINITION: &str =
    "SELECT bytes(regexp_replace(pg_get_indexdef(c.oid), '^CREATE (UNIQUE )?INDEX ', \
         'CREATE \\1INDEX IF NOT EXISTS ')), \
     bytes('ALTER INDEX ' || h.inhparent::regclass || ' ATTACH PARTITION ' || c.oid::regclass) \
     FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid \
     LEFT JOIN pg_inherits h ON h.inhrelid = c.oid \
     WHERE c.oid = to_regclass($1) AND i.indisvalid";

/// All below a partitioned index that is not valid, because one of its leaves is not: what makes
/// the partitioned and the finished ones, in an order that can be run, and what hangs them in.
const TREE: &str = "WITH RECURSIVE tree (index, parent, depth) AS ( \
       SELECT c.oid, 0::oid, 0 FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid \
       WHERE c.oid = $1 AND c.relkind = 'I' AND NOT i.indisvalid \
     UNION ALL \
       SELECT h.inhrelid, tree.index, depth + 1 FROM tree JOIN pg_inherits h ON h.inhparent = tree.index) \
     SELECT bytes(regexp_replace(pg_get_indexdef(tree.index), '^CREATE (UNIQUE )?INDEX ', \
         'CREATE \\1INDEX IF NOT EXISTS ')), \
       bytes('ALTER INDEX ' || NULLIF(parent, 0)::regclass || ' ATTACH PARTITION ' || tree.index::regclass) \
     FROM tree JOIN pg_class c ON c.oid = tree.index JOIN pg_index i ON i.indexrelid = tree.index \
     WHERE c.relkind = 'I' OR i.indisvalid ORDER BY depth, tree.index";

/// True for an index with a place of its own on disk that is not valid.
pub fn is_unfinished(relation: pg_sys::Oid) -> bool {
    // SAFETY: look-ups by OID; the row is released.
    unsafe {
        if pg_sys::get_rel_relkind(relation) as u8 != pg_sys::RELKIND_INDEX {
            return false;
        }
        let row = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::INDEXRELID as i32,
            pg_sys::Datum::from(relation),
        );
        if row.is_null() {
            return false;
        }
        let is_valid =
            (*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_index>(row)).indisvalid;
        pg_sys::ReleaseSysCache(row);
        !is_valid
    }
}

/// What a REINDEX may change of what a dump shows.
pub struct BeforeReindex {
    unfinished: Vec<Sql>,
    /// Names with their tablespaces, where the statement names a tablespace.
    places: Option<Vec<(Sql, Sql)>>,
}

impl BeforeReindex {
    /// None where the statement cannot change anything that counts.
    pub fn of(statement: &Statement) -> Option<Self> {
        let reindex = statement.as_a::<pg_sys::ReindexStmt>(pg_sys::NodeTag::T_ReindexStmt)?;
        // SAFETY: a list of DefElems of a valid tree.
        let options = unsafe { options(reindex.params) };
        let moves = options.iter().any(|(name, _)| name == b"tablespace");
        let within = (!reindex.relation.is_null())
            // SAFETY: a RangeVar of a valid tree.
            .then(|| unsafe { super::ddl_touched::relation_of(reindex.relation) })
            .flatten()
            .unwrap_or(pg_sys::InvalidOid);
        let unfinished = read(UNFINISHED, Some(within.into()), |row| {
            row.get(1).map(Option::unwrap_or_default)
        });
        let before = Self {
            unfinished,
            places: moves.then(places),
        };
        (moves || !before.unfinished.is_empty()).then_some(before)
    }

    /// What does the same without a REINDEX; empty where it changed nothing.
    pub fn effect(&self) -> Sql {
        let mut effect = Vec::new();
        for name in &self.unfinished {
            let name = String::from_utf8_lossy(name);
            effect.extend(statements(DEFINITION, name.as_ref().into()));
        }
        if let Some(before) = &self.places {
            let moved = places().into_iter().filter(|place| !before.contains(place));
            effect.extend(moved.map(|(name, tablespace)| {
                [b"ALTER INDEX ", &name[..], b" SET TABLESPACE ", &tablespace].concat()
            }));
        }
        joined(effect)
    }
}

fn places() -> Vec<(Sql, Sql)> {
    read(PLACES, None, |row| {
        let text = |place| Ok::<_, spi::Error>(row.get::<Sql>(place)?.unwrap_or_default());
        Ok((text(1)?, text(2)?))
    })
}

/// What makes a partitioned index of which a leaf is not valid; none for any other.
pub fn unfinished_tree(index: pg_sys::Oid) -> Option<Sql> {
    let tree = joined(statements(TREE, index.into()));
    (!tree.is_empty()).then_some(tree)
}

fn statements(query: &'static str, argument: pgrx::datum::DatumWithOid<'_>) -> Vec<Sql> {
    let rows = read(query, Some(argument), |row| {
        Ok([row.get::<Sql>(1)?, row.get::<Sql>(2)?])
    });
    rows.into_iter().flatten().flatten().collect()
}

fn joined(statements: Vec<Sql>) -> Sql {
    statements.join(b"\n; ".as_slice())
}

/// True for a CREATE INDEX that goes down to the partitions.
pub fn indexes_partitions(statement: &Statement) -> bool {
    let Some(index) = statement.as_a::<pg_sys::IndexStmt>(pg_sys::NodeTag::T_IndexStmt) else {
        return false;
    };
    // SAFETY: a RangeVar of a valid tree; a look-up by OID.
    unsafe {
        (*index.relation).inh
            && super::ddl_touched::relation_of(index.relation).is_some_and(|table| {
                pg_sys::get_rel_relkind(table) as u8 == pg_sys::RELKIND_PARTITIONED_TABLE
            })
    }
}

fn read<T>(
    query: &'static str,
    argument: Option<pgrx::datum::DatumWithOid<'_>>,
    each: impl Fn(pgrx::spi::SpiHeapTupleData<'_>) -> spi::Result<T>,
) -> Vec<T> {
    let own = OwnPrivileges::enter();
    let arguments: Vec<_> = argument.into_iter().collect();
    let found = connect_now(|client| {
        let rows = select_kept(client, query, &arguments)?;
        rows.map(each).collect::<spi::Result<Vec<T>>>()
    });
    own.leave();
    found.unwrap_or_else(|error| error!("{error}"))
}
