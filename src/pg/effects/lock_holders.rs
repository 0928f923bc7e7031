//! Who is in the way of a look: the sessions that hold a table's lock which nobody can share.

use std::collections::BTreeMap;

use pgrx::prelude::*;

use crate::pg::ddl::node::relation_name;
use crate::pg::server;

/// How many tables are named.
const NAMED: usize = 3;

/// The tables of this database that others have locked as ALTER TABLE does, and by which processes, in words;
/// empty where there are none. Looks at the whole lock table: for when something is wrong.
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

/// The qualified name of a table; none of what has no definition of its own.
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
