//! The sessions that block a look-up: those that hold an exclusive lock on a table.

use std::collections::BTreeMap;

use pgrx::prelude::*;

use crate::pg::ddl::node::relation_name;
use crate::pg::server;

/// Maximum number of tables in the message.
const NAMED: usize = 3;

/// The tables of this database that other sessions have locked like ALTER TABLE, and by which processes, as
/// text; empty if there are none. Reads the whole lock table: only for error messages.
pub fn in_words() -> String {
    let mut holders: BTreeMap<u32, Vec<i32>> = BTreeMap::new();
    // SAFETY: inside a transaction; the locks are a copy in the current memory context.
    unsafe {
        let all = &*pg_sys::GetLockStatusData();
        let locks = std::slice::from_raw_parts(all.locks, all.nelements as usize);
        let exclusive = 1 << pg_sys::AccessExclusiveLock;
        let in_the_way = locks.iter().filter(|lock| {
            let tag = &lock.locktag;
            tag.locktag_type == pg_sys::LockTagType::LOCKTAG_RELATION as u8
                && tag.locktag_field1 == server::my_database().to_u32()
                && lock.holdMask & exclusive != 0
                && lock.pid != pg_sys::MyProcPid
        });
        for lock in in_the_way {
            let relation = lock.locktag.locktag_field2;
            holders.entry(relation).or_default().push(lock.pid);
        }
    }
    let named = holders.iter().filter_map(|(relation, pids)| {
        let name = name((*relation).into())?;
        let pids = pids.iter().map(|pid| match pid {
            0 => "a prepared transaction".to_owned(),
            pid => format!("process {pid}"),
        });
        let pids: Vec<String> = pids.collect();
        Some(format!("{name} is locked by {}", pids.join(", ")))
    });
    named.take(NAMED).collect::<Vec<_>>().join("; ")
}

/// The qualified name of a table; `None` for relations without a definition of their own.
fn name(relation: pg_sys::Oid) -> Option<String> {
    let kinds = [
        pg_sys::RELKIND_RELATION,
        pg_sys::RELKIND_PARTITIONED_TABLE,
        pg_sys::RELKIND_VIEW,
        pg_sys::RELKIND_MATVIEW,
        pg_sys::RELKIND_FOREIGN_TABLE,
    ];
    // SAFETY: a catalog look-up; 0 where there is no such relation.
    let kind = unsafe { pg_sys::get_rel_relkind(relation) } as u8;
    let name = relation_name(relation).filter(|_| kinds.contains(&kind))?;
    Some(String::from_utf8_lossy(&name).into_owned())
}
