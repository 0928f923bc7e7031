//! Replica identities: finding tables without one, and setting it inside the user's own transaction.

use std::ops::ControlFlow;

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::prelude::*;
use pgrx::PgBox;

use super::node::{bytes, c_string, is_a, items, Sql};
use crate::pg::catalogs::scan::{scan, Catalog, Key, Versions};
use crate::pg::server::session::set_at_level;

/// The argument of `ALTER TABLE … REPLICA IDENTITY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewIdentity {
    Default,
    Nothing,
    Full,
    /// USING INDEX with this name.
    Index(Sql),
}

extern "C-unwind" {
    // catalog/pg_inherits.h
    fn find_all_inheritors(
        parent: pg_sys::Oid,
        lock: pg_sys::LOCKMODE,
        parents: *mut *mut pg_sys::List,
    ) -> *mut pg_sys::List;
}

/// A table and everything that inherits from it, including partitions; empty if it does not exist. Takes no
/// lock.
pub fn with_descendants(table: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    match with_class(table, |class| class.relhassubclass) {
        None => return Vec::new(),
        Some(false) => return vec![table],
        Some(true) => {}
    }
    // SAFETY: a catalog look-up that answers a list of OIDs; the closure owns nothing.
    unsafe {
        let list = pg_guard_ffi_boundary(|| find_all_inheritors(table, 0, std::ptr::null_mut()));
        if list.is_null() {
            return vec![table];
        }
        let length = (*list).length as usize;
        (0..length)
            .map(|place| (*(*list).elements.add(place)).oid_value)
            .collect()
    }
}

/// True for an ordinary, logged table of a user whose old rows are not in the WAL.
pub fn is_keyless(table: pg_sys::Oid) -> bool {
    // SAFETY: opened with a lock and closed; an error in between ends the (sub)transaction.
    unsafe {
        let relation = pg_sys::try_relation_open(table, pg_sys::AccessShareLock as i32);
        if relation.is_null() {
            return false;
        }
        let form = &*(*relation).rd_rel;
        let keyless = form.relkind as u8 == pg_sys::RELKIND_RELATION
            && form.relpersistence as u8 == pg_sys::RELPERSISTENCE_PERMANENT
            && !pg_sys::IsCatalogRelation(relation)
            && form.relreplident as u8 != pg_sys::REPLICA_IDENTITY_FULL
            && pg_sys::RelationGetReplicaIndex(relation) == pg_sys::InvalidOid;
        pg_sys::relation_close(relation, pg_sys::AccessShareLock as i32);
        keyless
    }
}

/// False for a table that has a replica identity and keeps it: by its primary key, or by another one without
/// a primary key.
///
/// Reads the catalogs instead of opening the table: a statement has just changed it, so its relcache entry
/// would be built, only to be discarded when the transaction ends.
pub fn may_change(table: pg_sys::Oid) -> bool {
    let facts = with_class(table, |class| {
        let is_ordinary = class.relkind as u8 == pg_sys::RELKIND_RELATION
            && class.relpersistence as u8 == pg_sys::RELPERSISTENCE_PERMANENT;
        (is_ordinary, class.relreplident as u8, class.relhasindex)
    });
    // SAFETY: looks at the OID alone.
    let is_catalog = || unsafe { pg_sys::IsCatalogRelationOid(table) };
    let Some((true, identity, has_index)) = facts.filter(|_| !is_catalog()) else {
        return false;
    };
    let (has_key, has_chosen) = if has_index {
        keys(table)
    } else {
        (false, false)
    };
    match identity {
        pg_sys::REPLICA_IDENTITY_DEFAULT => !has_key,
        pg_sys::REPLICA_IDENTITY_FULL => has_key,
        pg_sys::REPLICA_IDENTITY_INDEX => has_key || !has_chosen,
        _ => true,
    }
}

/// Of pg_class, by OID.
const CLASSES: Catalog = Catalog {
    table: 1259,
    index: 2662,
};

/// The user relations for which [`may_change`] is worth checking, as of now: also those that others have
/// created since this transaction's snapshot.
pub fn all_tables() -> Vec<pg_sys::Oid> {
    let mut relations = Vec::new();
    scan(CLASSES, &[], Versions::Visible, false, |class| {
        let oid = class.get(0).map_or(0, |value| value.value() as u32);
        if oid >= pg_sys::FirstNormalObjectId {
            relations.push(oid.into());
        }
        ControlFlow::Continue(())
    });
    relations.retain(|table| may_change(*table));
    relations
}

/// `relreplident` of a table; `None` if there is no such table.
pub fn current(table: pg_sys::Oid) -> Option<u8> {
    with_class(table, |class| class.relreplident as u8)
}

/// Whether a table has a primary key that identifies its rows.
pub fn has_primary_key(table: pg_sys::Oid) -> bool {
    keys(table).0
}

/// pg_index by the table (catalog/pg_index.h: the index has no constant in the bindings), and the
/// places of its columns.
const INDEXES: Catalog = Catalog {
    table: 2610,
    index: 2678,
};
const TABLE_OF_INDEX: i16 = 2;
const INDEX: usize = 0;
const KEY_COLUMNS: usize = 3;
const IS_UNIQUE: usize = 4;
const IS_PRIMARY: usize = 6;
const IS_IMMEDIATE: usize = 8;
const IS_VALID: usize = 10;
const IS_READY: usize = 12;
const IS_LIVE: usize = 13;
const IS_REPLICA_IDENTITY: usize = 14;
const COLUMNS: usize = 15;
const EXPRESSIONS: usize = 19;
const PREDICATE: usize = 20;

/// The unique index that REPLICA IDENTITY USING INDEX accepts, with the fewest columns if there are several.
pub fn fitting_index(table: pg_sys::Oid) -> Option<Sql> {
    let mut fitting: Vec<(usize, Sql)> = Vec::new();
    let key = [(TABLE_OF_INDEX, Key::OidIs(table.to_u32()))];
    scan(INDEXES, &key, Versions::Visible, false, |index| {
        let value = |place| index.get(place).map_or(0, |value| value.value());
        let is_simple = index.get(PREDICATE).is_none() && index.get(EXPRESSIONS).is_none();
        let fits = [IS_UNIQUE, IS_IMMEDIATE, IS_VALID, IS_READY, IS_LIVE]
            .into_iter()
            .all(|place| value(place) != 0);
        let count = value(KEY_COLUMNS) as u16 as usize;
        // SAFETY: an int2vector has as many places as the index has columns, those of the key first; the
        // name is a copy in the current context.
        unsafe {
            let columns = value(COLUMNS) as *const pg_sys::int2vector;
            let is_filled =
                |place: usize| is_never_null(table, *(*columns).values.as_ptr().add(place));
            if is_simple && fits && (0..count).all(is_filled) {
                let index = pg_sys::Oid::from(value(INDEX) as u32);
                fitting.extend(bytes(pg_sys::get_rel_name(index)).map(|name| (count, name)));
            }
        }
        ControlFlow::Continue(())
    });
    fitting.into_iter().min().map(|(_, name)| name)
}

/// False for system columns, too.
fn is_never_null(table: pg_sys::Oid, column: i16) -> bool {
    // SAFETY: a look-up by OID and number; the row is read before it is released.
    unsafe {
        let row = pg_sys::SearchSysCache2(
            pg_sys::SysCacheIdentifier::ATTNUM as i32,
            table.into(),
            column.into(),
        );
        if row.is_null() {
            return false;
        }
        let form = pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_attribute>(row);
        let is_never_null = (*form).attnotnull;
        pg_sys::ReleaseSysCache(row);
        is_never_null
    }
}

/// Whether a table has a primary key that identifies its rows, and a unique index chosen as replica identity
/// (RelationGetIndexList of utils/cache/relcache.c).
fn keys(table: pg_sys::Oid) -> (bool, bool) {
    let (mut has_key, mut has_chosen) = (false, false);
    let key = [(TABLE_OF_INDEX, Key::OidIs(table.to_u32()))];
    scan(INDEXES, &key, Versions::Visible, false, |index| {
        let is = |place| index.get(place).is_some_and(|value| value.value() != 0);
        let identifies = [IS_UNIQUE, IS_IMMEDIATE, IS_VALID, IS_LIVE]
            .into_iter()
            .all(is)
            && index.get(PREDICATE).is_none();
        has_key |= identifies && is(IS_PRIMARY);
        has_chosen |= identifies && is(IS_REPLICA_IDENTITY);
        ControlFlow::Continue(())
    });
    (has_key, has_chosen)
}

/// Reads a relation's row of pg_class; `None` if there is no such relation.
fn with_class<R>(
    relation: pg_sys::Oid,
    read: impl FnOnce(&pg_sys::FormData_pg_class) -> R,
) -> Option<R> {
    // SAFETY: a look-up by OID; the row is read before it is released, by code that cannot raise.
    unsafe {
        let row = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::RELOID as i32,
            pg_sys::Datum::from(relation),
        );
        if row.is_null() {
            return None;
        }
        let read = read(&*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_class>(row));
        pg_sys::ReleaseSysCache(row);
        Some(read)
    }
}

/// Locks a table as [`set`] does.
pub fn lock(table: pg_sys::Oid) {
    // SAFETY: locks by OID, to the transaction's end; an error ends the (sub)transaction.
    unsafe { pg_sys::LockRelationOid(table, pg_sys::AccessExclusiveLock as i32) }
}

/// Locks a table as [`set`] does, if nobody else is using it.
pub fn lock_if_free(table: pg_sys::Oid) -> bool {
    // SAFETY: locks by OID; a lock that is taken is kept to the transaction's end.
    unsafe { pg_sys::ConditionalLockRelationOid(table, pg_sys::AccessExclusiveLock as i32) }
}

/// Runs `ALTER TABLE ONLY … REPLICA IDENTITY` as an internal command: no hook and no event trigger regards it
/// as a statement of the user. The table may belong to somebody else and have lost its key by CASCADE; its
/// rows do not change, so this session may be using it.
pub fn set(table: pg_sys::Oid, identity: &NewIdentity) {
    let name = match identity {
        NewIdentity::Index(name) => c_string(name),
        _ => Default::default(),
    };
    let own = OwnPrivileges::enter();
    // SAFETY: nodes are allocated zeroed with their tags; names are copied into the current context.
    unsafe {
        let mut definition = PgBox::<pg_sys::ReplicaIdentityStmt>::alloc_node(
            pg_sys::NodeTag::T_ReplicaIdentityStmt,
        );
        definition.identity_type = match identity {
            NewIdentity::Default => pg_sys::REPLICA_IDENTITY_DEFAULT,
            NewIdentity::Nothing => pg_sys::REPLICA_IDENTITY_NOTHING,
            NewIdentity::Full => pg_sys::REPLICA_IDENTITY_FULL,
            NewIdentity::Index(_) => pg_sys::REPLICA_IDENTITY_INDEX,
        } as std::ffi::c_char;
        definition.name = pg_sys::pstrdup(name.as_ptr());
        let mut command =
            PgBox::<pg_sys::AlterTableCmd>::alloc_node(pg_sys::NodeTag::T_AlterTableCmd);
        command.subtype = pg_sys::AlterTableType::AT_ReplicaIdentity;
        command.def = definition.into_pg().cast();
        let commands = pg_sys::lappend(std::ptr::null_mut(), command.into_pg().cast());
        let mut statement =
            PgBox::<pg_sys::AlterTableStmt>::alloc_node(pg_sys::NodeTag::T_AlterTableStmt);
        statement.cmds = commands;
        statement.objtype = pg_sys::ObjectType::OBJECT_TABLE;
        // An outer command that collects its effects for event triggers expects this state.
        pg_sys::EventTriggerAlterTableStart(statement.into_pg().cast());
        pg_sys::AlterTableInternal(table, commands, false);
        pg_sys::EventTriggerAlterTableEnd();
        pg_sys::CommandCounterIncrement();
    }
    own.leave();
}

/// The relations whose existing rows a planned statement updates or deletes.
///
/// # Safety
/// `planned` is a valid planned statement.
pub unsafe fn updated_relations(planned: *mut pg_sys::PlannedStmt) -> Vec<pg_sys::Oid> {
    // SAFETY: by the caller's promise. ModifyTable stands only at the top of the plan or of a
    // subplan (a data-modifying WITH query).
    unsafe {
        let mut plans = items::<pg_sys::Node>((*planned).subplans);
        plans.push((*planned).planTree.cast());
        let mut relations = Vec::new();
        for plan in plans {
            if !is_a(plan, pg_sys::NodeTag::T_ModifyTable) {
                continue;
            }
            let modify = &*plan.cast::<pg_sys::ModifyTable>();
            let is_insert = modify.operation == pg_sys::CmdType::CMD_INSERT
                && modify.onConflictAction != pg_sys::OnConflictAction::ONCONFLICT_UPDATE;
            if is_insert || modify.resultRelations.is_null() {
                continue;
            }
            let targets = &*modify.resultRelations;
            for place in 0..targets.length as usize {
                let index = (*targets.elements.add(place)).int_value as usize;
                let entries = items::<pg_sys::RangeTblEntry>((*planned).rtable);
                relations.push((*entries[index - 1]).relid);
            }
        }
        relations
    }
}

/// A role and a search path under which objects of users cannot interfere with our own queries; restored by
/// `leave`, or by the abort of the (sub)transaction.
pub struct OwnPrivileges {
    role: pg_sys::Oid,
    context: i32,
    nest_level: i32,
}

impl OwnPrivileges {
    pub fn enter() -> Self {
        let (mut role, mut context) = (pg_sys::InvalidOid, 0);
        // SAFETY: plain calls inside a transaction; guc.c copies the strings.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut role, &mut context);
            let nest_level = pg_sys::NewGUCNestLevel();
            for (name, value) in [
                (c"search_path", c"pg_catalog, pg_temp"),
                // For our own queries, and for the definitions that they read (ruleutils.c).
                (c"standard_conforming_strings", c"on"),
                // A saved plan is not to be made again for each argument.
                (c"plan_cache_mode", c"force_generic_plan"),
            ] {
                set_at_level(name, value, pg_sys::GucContext::PGC_USERSET);
            }
            let changed = context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32;
            pg_sys::SetUserIdAndSecContext(pg_sys::Oid::from(10), changed);
            Self {
                role,
                context,
                nest_level,
            }
        }
    }

    /// Until `leave`, no trigger and no event trigger of others fires for our commands.
    pub fn without_triggers(self) -> Self {
        // SAFETY: inside a transaction, at the nest level of `enter`.
        unsafe {
            let superuser = pg_sys::GucContext::PGC_SUSET;
            set_at_level(c"session_replication_role", c"replica", superuser);
        }
        self
    }

    pub fn leave(self) {
        // SAFETY: gives back what `enter` found, in the same (sub)transaction.
        unsafe {
            pg_sys::SetUserIdAndSecContext(self.role, self.context);
            pg_sys::AtEOXact_GUC(true, self.nest_level);
        }
    }
}
