//! The position of every sequence, and the statements that set it.
//!
//! nextval() is logged every 32 values, so the WAL (and a crash) knows a sequence only up to a position ahead
//! of the values returned. `Safe` is that position: never behind a value in use. `Exact` is the current
//! position. Temporary sequences and those that belong to extensions are left out.

use pgrx::prelude::*;

use crate::pg::catalogs::sequence::{self, State};
use crate::pg::decoding::moved_sequences::{guarded_setval, setval};

/// The position of a sequence. Names are in the database's encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub oid: pg_sys::Oid,
    pub schema: Vec<u8>,
    pub name: Vec<u8>,
    pub value: i64,
    pub is_called: bool,
}

/// The kind of position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// At or past every value that was returned, as in the WAL.
    Safe,
    /// The current position.
    Exact,
}

/// A sequence as the catalogs describe it.
struct Sequence {
    oid: pg_sys::Oid,
    schema: Vec<u8>,
    name: Vec<u8>,
    increment: i64,
    min: i64,
    max: i64,
}

/// Positions of all sequences of this database, by schema and name. Needs a transaction.
pub fn positions(which: Positions) -> Result<Vec<Position>, pgrx::spi::Error> {
    let positions = sequences()?.into_iter().filter_map(|found| {
        let state = sequence::state(found.oid)?;
        let value = match which {
            Positions::Exact => state.last_value,
            Positions::Safe => safe_value(&found, state),
        };
        Some(Position {
            oid: found.oid,
            is_called: state.is_called || value != state.last_value,
            value,
            schema: found.schema,
            name: found.name,
        })
    });
    Ok(positions.collect())
}

/// `SELECT pg_catalog.setval('public.s', 33, true);`, on one line, in the database's encoding.
pub fn setval_sql(position: &Position) -> Vec<u8> {
    let name = (position.schema.clone(), position.name.clone());
    setval(&name, position.value, position.is_called)
}

/// The same, but does nothing if no such sequence exists at replay.
pub fn guarded_setval_sql(position: &Position) -> Vec<u8> {
    let name = (position.schema.clone(), position.name.clone());
    guarded_setval(&name, position.value, position.is_called)
}

fn safe_value(sequence: &Sequence, state: State) -> i64 {
    let ahead = i128::from(state.log_count) * i128::from(sequence.increment);
    let value = i128::from(state.last_value) + ahead;
    value.clamp(sequence.min.into(), sequence.max.into()) as i64
}

fn sequences() -> Result<Vec<Sequence>, pgrx::spi::Error> {
    // convert_to() into the database's own encoding returns the bytes unchanged.
    const QUERY: &str = "SELECT c.oid, \
          pg_catalog.convert_to(n.nspname::text, pg_catalog.getdatabaseencoding()), \
          pg_catalog.convert_to(c.relname::text, pg_catalog.getdatabaseencoding()), \
          s.seqincrement, s.seqmin, s.seqmax \
        FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid \
          JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.relpersistence <> 't' AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
            JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
          WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid \
            AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass \
            AND d.deptype = 'e' AND (e.extname = 'pg_incrbackup' \
              OR NOT c.oid = ANY (coalesce(e.extconfig, '{}')))) \
        ORDER BY n.nspname, c.relname";
    Spi::connect(|client| {
        client
            .select(QUERY, None, &[])?
            .map(|row| {
                Ok(Sequence {
                    oid: row.get(1)?.unwrap_or(pg_sys::InvalidOid),
                    schema: row.get(2)?.unwrap_or_default(),
                    name: row.get(3)?.unwrap_or_default(),
                    increment: row.get(4)?.unwrap_or(1),
                    min: row.get(5)?.unwrap_or(i64::MIN),
                    max: row.get(6)?.unwrap_or(i64::MAX),
                })
            })
            .collect()
    })
}
