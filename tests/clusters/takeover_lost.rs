//! "What the old primary had and the new one never got: where is it?" Set apart, whenever the new primary is killed meanwhile.

use crate::takeover::{
    alone, chain, ended, primary, promote, restored, standby_of, take_over_broken, NUMBERS,
};
use harness::{program, wait_until, Cluster};
use std::fs;

/// A promoted server, and a former primary that had three commits more.
pub struct Promoted {
    _former: Cluster,
    pub server: Cluster,
    /// What both had.
    known: String,
    /// The last of the three.
    lost_lsn: String,
}

impl Promoted {
    pub fn new() -> Promoted {
        let c = primary();
        c.sql("SELECT incr_dump()");
        let standby = standby_of(&c);
        let known = c.sql(NUMBERS);
        alone(&standby);
        c.sql("INSERT INTO t VALUES (2001); SELECT incr_rotate()");
        c.sql("INSERT INTO t VALUES (2002); SELECT incr_rotate(); SELECT incr_dump()");
        c.sql("INSERT INTO t VALUES (2003)");
        let lost_lsn = c.flush();
        c.crash();
        standby.start();
        promote(&standby);
        standby.write_setting("pg_incrbackup.on_chain_break", "'rebase'");
        standby.sql_in("postgres", "SELECT pg_reload_conf()");
        standby.sql("INSERT INTO t VALUES (3001)");
        Promoted {
            _former: c,
            server: standby,
            known,
            lost_lsn,
        }
    }

    /// It has been told to take the archive over.
    pub fn assert_set_apart(&self) {
        let server = &self.server;
        wait_until("another chain follows", || {
            chain(server, 2).exists() && server.health().starts_with("ok")
        });
        server.sql("INSERT INTO t VALUES (3002)");
        server.assert_restores();
        let reason = ended(server);
        assert!(
            reason.contains("3 transactions of the former primary are not in the history"),
            "{reason}"
        );
        assert!(reason.contains("lost-1"), "{reason}");
        assert_eq!(restored(server, &["--chain", "1"]), self.known);
        let by_script = server.restore_by_script(server, &["--chain", "1"]);
        assert_eq!(server.sql_in(&by_script.database, NUMBERS), self.known);
        let lost = chain(server, 1).join("lost-1");
        let readme = fs::read_to_string(lost.join("README-LOST.txt")).expect("it is explained");
        assert!(readme.contains("3 transactions are lost"), "{readme}");
        let path = lost.display().to_string();
        let shown = program(&["show", "--archive", &path]);
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        for number in ["2001", "2002", "2003"] {
            assert!(
                text.contains(number),
                "{text}\n{}",
                String::from_utf8_lossy(&shown.stderr)
            );
        }
        // Nobody is given an older state for what was lost.
        let archive = server.database_directory().display().to_string();
        let target = server.conninfo("never");
        let refused = program(&[
            "restore",
            "--archive",
            &archive,
            "--target",
            &target,
            "--chain",
            "1",
            "--until-lsn",
            &self.lost_lsn,
        ]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            !refused.status.success() && said.contains("lost-1"),
            "{said}"
        );
    }
}

#[test]
fn commits_that_the_new_primary_never_had_are_set_apart() {
    let promoted = Promoted::new();
    take_over_broken(&promoted.server);
    promoted.assert_set_apart();
}
