//! Replica identities: without one, UPDATE and DELETE leave no old row in the WAL and are lost.
//!
//! Under `pg_incrbackup.replica_identity = full` every table without a key gets one, at setup and
//! whenever DDL makes it necessary, in the same transaction and recorded as DDL, so that a restore
//! has the same. What we set is noted in replica_identity_set and taken back when a primary key
//! appears; what the user set stays. Under `error` the executor refuses, under `warn` health tells.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::ddl_log;
use crate::pg::ddl_identity::{self, is_keyless, with_descendants, NewIdentity, OwnPrivileges};
use crate::pg::ddl_node::{relation_name, Sql};
use crate::pg::ddl_place::{relation_place, Place};
use crate::pg::ddl_subtransaction::attempt;
use crate::pg::ddl_touched::relation_named;
use crate::pg::query::{connect_now, see_own_changes, select_kept};
use crate::pg::{ddl_history, quote};
use crate::settings::{self, KeylessTables};

/// What was done to one table.
#[derive(Clone, Debug)]
pub struct Ensured {
    /// Qualified and quoted.
    pub relation: String,
    /// As in `ALTER TABLE`: `REPLICA IDENTITY FULL`.
    pub action: String,
}

/// Ordinary logged tables of users, ours left out, with what decides their identity: its kind, a
/// unique index that fits, and whether a primary key serves.
const TABLES: &str = "SELECT c.oid, c.relreplident::pg_catalog.text, \
     (SELECT bytes(ic.relname) FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid \
      WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid \
      AND i.indisready AND i.indislive AND i.indpred IS NULL AND i.indexprs IS NULL \
      AND NOT EXISTS (SELECT FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) k \
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[k] \
        WHERE a.attnotnull IS NOT TRUE) \
      ORDER BY i.indnkeyatts, ic.relname LIMIT 1), \
     EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary \
       AND i.indimmediate AND i.indisvalid) \
     FROM pg_class c WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384 \
     AND ($1 IS NULL OR c.oid = ANY ($1)) \
     AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid \
       WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid \
       AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' \
       AND e.extname = 'pg_incrbackup') \
     ORDER BY c.oid";

/// What `is_keyless` says, of all tables at once (RelationGetIndexList of relcache.c).
const KEYLESS: &str = "SELECT c.oid FROM pg_catalog.pg_class c \
     WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384 AND c.relreplident <> 'f' \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid \
       AND i.indislive AND i.indisvalid AND i.indimmediate \
       AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident END) \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
       JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
       WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid \
       AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e' \
       AND e.extname = 'pg_incrbackup') \
     ORDER BY c.oid";

/// Statements on the tables that we set an identity for; `%` stands for our schema, and every one has
/// the parameter.
const NOTE: &str = "INSERT INTO %.replica_identity_set (relation) SELECT pg_catalog.unnest($1) \
     ON CONFLICT DO NOTHING";
const FORGET: &str = "DELETE FROM %.replica_identity_set WHERE relation = ANY ($1)";
const FORGET_DROPPED: &str = "DELETE FROM %.replica_identity_set r WHERE r.relation <> ALL ($1) \
     AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = r.relation)";
const SET_BY_US: &str =
    "SELECT r.relation::oid FROM %.replica_identity_set r WHERE r.relation = ANY ($1)";

struct Table {
    oid: pg_sys::Oid,
    /// `pg_class.relreplident`.
    identity: String,
    fitting_index: Option<Sql>,
    has_primary_key: bool,
}

/// Gives every table an identity that lacks one. Inside a transaction of the setup worker.
pub fn ensure_all() -> Vec<Ensured> {
    if settings::keyless_tables() != KeylessTables::Full {
        return Vec::new();
    }
    let set = read_tables(None).into_iter();
    let set = set.filter_map(|table| Some((table.oid, table.lacks()?)));
    let due = Due {
        set: set.collect(),
        ..Due::default()
    };
    due.carry_out()
}

/// Tables whose UPDATE and DELETE cannot be captured. It opens none of them: the capture worker asks, and
/// would keep all of them in its relation cache.
pub fn keyless_tables() -> spi::Result<Vec<pg_sys::Oid>> {
    let own = OwnPrivileges::enter();
    let found = Spi::connect(|client| {
        let mut rows = client.select(KEYLESS, None, &[])?;
        let mut tables = Vec::new();
        while rows.next().is_some() {
            tables.extend(rows.get::<pg_sys::Oid>(1)?);
        }
        Ok(tables)
    });
    own.leave();
    found
}

/// What a statement did that may concern replica identities.
#[derive(Default)]
pub struct Touched {
    /// Tables that it made, altered, or took an index from.
    pub tables: Vec<pg_sys::Oid>,
    /// The same, by schema and name.
    pub named: Vec<(Sql, Sql)>,
    /// What it makes by its text; counts where nobody reported a table.
    pub created: Option<(Sql, Sql)>,
    /// It set a replica identity itself.
    pub identity_is_set: bool,
    /// It dropped tables.
    pub has_dropped: bool,
}

/// What is to be done after a statement. It is found out where an error does no harm, and done in the
/// user's own transaction.
#[derive(Default)]
pub struct Due {
    forgets_dropped: bool,
    forgotten: Vec<pg_sys::Oid>,
    set: Vec<(pg_sys::Oid, NewIdentity)>,
}

/// After a statement: tables that lack an identity are due to get one, and those with a new key to give
/// theirs up. Locks those tables.
pub fn due_after(touched: &Touched) -> Due {
    let mut due = Due {
        forgets_dropped: touched.has_dropped,
        ..Due::default()
    };
    see_own_changes();
    let created = touched.created.iter();
    let named = created
        .filter(|_| touched.tables.is_empty())
        .chain(&touched.named)
        .filter_map(|(schema, name)| relation_named(schema, name));
    let mut tables: Vec<pg_sys::Oid> = touched.tables.iter().copied().chain(named).collect();
    tables.dedup();
    let mut all: Vec<pg_sys::Oid> = tables.into_iter().flat_map(with_descendants).collect();
    all.sort_by_key(|table| table.to_u32());
    all.dedup();
    if touched.identity_is_set {
        due.forgotten = all;
        return due;
    }
    all.retain(|table| ddl_identity::may_change(*table));
    if !all.is_empty() && settings::keyless_tables() == KeylessTables::Full {
        due.set = new_identities(&read_tables(Some(all)));
        due.set
            .iter()
            .for_each(|(table, _)| ddl_identity::lock(*table));
    }
    due
}

fn new_identities(tables: &[Table]) -> Vec<(pg_sys::Oid, NewIdentity)> {
    let has_own_key = |table: &&Table| table.has_primary_key && table.identity != "d";
    let (keyed, others): (Vec<_>, Vec<_>) = tables.iter().partition(has_own_key);
    let ours = set_by_us(keyed.into_iter().map(|table| table.oid).collect());
    let taken_back = ours.into_iter().map(|table| (table, NewIdentity::Default));
    let lacking = others
        .into_iter()
        .filter_map(|table| Some((table.oid, table.lacks()?)));
    taken_back.chain(lacking).collect()
}

impl Due {
    pub fn carry_out(self) -> Vec<Ensured> {
        if self.forgets_dropped {
            change_notes(FORGET_DROPPED, Vec::new());
        }
        if !self.forgotten.is_empty() {
            change_notes(FORGET, self.forgotten);
        }
        let set = self.set.into_iter().filter_map(|(table, identity)| {
            let is_ours = identity != NewIdentity::Default;
            change_notes(if is_ours { NOTE } else { FORGET }, vec![table]);
            set_identity(table, &identity)
        });
        set.collect()
    }
}

/// True when the executor must look at what it updates.
pub fn checks_updates() -> bool {
    settings::keyless_tables() == KeylessTables::Error && ddl_history::find().is_some()
}

/// Refuses an UPDATE or DELETE whose old rows would be lost.
pub fn ensure_captured(table: pg_sys::Oid) {
    if !is_keyless(table) || relation_place(table) == Place::Ours {
        return;
    }
    let name = shown(table).unwrap_or_default();
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("cannot update or delete rows of {name}: it has no replica identity"),
        "ensure_captured",
    )
    .set_detail("Its old rows would be missing from the backup (pg_incrbackup.replica_identity is \"error\").")
    .set_hint("Add a primary key, or run ALTER TABLE … REPLICA IDENTITY FULL.")
    .report(PgLogLevel::ERROR);
}

impl Table {
    /// The identity to set where the table has none and nobody chose NOTHING for it.
    fn lacks(&self) -> Option<NewIdentity> {
        if self.identity == "n" || !is_keyless(self.oid) {
            return None;
        }
        Some(match &self.fitting_index {
            Some(index) => NewIdentity::Index(index.clone()),
            None => NewIdentity::Full,
        })
    }
}

/// Records the change, and makes it.
fn set_identity(table: pg_sys::Oid, identity: &NewIdentity) -> Option<Ensured> {
    let name = relation_name(table)?;
    let action = match identity {
        NewIdentity::Default => b"REPLICA IDENTITY DEFAULT".to_vec(),
        NewIdentity::Full => b"REPLICA IDENTITY FULL".to_vec(),
        NewIdentity::Index(index) => [
            b"REPLICA IDENTITY USING INDEX ",
            &quote::identifier(index)[..],
        ]
        .concat(),
    };
    let sql = [b"ALTER TABLE ONLY ", &name[..], b" ", &action].concat();
    ddl_log::record_own("ALTER TABLE", &sql, name.clone());
    ddl_identity::set(table, identity);
    Some(Ensured {
        relation: String::from_utf8_lossy(&name).into_owned(),
        action: String::from_utf8_lossy(&action).into_owned(),
    })
}

/// Qualified and quoted.
pub fn shown(table: pg_sys::Oid) -> Option<String> {
    relation_name(table).map(|name| String::from_utf8_lossy(&name).into_owned())
}

fn read_tables(only: Option<Vec<pg_sys::Oid>>) -> Vec<Table> {
    let own = OwnPrivileges::enter();
    let read = connect_now(|client| {
        let mut rows = select_kept(client, TABLES, &[only.into()])?;
        let mut tables = Vec::new();
        while rows.next().is_some() {
            tables.push(Table {
                oid: rows.get(1)?.unwrap_or(pg_sys::InvalidOid),
                identity: rows.get(2)?.unwrap_or_default(),
                fitting_index: rows.get(3)?,
                has_primary_key: rows.get(4)?.unwrap_or(false),
            });
        }
        Ok::<_, spi::Error>(tables)
    });
    own.leave();
    read.unwrap_or_else(|error| pgrx::error!("{error}"))
}

/// Gives the tables whose identity is our doing the usual one back, in the caller's transaction; those
/// that are in use keep it, and their note. Gives how many were changed, and the names of the others.
pub fn give_back() -> (usize, Vec<String>) {
    let (mut given, mut left) = (Vec::new(), Vec::new());
    for table in set_by_us(all_tables()) {
        if !ddl_identity::lock_if_free(table) {
            left.extend(shown(table));
            continue;
        }
        match attempt(|| ddl_identity::set(table, &NewIdentity::Default)) {
            Ok(()) => given.push(table),
            Err(_) => left.extend(shown(table)),
        }
    }
    let count = given.len();
    if count > 0 {
        change_notes(FORGET, given);
    }
    (count, left)
}

fn all_tables() -> Vec<pg_sys::Oid> {
    let chosen = |table: &Table| ["f", "i"].contains(&table.identity.as_str());
    let tables = read_tables(None).into_iter();
    tables.filter(chosen).map(|table| table.oid).collect()
}

/// Those of the tables whose identity is our doing.
fn set_by_us(tables: Vec<pg_sys::Oid>) -> Vec<pg_sys::Oid> {
    let Some(query) = in_our_schema(SET_BY_US).filter(|_| !tables.is_empty()) else {
        return Vec::new();
    };
    let own = OwnPrivileges::enter();
    let found = connect_now(|client| {
        let rows = client.select(&query, None, &[tables.into()])?;
        rows.map(|row| Ok(row.get(1)?.unwrap_or(pg_sys::InvalidOid)))
            .collect::<spi::Result<_>>()
    });
    own.leave();
    found.unwrap_or_else(|error| pgrx::error!("{error}"))
}

/// Runs a statement on the extension's own table, in the user's transaction.
fn change_notes(statement: &str, tables: Vec<pg_sys::Oid>) {
    let Some(statement) = in_our_schema(statement) else {
        return;
    };
    let own = OwnPrivileges::enter();
    let changed = Spi::connect_mut(|client| {
        client.update(&statement, None, &[tables.into()])?;
        Ok::<_, spi::Error>(())
    });
    own.leave();
    changed.unwrap_or_else(|error| pgrx::error!("{error}"));
}

/// None where the extension is not created.
fn in_our_schema(statement: &str) -> Option<String> {
    let schema = ddl_history::find()?.schema_name()?;
    let schema = String::from_utf8_lossy(&quote::identifier(&schema)).into_owned();
    Some(statement.replace('%', &schema))
}
