//! A session that stays, for the many queries of a state.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;

use harness::{Cluster, Session};

thread_local! {
    static SESSIONS: RefCell<HashMap<PathBuf, Session>> = RefCell::default();
}

/// The rows of a query, tab between the columns, under a restore's search path.
pub fn query(cluster: &Cluster, database: &str, sql: &str) -> Result<String, String> {
    SESSIONS.with_borrow_mut(|sessions| {
        let open = || {
            let mut session = cluster.session_in(database);
            session.run("\\pset fieldsep '\\t'\n\\pset tuples_only on\n\\pset format unaligned\nSET search_path = ''; SET jit = off");
            session
        };
        let session = sessions.entry(cluster.root().join(database)).or_insert_with(open);
        session.send(sql);
        let output = session.finish();
        if output.contains("ERROR:  ") { Err(output) } else { Ok(output) }
    })
}
