//! Which lane a change of a row belongs to.
//!
//! Rows of a table may be divided if two changes that must stay in order always have the same lane. Changes of one row are
//! such, and changes of two rows that take a value of a unique index from each other. So a table is divided by its key if
//! that is its only unique index, and has no exclusion constraint; the key must be such that two values are equal only if
//! their texts are. All other tables have one lane, whichever it is.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::Client;

use super::super::shape::{self, Shape, Value};
use super::statement::{self, Part, Statement};
use crate::connection::Raw;
use crate::quote::readable;

/// Where a change is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// By the lane of this number.
    Lane(usize),
    /// By the restore's own session, when all that is before it is there.
    Own,
}

/// How a table is divided.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Table {
    /// By the columns of its key: their names, not quoted.
    ByKey(Vec<Vec<u8>>),
    /// All its rows have one lane.
    Alone(usize),
    /// It is partitioned, or does not exist.
    Own,
}

/// How statements of a shape are divided.
#[derive(Debug, Clone)]
enum Way {
    Fixed(Route),
    /// The numbers of the values that are the key, and of those that it becomes.
    Key(Vec<usize>, Vec<usize>),
}

/// A COPY block.
pub enum OfCopy {
    Lane(usize),
    /// By these fields.
    Key(Vec<usize>),
    Own,
}

/// A table: its OID; whether it is one without others below it that a statement may mean, too; the columns of its key if it
/// can be divided, in the session's client_encoding. Types whose equal values have equal texts, whatever a statement or a
/// COPY block has: not numeric (1.0), bpchar, float (-0), boolean (t, true), nor what an extension makes.
const TABLE: &str = "WITH uniques AS (SELECT * FROM pg_catalog.pg_index \
        WHERE indrelid = to_regclass($1) AND (indisunique OR indisexclusion)), \
    columns AS (SELECT n, a.attname, a.attnotnull AND a.attgenerated = '' AND oc.opcdefault AND oc.opcnamespace = 11 \
            AND coalesce(collisdeterministic, true) AND (CASE typtype WHEN 'd' THEN typbasetype ELSE t.oid END) \
                IN (20, 21, 23, 25, 26, 1043, 1082, 1114, 1184, 2950) AS is_fit \
        FROM uniques CROSS JOIN LATERAL unnest(indkey, indclass, indcollation) WITH ORDINALITY AS k (attnum, opclass, indexcollation, n) \
        LEFT JOIN pg_catalog.pg_attribute AS a ON attrelid = indrelid AND a.attnum = k.attnum \
        LEFT JOIN pg_catalog.pg_type AS t ON t.oid = atttypid \
        LEFT JOIN pg_catalog.pg_opclass AS oc ON oc.oid = opclass \
        LEFT JOIN pg_catalog.pg_collation AS co ON co.oid = nullif(indexcollation, 0) \
        WHERE n <= indnkeyatts) \
    SELECT c.oid, relkind = 'r', CASE WHEN (SELECT count(*) = 1 AND bool_and(indisvalid AND indisready AND indimmediate \
            AND NOT indisexclusion AND indpred IS NULL AND indexprs IS NULL) FROM uniques) \
            AND (SELECT bool_and(is_fit IS TRUE) FROM columns) THEN \
        (SELECT array_agg(convert_to(attname, current_setting('client_encoding')) ORDER BY n) FROM columns) END \
    FROM pg_catalog.pg_class AS c WHERE c.oid = to_regclass($1)";

/// What is known of tables and shapes, between two schema changes.
pub struct Routes {
    client: Arc<Client>,
    lanes: usize,
    tables: HashMap<Vec<u8>, Table>,
    shapes: HashMap<Vec<u8>, Way>,
}

/// Shapes that are remembered.
const MOST_SHAPES: usize = 5000;

type Result<T> = std::result::Result<T, tokio_postgres::Error>;

impl Routes {
    /// Asks by `client`, into so many lanes.
    pub fn new(client: Arc<Client>, lanes: usize) -> Routes {
        Routes {
            client,
            lanes,
            tables: HashMap::new(),
            shapes: HashMap::new(),
        }
    }

    /// A schema change may have made other keys.
    pub fn forget(&mut self) {
        self.tables.clear();
        self.shapes.clear();
    }

    /// Of a statement of one line, and its shape if it has one.
    pub async fn of(&mut self, text: &[u8], shape: Option<&Shape>) -> Result<Route> {
        // Positions of sequences, and large objects, stay in order among themselves.
        let is_call = |start: &[u8]| text.starts_with(start);
        if is_call(b"SELECT pg_catalog.setval(") || is_call(b"SELECT pg_catalog.lo_") {
            return Ok(Route::Lane(0));
        }
        let Some(shape) = shape else {
            return self.of_alone(text).await;
        };
        if !self.shapes.contains_key(&shape.text) {
            if self.shapes.len() >= MOST_SHAPES {
                self.shapes.clear();
            }
            let way = self.way(&shape.text).await?;
            self.shapes.insert(shape.text.clone(), way);
        }
        let (old, new) = match self.shapes.get(&shape.text) {
            Some(Way::Key(old, new)) => (old, new),
            Some(Way::Fixed(route)) => return Ok(route.clone()),
            None => return Ok(Route::Own),
        };
        let lane = |places: &[usize]| {
            let values = places.iter().map(|place| shape.values.get(*place));
            self.lane(values.map(|value| shape::bytes_of(text, value?)))
        };
        Ok(match (lane(old), old == new) {
            (Some(lane), true) => Route::Lane(lane),
            (first, _) if first.is_some() && first == lane(new) => {
                first.map_or(Route::Own, Route::Lane)
            }
            _ => Route::Own,
        })
    }

    /// A statement that is too long for a shape.
    async fn of_alone(&mut self, text: &[u8]) -> Result<Route> {
        let Some(statement) = statement::parse(text) else {
            return Ok(Route::Own);
        };
        Ok(match self.table(statement.table).await? {
            Table::Own => Route::Own,
            Table::Alone(lane) => Route::Lane(lane),
            Table::ByKey(key) => {
                let lane = |of_new: bool| {
                    let values =
                        key.iter()
                            .map(|column| match statement.value_of(column, of_new)? {
                                Part::Literal(value) => shape::bytes_of(text, value),
                                Part::Parameter(_) => None,
                            });
                    self.lane(values)
                };
                match (lane(false), lane(true)) {
                    (Some(old), Some(new)) if old == new => Route::Lane(old),
                    _ => Route::Own,
                }
            }
        })
    }

    async fn way(&mut self, text: &[u8]) -> Result<Way> {
        let Some(statement) = statement::parse(text) else {
            return Ok(Way::Fixed(Route::Own));
        };
        Ok(match self.table(statement.table).await? {
            Table::Own => Way::Fixed(Route::Own),
            Table::Alone(lane) => Way::Fixed(Route::Lane(lane)),
            Table::ByKey(key) => {
                let places = |of_new: bool| -> Option<Vec<usize>> {
                    key.iter()
                        .map(|column| place(&statement, column, of_new))
                        .collect()
                };
                match (places(false), places(true)) {
                    (Some(old), Some(new)) => Way::Key(old, new),
                    _ => Way::Fixed(Route::Own),
                }
            }
        })
    }

    /// Of the first line of a COPY block.
    pub async fn of_copy(&mut self, head: &[u8]) -> Result<OfCopy> {
        let Some((table, columns)) = statement::parse_copy(head) else {
            return Ok(OfCopy::Own);
        };
        Ok(match self.table(table).await? {
            Table::Own => OfCopy::Own,
            Table::Alone(lane) => OfCopy::Lane(lane),
            Table::ByKey(key) => {
                let fields = key
                    .iter()
                    .map(|name| columns.iter().position(|it| it == name));
                let fields: Option<Vec<usize>> = fields.collect();
                fields.map_or(OfCopy::Own, OfCopy::Key)
            }
        })
    }

    /// Of a row of a COPY block that is divided by these fields; `None` if it has no such field.
    pub fn of_row(&self, row: &[u8], fields: &[usize]) -> Option<usize> {
        self.lane(fields.iter().map(|field| {
            let field = row.split(|byte| *byte == b'\t').nth(*field)?;
            (field != b"\\N").then(|| statement::field(field))
        }))
    }

    /// Of a key's values. All versions of the program must have the same answer: a restore that goes on relies on it.
    fn lane(&self, values: impl Iterator<Item = Option<Vec<u8>>>) -> Option<usize> {
        let mut hash = Hash::default();
        for value in values {
            hash.add(&value?);
        }
        Some(hash.lane(self.lanes))
    }

    async fn table(&mut self, name: &[u8]) -> Result<Table> {
        if let Some(table) = self.tables.get(name) {
            return Ok(table.clone());
        }
        let readable = readable(name);
        let value = (&Raw(&readable) as &(dyn ToSql + Sync), Type::TEXT);
        let rows = self.client.query_typed(TABLE, &[value]).await?;
        let table = match rows.first() {
            Some(row) if row.get(1) => match row.get::<_, Option<Vec<Vec<u8>>>>(2) {
                Some(key) => Table::ByKey(key),
                None => {
                    let mut hash = Hash::default();
                    hash.add(&row.get::<_, u32>(0).to_be_bytes());
                    Table::Alone(hash.lane(self.lanes))
                }
            },
            _ => Table::Own,
        };
        self.tables.insert(name.to_vec(), table.clone());
        Ok(table)
    }
}

fn place(statement: &Statement<'_>, column: &[u8], of_new: bool) -> Option<usize> {
    match statement.value_of(column, of_new)? {
        Part::Parameter(number) => number.checked_sub(1),
        Part::Literal(Value::Null | Value::Plain(_) | Value::Quoted(..)) => None,
    }
}

/// FNV-1a, of 64 bits.
struct Hash(u64);

impl Default for Hash {
    fn default() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    fn add(&mut self, value: &[u8]) {
        // No value is the end of another one.
        let length = (value.len() as u64).to_be_bytes();
        for byte in value.iter().chain(&length) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn lane(&self, lanes: usize) -> usize {
        // The lower bits alone depend on few bits of what was added last.
        let mixed = self.0 ^ (self.0 >> 32);
        usize::try_from(mixed % lanes.max(1) as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(values: &[&str], lanes: usize) -> usize {
        let mut hash = Hash::default();
        values.iter().for_each(|value| hash.add(value.as_bytes()));
        hash.lane(lanes)
    }

    #[test]
    fn keys_are_spread_over_all_lanes() {
        for lanes in [2, 3, 4, 7] {
            let mut counts = vec![0; lanes];
            for number in 0..7000 {
                counts[lane(&[&number.to_string()], lanes)] += 1;
            }
            let fair = 7000 / lanes;
            assert!(
                counts.iter().all(|count| *count > fair * 9 / 10),
                "{counts:?}"
            );
        }
    }

    #[test]
    fn the_lane_of_a_key_is_the_same_in_every_version() {
        assert_eq!(lane(&["1"], 1 << 20), 68_652);
        assert_eq!(lane(&["a", "bc"], 1 << 20), 985_209);
        assert_ne!(lane(&["a", "bc"], 1 << 20), lane(&["ab", "c"], 1 << 20));
    }
}
