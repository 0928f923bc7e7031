//! What the target's catalog says of a table whose changes are collected: its columns, and the keys by which a row of it can
//! be followed.

use tokio_postgres::types::{ToSql, Type};

use crate::connection::{Raw, Session};
use crate::error::Result;
use crate::quote::readable;

/// The kind of a relation, and whether it is a partition.
const RELATION: &str = "SELECT c.oid, relkind::text, relispartition FROM pg_class AS c \
    WHERE c.oid = to_regclass($1)";

/// Its columns in order: the name, and that in SQL; for one of a domain, the type below and the domain in SQL; whether it
/// is generated, and GENERATED ALWAYS AS IDENTITY. A column of a temporary table has the type below: it takes NULL, which
/// a domain may refuse, for "not set".
const COLUMNS: &str = "WITH RECURSIVE base (attnum, type, typmod) AS (\
        SELECT attnum, atttypid, atttypmod FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped \
        UNION ALL SELECT attnum, typbasetype, typtypmod FROM base JOIN pg_type AS t ON t.oid = type WHERE typtype = 'd') \
    SELECT a.attnum, convert_to(attname::text, e), convert_to(quote_ident(attname), e), \
        CASE WHEN type <> atttypid THEN convert_to(format_type(type, typmod), e) END, \
        CASE WHEN type <> atttypid THEN convert_to(format_type(atttypid, atttypmod), e) END, \
        attgenerated <> '', attidentity = 'a' \
    FROM pg_attribute AS a JOIN base AS b ON b.attnum = a.attnum JOIN pg_type AS t ON t.oid = type AND typtype <> 'd', \
        current_setting('client_encoding') AS e \
    WHERE attrelid = $1 ORDER BY a.attnum";

/// The columns of its keys, those of a replica identity and of a primary key first: the index, the column, and the operator
/// in SQL by which its values are equal. A key is unique at once, for all rows, of columns that are never NULL; and no text
/// of it depends on the catalogs, as that of regclass does. `is_only`: no other index or constraint may refuse a row
/// because of another.
const KEYS: &str =
    "SELECT i.indexrelid, attnum, convert_to(format('OPERATOR(%I.%s)', opn.nspname, oprname), e), \
        NOT EXISTS (SELECT FROM pg_index AS o WHERE o.indrelid = i.indrelid AND o.indexrelid <> i.indexrelid \
            AND (o.indisunique OR o.indisexclusion)) \
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am ON pg_am.oid = relam AND amname = 'btree', \
        generate_series(0, indnkeyatts - 1) AS nth, pg_attribute AS a, pg_opclass AS oc, pg_amop, pg_operator AS op, \
        pg_namespace AS opn, current_setting('client_encoding') AS e \
    WHERE i.indrelid = $1 AND indisunique AND indimmediate AND indisvalid AND indislive AND NOT indisexclusion \
        AND indpred IS NULL AND indexprs IS NULL \
        AND attrelid = i.indrelid AND attnum = indkey[nth] AND oc.oid = indclass[nth] AND amopfamily = opcfamily \
        AND amoplefttype = opcintype AND amoprighttype = opcintype AND amopstrategy = 3 AND amopmethod = pg_am.oid \
        AND op.oid = amopopr AND opn.oid = oprnamespace \
        AND NOT EXISTS (SELECT FROM generate_series(0, indnkeyatts - 1) AS k \
            JOIN pg_attribute AS b ON b.attrelid = i.indrelid AND b.attnum = indkey[k] JOIN pg_type AS t ON t.oid = b.atttypid \
            WHERE NOT attnotnull OR attgenerated <> '' OR typname ~ '^_?reg' OR typtype = 'c') \
    ORDER BY indisreplident DESC, indisprimary DESC, i.indexrelid, nth";

/// A temporary table has these columns, and those of a key, and a few more.
const MOST_COLUMNS: usize = 1500;

/// A column.
#[derive(Debug)]
pub struct Column {
    pub name: Vec<u8>,
    pub quoted: Vec<u8>,
    /// Of one of a domain: the type below, and the domain.
    pub domain: Option<(Vec<u8>, Vec<u8>)>,
    pub is_generated: bool,
    pub is_identity_always: bool,
}

/// A column of a key, by its number among the columns, and its operator.
#[derive(Debug)]
pub struct KeyColumn {
    pub column: usize,
    pub operator: Vec<u8>,
}

/// A key.
#[derive(Debug)]
pub struct Key {
    pub columns: Vec<KeyColumn>,
    pub is_only: bool,
}

/// A relation.
#[derive(Debug)]
pub enum Definition {
    /// A table with a key at least.
    Table {
        columns: Vec<Column>,
        keys: Vec<Key>,
        is_partition: bool,
    },
    /// Of partitions; its rows may be those of any.
    Root,
    /// One whose changes are executed as they are.
    Other,
}

impl Definition {
    /// Of the relation of this name, as a line of a segment has it.
    pub async fn read(session: &Session, name: &[u8]) -> Result<Definition> {
        let client = &session.client;
        let named = readable(name);
        let rows = client
            .query_typed(RELATION, &[(&Raw(&named), Type::TEXT)])
            .await?;
        let Some(row) = rows.first() else {
            return Ok(Definition::Other);
        };
        let (relation, kind, is_partition): (u32, String, bool) =
            (row.get(0), row.get(1), row.get(2));
        match kind.as_str() {
            "r" => {}
            "p" => return Ok(Definition::Root),
            _ => return Ok(Definition::Other),
        }
        let relation: [(&(dyn ToSql + Sync), Type); 1] = [(&relation, Type::OID)];
        let rows = client.query_typed(COLUMNS, &relation).await?;
        let mut columns = Vec::new();
        let mut numbers: Vec<i16> = Vec::new();
        for row in &rows {
            numbers.push(row.get(0));
            let domain: (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(3), row.get(4));
            columns.push(Column {
                name: row.get(1),
                quoted: row.get(2),
                domain: domain.0.zip(domain.1),
                is_generated: row.get(5),
                is_identity_always: row.get(6),
            });
        }
        let mut keys: Vec<(u32, Key)> = Vec::new();
        for row in &client.query_typed(KEYS, &relation).await? {
            let (index, number): (u32, i16) = (row.get(0), row.get(1));
            let Some(column) = numbers.iter().position(|other| *other == number) else {
                continue;
            };
            let column = KeyColumn {
                column,
                operator: row.get(2),
            };
            match keys.last_mut().filter(|(last, _)| *last == index) {
                Some((_, key)) => key.columns.push(column),
                None => {
                    let key = Key {
                        columns: vec![column],
                        is_only: row.get(3),
                    };
                    keys.push((index, key));
                }
            }
        }
        // Domains of such a type.
        let is_of_names = |column: &KeyColumn| {
            let domain = columns[column.column].domain.as_ref();
            domain.is_some_and(|(below, _)| below.starts_with(b"reg"))
        };
        keys.retain(|(_, key)| !key.columns.iter().any(is_of_names));
        if keys.is_empty() || columns.len() > MOST_COLUMNS {
            return Ok(Definition::Other);
        }
        Ok(Definition::Table {
            columns,
            keys: keys.into_iter().map(|(_, key)| key).collect(),
            is_partition,
        })
    }
}
