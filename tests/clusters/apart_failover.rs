//! A directory for each node, where Patroni runs them: its callback is the page's script.

use crate::apart::script;
use crate::takeover::NUMBERS;
use harness::patroni::Patroni;
use harness::{give_to_server_user, program, run, wait_until, Cluster, Installation};
use std::fs;
use std::path::{Path, PathBuf};

/// The page's script for any of the nodes, which are called as their directories are.
fn for_nodes(heading: &str, root: &Path) -> String {
    script(heading)
        .replace("\"$(hostname)\"", "\"$(basename \"$PGHOST\")\"")
        .replace(
            "/etc/pg_incrbackup/place",
            &root.join("place").display().to_string(),
        )
        .replace("/mnt/backup", &root.join("backup").display().to_string())
        .replace("/var/backups/postgresql", "$PGHOST/archive")
}

/// A directory that is removed with the value.
struct Place(PathBuf);

impl Place {
    /// With the script that copies there, for all nodes.
    fn new() -> Place {
        let root = std::env::temp_dir().join(format!("place.{:08x}", fastrand::u32(..)));
        let place = Place(root);
        let backup = place.0.join("backup");
        fs::create_dir_all(&backup).expect("it can be made");
        fs::write(place.0.join("place"), for_nodes("One writer", &place.0))
            .expect("it can be written");
        give_to_server_user(&place.0);
        place
    }

    fn archive_command(&self) -> String {
        let script = self.0.join("place");
        format!(
            "PGHOST=$NODE sh {} \"$(basename $NODE)\" put %p %f",
            script.display()
        )
    }

    /// The first primary's own, as the page says.
    fn init(&self, c: &Cluster) {
        let mut command = c.installation().command("sh");
        command.env("PGHOST", c.root());
        command.envs([("PGPORT", "5432"), ("PGUSER", "postgres")]);
        command.arg(self.0.join("place"));
        run(command.args([name_of(c).as_str(), "init"]));
    }

    fn owner(&self) -> String {
        let owner = fs::read_to_string(self.0.join("backup/node"));
        owner.expect("the place has an owner").trim().to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn name_of(c: &Cluster) -> String {
    let name = c.root().file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[test]
fn the_chain_of_the_place_goes_on_through_a_switchover_and_a_kill() {
    let place = Place::new();
    let nodes = Patroni::builder()
        .own_archives()
        .own_setting("pg_incrbackup.archive_command", &place.archive_command())
        .setting("pg_incrbackup.confirm", "archived")
        .setting("pg_incrbackup.rotate_interval", "1")
        .on_role_change(&for_nodes("Taking over", &place.0))
        .start();
    place.init(nodes.primary());
    nodes.set_up("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let mut row = 1;
    for is_kill in [false, true] {
        let c = nodes.primary();
        row += 1;
        c.sql(&format!("INSERT INTO t VALUES ({row})"));
        nodes.wait_for_replication();
        let killed = nodes.change_primary(is_kill);
        let c = nodes.primary();
        row += 1;
        c.sql(&format!("INSERT INTO t VALUES ({row})"));
        wait_until("capture goes on", || {
            c.try_sql("SELECT incr_flush('1 s')").is_ok()
        });
        assert_eq!(place.owner(), name_of(c));
        if let Some(killed) = killed {
            nodes.bring_back(killed);
        }
        nodes.wait_for_standbys();
    }
    let c = nodes.primary();
    let end = c.flush();
    c.sql("SELECT incr_rotate()");
    wait_until("the place has all", || {
        c.is_true(&format!(
            "SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots WHERE plugin = 'pg_incrbackup'"
        ))
    });
    let directory = place.0.join("backup").join(c.database());
    // Bases come after segments.
    let bases = directory.join("chain-1/base");
    wait_until("the place has a base", || {
        let bases = fs::read_dir(&bases).into_iter().flatten().flatten();
        bases
            .into_iter()
            .any(|base| base.path().join("metadata.json").exists())
    });
    let mut restore = Installation::under_test().command("sh");
    restore.arg(directory.join("restore.sh"));
    run(restore.args(["--target", &c.conninfo("restored")]));
    assert_eq!(c.sql_in("restored", NUMBERS), c.sql(NUMBERS));
    assert_eq!(c.sql("SELECT count(*) FROM t"), row.to_string());
    let verified = program(&["verify", "--archive", &directory.display().to_string()]);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success(), "{said}");
    assert!(!directory.join("chain-2").exists());
    let described = fs::read_to_string(directory.join("chain-1/chain.json"));
    let described = described.expect("there is a chain");
    assert!(!described.contains("\"reason\""), "{described}");
}
