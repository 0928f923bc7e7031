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
/// is generated, and GENERATED ALWAYS AS IDENTITY; the room that its values take. A column of a temporary table has the type below: it takes NULL, which
/// a domain may refuse, for "not set".
const COLUMNS: &str = "WITH RECURSIVE base (attnum, type, typmod) AS (\
        SELECT attnum, atttypid, atttypmod FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped \
        UNION ALL SELECT attnum, typbasetype, typtypmod FROM base JOIN pg_type AS t ON t.oid = type WHERE typtype = 'd') \
    SELECT a.attnum, convert_to(attname::text, e), convert_to(quote_ident(attname), e), \
        CASE WHEN type <> atttypid THEN convert_to(format_type(type, typmod), e) END, \
        CASE WHEN type <> atttypid THEN convert_to(format_type(atttypid, atttypmod), e) END, \
        attgenerated <> '', attidentity = 'a', attlen, attalign::text, typstorage::text \
    FROM pg_attribute AS a JOIN base AS b ON b.attnum = a.attnum JOIN pg_type AS t ON t.oid = type AND typtype <> 'd', \
        current_setting('client_encoding') AS e \
    WHERE attrelid = $1 ORDER BY a.attnum";

/// The columns of its keys, those of a replica identity and of a primary key first: the index, the column, and the operator
/// in SQL by which its values are equal. A key is unique at once, for all rows, of columns that are never NULL; no text
/// of it depends on the catalogs, as that of regclass does; and it is unique as `=` of its columns has it, which two
/// collations have alike if both are deterministic. `is_only`: no other index or constraint may refuse a row
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
            WHERE NOT attnotnull OR attgenerated <> '' OR typname ~ '^_?reg' OR typtype = 'c' \
                OR indcollation[k] <> attcollation AND EXISTS (\
                    SELECT FROM pg_collation AS l WHERE l.oid IN (indcollation[k], attcollation) AND NOT collisdeterministic)) \
    ORDER BY indisreplident DESC, indisprimary DESC, i.indexrelid, nth";

/// A temporary table has these columns, and those of a key, and a few more.
const MOST_COLUMNS: usize = 1500;

/// A row of it takes so many bytes at most: a page of 8192 without its header and one pointer (`MaxHeapTupleSize`), a header
/// with the bits of NULLs, and the columns that it has beside those of the table.
const MOST_WIDTH: usize = 8192 - 32 - (24 + (MOST_COLUMNS + 40) / 8) - 64;

/// What a value may take that cannot be stored outside of the row.
const UNLIMITED: usize = 1 << 20;

/// The room that a column's values take in a row, and their alignment, in bytes.
struct Room {
    size: usize,
    align: usize,
}

impl Room {
    /// By `attlen`, `attalign`, and the type's storage. A value that is stored outside leaves a pointer of 18 bytes, and
    /// one of 24 bytes stays where it is.
    fn of(length: i16, align: &str, storage: &str) -> Room {
        let size = match length {
            -1 if storage != "p" => return Room { size: 24, align: 1 },
            length => usize::try_from(length).unwrap_or(UNLIMITED),
        };
        let align = match align {
            "c" => 1,
            "s" => 2,
            "i" => 4,
            _ => 8,
        };
        Room { size, align }
    }
}

/// The end of values that begin at a byte of a row; with fewer of them, or NULLs, it is not more.
fn width<'r>(rooms: impl IntoIterator<Item = &'r Room>, from: usize) -> usize {
    let put = |end: usize, room: &Room| end.next_multiple_of(room.align) + room.size;
    rooms.into_iter().fold(from, put)
}

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
        let (mut columns, mut rooms) = (Vec::new(), Vec::new());
        let mut numbers: Vec<i16> = Vec::new();
        for row in &rows {
            numbers.push(row.get(0));
            let domain: (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(3), row.get(4));
            let (align, storage): (String, String) = (row.get(8), row.get(9));
            rooms.push(Room::of(row.get(7), &align, &storage));
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
        // The key that is taken may be any of them.
        let key = keys.iter().map(|(_, key)| {
            let columns = key.columns.iter();
            width(columns.map(|part| &rooms[part.column]), 0)
        });
        let key = key.max().unwrap_or_default();
        if width(&rooms, key) > MOST_WIDTH {
            return Ok(Definition::Other);
        }
        Ok(Definition::Table {
            columns,
            keys: keys.into_iter().map(|(_, key)| key).collect(),
            is_partition,
        })
    }
}
