//! Replica identities: without one, UPDATE and DELETE leave no old row in the WAL and are lost.
//!
//! Under `pg_incrbackup.replica_identity = full` every table without a key gets one, at setup and whenever
//! DDL makes it necessary, in the same transaction and recorded as DDL, so that a restore does the same. What
//! we set is recorded in replica_identity_set, with what was there before: it is reset when a primary key is added, and
//! given back when the backup ends. What the user set is kept, unless it leaves the table without one (NOTHING, or an index that was dropped). Under `error` the
//! executor refuses such changes, under `warn` health reports them.

use std::fmt;
use std::sync::OnceLock;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::pg::catalogs::identity_notes::Notes;
use crate::pg::ddl;
use crate::pg::ddl::identity::{is_keyless, with_descendants, NewIdentity, OwnPrivileges};
use crate::pg::ddl::node::{relation_name, Sql};
use crate::pg::ddl::place::{relation_place, Place};
use crate::pg::ddl::subtransaction::attempt;
use crate::pg::ddl::touched::relation_named;
use crate::pg::server::query::see_own_changes;
use crate::pg::text::quote;
use crate::settings::{self, KeylessTables};

/// A change of one table.
#[derive(Clone, Debug)]
pub struct Ensured {
    /// Qualified and quoted.
    pub relation: String,
    /// As in `ALTER TABLE`: `REPLICA IDENTITY FULL`.
    pub action: String,
}

/// The condition of `is_keyless`, for all tables at once (RelationGetIndexList of relcache.c).
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

/// Gives a table a replica identity if it lacks one, and nobody is using it: `None` if somebody is, and inside that if none
/// is needed. Inside a transaction of the setup worker, under `full`.
pub fn ensure_if_free(table: pg_sys::Oid) -> Option<Option<Ensured>> {
    ddl::identity::lock_if_free(table).then(|| ensure_locked(table))
}

/// The same, but waits for those who are using it, for as long as lock_timeout lets it.
pub fn ensure_waiting(table: pg_sys::Oid) -> Option<Ensured> {
    ddl::identity::lock(table);
    ensure_locked(table)
}

fn ensure_locked(table: pg_sys::Oid) -> Option<Ensured> {
    let due = Due {
        set: vec![(table, lacks(table)?)],
        ..Due::default()
    };
    due.carry_out().pop()
}

/// Tables whose UPDATE and DELETE cannot be captured. It opens none of them: the capture worker calls this,
/// and would keep all of them in its relation cache.
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

/// Effects of a statement that may concern replica identities.
#[derive(Default)]
pub struct Touched {
    /// Tables that it created, altered, or dropped an index of.
    pub tables: Vec<pg_sys::Oid>,
    /// The same, by schema and name.
    pub named: Vec<(Sql, Sql)>,
    /// What it creates according to its text; used if no table was reported.
    pub created: Option<(Sql, Sql)>,
    /// It set a replica identity itself.
    pub identity_is_set: bool,
    /// Tables that it dropped.
    pub dropped: Vec<pg_sys::Oid>,
    /// An index was dropped with another object (an operator class, for example); the table is unknown.
    pub has_lost_index: bool,
}

impl Touched {
    /// False if there is nothing to check.
    pub fn may_concern_identities(&self) -> bool {
        self.has_lost_index
            || self.created.is_some()
            || !(self.tables.is_empty() && self.named.is_empty() && self.dropped.is_empty())
    }
}

/// The changes needed after a statement. They are determined where an error does no harm, and executed in the
/// user's own transaction.
#[derive(Default)]
pub struct Due {
    forgotten: Vec<pg_sys::Oid>,
    set: Vec<(pg_sys::Oid, NewIdentity)>,
}

/// After a statement: tables that lack an identity get one, and those with a new key are reset. Locks those
/// tables.
pub fn due_after(touched: &Touched) -> Due {
    let mut due = Due {
        forgotten: touched.dropped.clone(),
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
    if touched.has_lost_index {
        all.extend(ddl::identity::all_tables());
    }
    all.sort_by_key(|table| table.to_u32());
    all.dedup();
    if touched.identity_is_set {
        due.forgotten.extend(&all);
    }
    all.retain(|table| ddl::identity::may_change(*table));
    if !all.is_empty() && settings::keyless_tables() == KeylessTables::Full {
        due.set = new_identities(&all, touched.identity_is_set);
        due.set
            .iter()
            .for_each(|(table, _)| ddl::identity::lock(*table));
    }
    due
}

/// `is_chosen`: the current one was set by the user, and is not reset.
fn new_identities(tables: &[pg_sys::Oid], is_chosen: bool) -> Vec<(pg_sys::Oid, NewIdentity)> {
    let notes = Notes::find().filter(|_| !is_chosen);
    let is_ours = |table| {
        notes
            .as_ref()
            .is_some_and(|notes| notes.former(table).is_some())
    };
    let tables = tables.iter().filter_map(|table| {
        let has_key = ddl::identity::has_primary_key(*table);
        let new = match lacks(*table) {
            None if has_key && is_ours(*table) => Some(NewIdentity::Default),
            lacking => lacking,
        };
        Some((*table, new?))
    });
    tables.collect()
}

impl Due {
    pub fn carry_out(self) -> Vec<Ensured> {
        let notes = Notes::find();
        if let Some(notes) = &notes {
            self.forgotten.iter().for_each(|table| notes.remove(*table));
        }
        let set = self.set.into_iter().filter_map(|(table, identity)| {
            if let Some(notes) = &notes {
                note(notes, table, &identity);
            }
            set_identity(table, &identity)
        });
        set.collect()
    }
}

/// Before the identity of a table is set. One that had NOTHING is to have it again in the end, also where it gets its primary
/// key in between. An index that was chosen and dropped cannot be chosen again: that is as good as DEFAULT, which is also
/// what pg_dump makes of it.
fn note(notes: &Notes, table: pg_sys::Oid, identity: &NewIdentity) {
    let had_nothing = ddl::identity::current(table) == Some(pg_sys::REPLICA_IDENTITY_NOTHING);
    match (identity, notes.former(table)) {
        (NewIdentity::Default, Some(pg_sys::REPLICA_IDENTITY_DEFAULT)) => notes.remove(table),
        (_, Some(_)) => {}
        (_, None) if had_nothing => notes.add(table, pg_sys::REPLICA_IDENTITY_NOTHING),
        (NewIdentity::Default, None) => {}
        (_, None) => notes.add(table, pg_sys::REPLICA_IDENTITY_DEFAULT),
    }
}

/// True if the executor must check the tables that it updates.
pub fn checks_updates() -> bool {
    settings::keyless_tables() == KeylessTables::Error && ddl::ddl_history::find().is_some()
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

/// The identity to set if a user's table has none: its primary key if there is one that is not used because
/// of NOTHING or a dropped index.
fn lacks(table: pg_sys::Oid) -> Option<NewIdentity> {
    if !is_keyless(table) || relation_place(table) == Place::Ours {
        return None;
    }
    Some(match ddl::identity::fitting_index(table) {
        _ if ddl::identity::has_primary_key(table) => NewIdentity::Default,
        Some(index) => NewIdentity::Index(index),
        None => NewIdentity::Full,
    })
}

/// Records a statement that we are about to execute: its command, its text and its table.
type Record = fn(&'static str, &[u8], Sql);

static RECORD: OnceLock<Record> = OnceLock::new();

/// Registers the recording of changes made here. Only while the library is preloaded, once.
pub fn record_by(record: Record) {
    // Once: a second registration would have no effect.
    let _ = RECORD.set(record);
}

/// Records the change, and makes it.
fn set_identity(table: pg_sys::Oid, identity: &NewIdentity) -> Option<Ensured> {
    let name = relation_name(table)?;
    let action = match identity {
        NewIdentity::Default => b"REPLICA IDENTITY DEFAULT".to_vec(),
        NewIdentity::Nothing => b"REPLICA IDENTITY NOTHING".to_vec(),
        NewIdentity::Full => b"REPLICA IDENTITY FULL".to_vec(),
        NewIdentity::Index(index) => [
            b"REPLICA IDENTITY USING INDEX ",
            &quote::identifier(index)[..],
        ]
        .concat(),
    };
    let sql = [b"ALTER TABLE ONLY ", &name[..], b" ", &action].concat();
    if let Some(record) = RECORD.get() {
        record("ALTER TABLE", &sql, name.clone());
    }
    ddl::identity::set(table, identity);
    Some(Ensured {
        relation: String::from_utf8_lossy(&name).into_owned(),
        action: String::from_utf8_lossy(&action).into_owned(),
    })
}

/// Qualified and quoted.
pub fn shown(table: pg_sys::Oid) -> Option<String> {
    relation_name(table).map(|name| String::from_utf8_lossy(&name).into_owned())
}

/// A table that keeps the identity that we have set; shown as the notice about it.
pub struct Left {
    /// Qualified and quoted.
    table: String,
    /// What it had before, as in `ALTER TABLE`.
    former: &'static str,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Left { table, former } = self;
        write!(
            f,
            "{table} is locked and keeps the replica identity that pg_incrbackup set: run ALTER TABLE {table} REPLICA \
             IDENTITY {former} later"
        )
    }
}

/// Gives tables the identity that they had before we set it, in the caller's transaction; tables that are in use
/// keep ours, and their entry. Returns how many were changed, and the others.
pub fn give_back() -> (usize, Vec<Left>) {
    let (mut given, mut left) = (0, Vec::new());
    let Some(notes) = Notes::find() else {
        return (given, left);
    };
    for noted in notes.all() {
        let table = noted.relation;
        let (former, name) = match noted.former {
            pg_sys::REPLICA_IDENTITY_NOTHING => (NewIdentity::Nothing, "NOTHING"),
            _ => (NewIdentity::Default, "DEFAULT"),
        };
        // The table may be gone.
        if ddl::identity::current(table).is_none_or(|now| now == noted.former) {
            continue;
        }
        let is_given = ddl::identity::lock_if_free(table)
            && attempt(|| ddl::identity::set(table, &former)).is_ok();
        if is_given {
            notes.remove(table);
            given += 1;
        } else {
            let former = name;
            left.extend(shown(table).map(|table| Left { table, former }));
        }
    }
    (given, left)
}
