//! "Each node has a directory of its own, and the copies go to one place: does the chain there go on after a failover?" As
//! docs/availability.md describes it: its scripts are run as they stand there, but for their paths.

use crate::docs_commands::{blocks, checkout};
use crate::offsite::wait_for_archive;
use crate::takeover::{alone, primary, promote, standby_of, wait_for_replay, NUMBERS};
use harness::{assert_identical, give_to_server_user, program, run, wait_until, Cluster};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

/// A script of the page, as it stands there.
pub fn script(heading: &str) -> String {
    let page = fs::read_to_string(checkout().join("docs/availability.md"));
    let blocks = blocks(&page.expect("the page is there"));
    let mut found = blocks.into_iter().filter(|block| block.language == "sh");
    let block = found.find(|block| block.heading.ends_with(heading));
    block.expect("the page has it").text
}

/// The place, and a script of the page for one of two nodes.
struct Page {
    root: PathBuf,
}

impl Page {
    fn place(&self) -> PathBuf {
        self.root.join("backup")
    }

    fn script(&self, heading: &str, node: &str, of: &Cluster) -> PathBuf {
        let text = script(heading)
            .replace("\"$(hostname)\"", node)
            .replace(
                "/etc/pg_incrbackup/place",
                &self.root.join("place").display().to_string(),
            )
            .replace("/mnt/backup", &self.place().display().to_string())
            .replace(
                "/var/backups/postgresql",
                &of.archive_directory().display().to_string(),
            );
        let name = match heading {
            "One writer" => "place".to_owned(),
            _ => format!("on_role_change_{node}"),
        };
        let path = self.root.join(name);
        fs::write(&path, text).expect("it can be written");
        give_to_server_user(&path);
        path
    }

    fn archive_command(&self, node: &str) -> String {
        format!(
            "'sh {} {node} put %p %f'",
            self.root.join("place").display()
        )
    }

    /// Says whose the place is, on one of the nodes.
    fn tell(&self, c: &Cluster, node: &str, verb: &str) -> Output {
        let mut shell = shell_on(c);
        shell.arg(self.root.join("place")).args([node, verb]);
        shell.output().expect("sh is there")
    }

    fn owner(&self) -> String {
        let owner = fs::read_to_string(self.place().join("node"));
        owner.expect("the place has an owner").trim().to_owned()
    }

    /// What Patroni does on the promoted node.
    fn on_role_change(&self, standby: &Cluster) -> Command {
        let script = self.script("Taking over", "node2", standby);
        let mut shell = shell_on(standby);
        shell
            .arg(script)
            .args(["on_role_change", "primary", "shop"]);
        shell
    }

    /// The same, without the waiting.
    fn without_patience(&self, c: &Cluster) -> Command {
        let shell = self.on_role_change(c);
        let path = self.root.join("on_role_change_node2");
        let text = fs::read_to_string(&path).expect("it was written");
        let text = text.replace("sleep 1", "sleep 0.01");
        fs::write(&path, text).expect("it can be written");
        shell
    }

    /// The directory's parent is root's, as /var/backups is.
    fn take_over(&self, standby: &Cluster) {
        let parent = standby.archive_directory();
        let parent = parent.parent().expect("it has a parent");
        set_mode(parent, 0o555);
        let output = self.on_role_change(standby).output();
        set_mode(parent, 0o700);
        let output = output.expect("sh is there");
        assert!(output.status.success(), "{}", said(&output));
    }

    fn database(&self, c: &Cluster) -> PathBuf {
        self.place().join(c.database())
    }

    /// The place, restored by its own restore.sh.
    fn restore(&self, c: &Cluster, database: &str, options: &[&str]) -> String {
        let directory = self.database(c);
        let mut command = c.installation().command("sh");
        command.arg(directory.join("restore.sh"));
        command.args(["--target", &c.conninfo(database)]);
        run(command.args(options));
        c.sql_in(database, NUMBERS)
    }

    fn assert_sound(&self, c: &Cluster) {
        let path = self.database(c).display().to_string();
        let verified = program(&["verify", "--archive", &path]);
        let text = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert!(verified.status.success(), "{text}");
    }

    fn chain_json(&self, c: &Cluster) -> String {
        let path = self.database(c).join("chain-1/chain.json");
        fs::read_to_string(path).expect("there is a chain")
    }
}

/// A shell of the server's user, from which psql reaches the server.
fn shell_on(c: &Cluster) -> Command {
    let mut shell = c.installation().command("sh");
    shell.env("PGHOST", c.root());
    shell.envs([("PGPORT", "5432"), ("PGUSER", "postgres")]);
    shell
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

/// As a file system has it: nobody but root may read it.
fn make_lost_and_found(below: &Path) {
    let path = below.join("lost+found");
    fs::create_dir(&path).expect("it can be made");
    set_mode(&path, 0o700);
}

/// A primary whose files go to the place, and a standby with a directory of its own.
fn nodes(confirm: &str) -> (Page, Cluster, Cluster) {
    let c = primary();
    let page = Page {
        root: c.root().to_owned(),
    };
    run(c.installation().command("mkdir").arg(page.place()));
    page.script("One writer", "node1", &c);
    // As if it were not mounted.
    let refused = page.tell(&c, "node1", "take");
    assert!(said(&refused).contains("not mounted"), "{}", said(&refused));
    assert!(!page.place().join("lock").exists());
    let told = page.tell(&c, "node1", "init");
    assert!(told.status.success(), "{}", said(&told));
    let refused = page.tell(&c, "node1", "init");
    assert!(!refused.status.success(), "it is there already");
    make_lost_and_found(&page.place());
    c.write_setting("pg_incrbackup.confirm", confirm);
    if confirm == "archived" {
        // The slot must move before the standby is there.
        c.write_setting("pg_incrbackup.rotate_interval", "1");
    }
    c.set(
        "pg_incrbackup.archive_command",
        &page.archive_command("node1"),
    );
    wait_for_archive(&c);
    let standby = standby_of(&c);
    c.set("pg_incrbackup.rotate_interval", "3600");
    let directory = standby.archive_directory();
    fs::remove_file(&directory).expect("it is a link");
    run(standby.installation().command("mkdir").arg(&directory));
    set_mode(&directory, 0o700);
    make_lost_and_found(&directory);
    let own = format!("'{}'", standby.archive_directory().display());
    standby.write_setting("pg_incrbackup.directory", &own);
    standby.write_setting("pg_incrbackup.rotate_interval", "3600");
    standby.set(
        "pg_incrbackup.archive_command",
        &page.archive_command("node2"),
    );
    (page, c, standby)
}

fn close_and_copy(c: &Cluster) {
    c.flush();
    c.sql("SELECT incr_rotate()");
    wait_for_archive(c);
}

const CONFIRMED: &str =
    "(SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_type = 'logical')";

fn is_confirmed(c: &Cluster, lsn: &str) -> bool {
    c.is_true(&format!("SELECT {CONFIRMED} >= '{lsn}'"))
}

/// Inserts numbers, one each transaction, until the server is gone.
fn insert_until_it_dies(c: &Cluster, first: u32) {
    for number in first.. {
        if c.try_sql(&format!("INSERT INTO t VALUES ({number})"))
            .is_err()
        {
            return;
        }
    }
}

/// All that an archive has.
fn shown(directory: &Path) -> String {
    let path = directory.display().to_string();
    let shown = program(&["show", "--archive", &path]);
    assert!(shown.status.success(), "{}", said(&shown));
    String::from_utf8_lossy(&shown.stdout).into_owned()
}

/// The directories of a database that the take-overs have moved aside.
fn moved_aside(c: &Cluster) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(c.archive_directory().join(".before")) else {
        return Vec::new();
    };
    let times = entries.map(|entry| entry.expect("it can be read").path());
    let mut found: Vec<PathBuf> = times.map(|time| time.join(c.database())).collect();
    found.sort();
    found
}

#[test]
fn the_chain_of_the_place_goes_on_from_the_promoted_node() {
    let (page, c, standby) = nodes("archived");
    c.sql("INSERT INTO t VALUES (1000)");
    let before = c.flush();
    c.sql("SELECT incr_rotate()");
    wait_until("what is copied is confirmed", || is_confirmed(&c, &before));
    c.sql("INSERT INTO t VALUES (1001)");
    let later = c.flush();
    // It is in the files, durable, and nowhere else.
    assert!(!is_confirmed(&c, &later));
    thread::scope(|scope| {
        scope.spawn(|| insert_until_it_dies(&c, 10_000));
        wait_until("it is under load", || {
            c.is_true("SELECT count(*) > 30 FROM t WHERE a >= 10000")
        });
        c.sql("SELECT incr_rotate()");
        wait_for_replay(&c, &standby);
        c.crash();
    });
    promote(&standby);
    standby.sql("INSERT INTO t VALUES (1002)");
    // What it was copying when it died.
    let chain = page.database(&c).join("chain-1");
    for file in ["manifest.jsonl", "incremental/0.sql"] {
        let path = chain.join(format!("{file}.node1.new"));
        fs::write(path, "half").expect("it can be written");
    }
    page.take_over(&standby);
    assert_eq!(page.owner(), "node2");
    standby.sql("INSERT INTO t VALUES (1003)");
    close_and_copy(&standby);
    assert!(standby.health().starts_with("ok"), "{}", standby.health());
    let all = page.restore(&standby, "again", &[]);
    assert_eq!(all, standby.sql(NUMBERS));
    assert!(all.contains(",1000,1001,1002,1003,10000,"), "{all}");
    assert_identical((&standby, standby.database()), (&standby, "again"));
    let first = page.restore(&standby, "earlier", &["--until-lsn", &before]);
    assert!(first.ends_with(",1000"), "{first}");
    page.assert_sound(&standby);
    assert!(!page.database(&standby).join("chain-2").exists());
    assert!(!page.chain_json(&standby).contains("\"reason\""));
    // The former primary comes back, and believes that it is one.
    c.start();
    c.sql("INSERT INTO t VALUES (5001)");
    c.flush();
    c.sql("SELECT incr_rotate()");
    wait_until("it is refused", || c.health().contains("belongs to node2"));
    let health = c.health();
    assert!(health.contains("waiting for archive_command"), "{health}");
    // It goes on by itself, in its own directory.
    c.sql("INSERT INTO t VALUES (5002)");
    c.flush();
    standby.sql("INSERT INTO t VALUES (1004)");
    close_and_copy(&standby);
    let place = shown(&page.database(&standby));
    assert!(place.contains("(1004)"), "{place}");
    assert!(!place.contains("(5001)"), "{place}");
    assert!(shown(&c.database_directory()).contains("(5001)"));
    let all = page.restore(&standby, "and_again", &[]);
    assert_eq!(all, standby.sql(NUMBERS));

    // The callback may be called twice, also after it was interrupted.
    assert_eq!(moved_aside(&standby), Vec::<PathBuf>::new());
    let half = standby.archive_directory().join(".new").join(c.database());
    run(standby.installation().command("mkdir").arg(&half));
    standby.sql("INSERT INTO t VALUES (1005)");
    standby.flush();
    page.take_over(&standby);
    wait_until("capture goes on in the new directory", || {
        standby.try_sql("SELECT incr_flush('1 s')").is_ok()
    });
    standby.sql("INSERT INTO t VALUES (1006)");
    close_and_copy(&standby);
    let all = page.restore(&standby, "once_more", &[]);
    assert_eq!(all, standby.sql(NUMBERS));
    page.assert_sound(&standby);
    let aside = moved_aside(&standby);
    assert_eq!(aside.len(), 1);
    assert!(shown(&aside[0]).contains("(1005)"));

    // A database that does not go on is said.
    standby.sql_in(
        "postgres",
        "SELECT pg_create_logical_replication_slot('pg_incrbackup_1', 'pgoutput')",
    );
    let output = page.without_patience(&standby).output();
    let output = output.expect("sh is there");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_eq!(moved_aside(&standby).len(), 2);
    assert!(shown(&aside[0]).contains("(1005)"), "nothing is removed");
}

/// `/mnt/backup` is another one than it was: there is nothing to go on from, and what the node had is kept.
#[test]
fn a_place_that_is_new_makes_the_take_over_fail_and_takes_nothing_away() {
    let c = primary();
    c.sql("INSERT INTO t VALUES (1001)");
    c.flush();
    let page = Page {
        root: c.root().to_owned(),
    };
    run(c.installation().command("mkdir").arg(page.place()));
    page.script("One writer", "node2", &c);
    let output = page.without_patience(&c).output().expect("sh is there");
    assert!(said(&output).contains("not mounted"), "{}", said(&output));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(moved_aside(&c), Vec::<PathBuf>::new());
    c.sql("INSERT INTO t VALUES (1002)");
    c.flush();
    let told = page.tell(&c, "node2", "init");
    assert!(told.status.success(), "{}", said(&told));
    make_lost_and_found(&page.place());
    let output = page.without_patience(&c).output().expect("sh is there");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains("does not contain its chain"),
        "{}",
        said(&output)
    );
    let aside = moved_aside(&c);
    let kept = shown(&aside[0]);
    assert!(kept.contains("(1001)") && kept.contains("(1002)"), "{kept}");
}

#[test]
fn without_the_setting_the_gap_is_said_and_the_chain_ends() {
    let (page, c, standby) = nodes("fsync");
    c.sql("INSERT INTO t VALUES (1001)");
    let lsn = c.flush();
    assert!(is_confirmed(&c, &lsn));
    wait_for_replay(&c, &standby);
    // Neither by hand nor by a callback that comes before the promotion has ended.
    let refused = page.tell(&standby, "node2", "take");
    assert!(said(&refused).contains("not a primary"), "{refused:?}");
    let output = page.without_patience(&standby).output();
    let output = output.expect("sh is there");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("not promoted"), "{}", said(&output));
    assert_eq!(page.owner(), "node1");
    c.crash();
    promote(&standby);
    page.take_over(&standby);
    wait_until("health says so", || {
        let health = standby.health();
        health.starts_with("emergency") && health.contains("but the files end at")
    });
    wait_until("the place says so", || {
        page.chain_json(&standby).contains("but the files end at")
    });
    let path = page.database(&standby).display().to_string();
    assert!(program(&["verify", "--archive", &path]).status.success());
    standby.sql("SELECT * FROM incr_setup(new_chain => true)");
    standby.sql("INSERT INTO t VALUES (1002)");
    close_and_copy(&standby);
    assert_eq!(page.restore(&standby, "again", &[]), standby.sql(NUMBERS));
}

#[test]
fn what_the_place_has_and_the_promoted_node_lacks_is_set_apart_there() {
    let (page, c, standby) = nodes("archived");
    let known = c.sql(NUMBERS);
    alone(&standby);
    c.sql("INSERT INTO t VALUES (2001)");
    let lost = c.flush();
    c.sql("SELECT incr_rotate()");
    wait_until("it is copied", || is_confirmed(&c, &lost));
    c.crash();
    standby.start();
    promote(&standby);
    standby.sql("INSERT INTO t VALUES (3001)");
    page.take_over(&standby);
    wait_until("the place says so", || {
        page.chain_json(&standby).contains("lost-1")
    });
    wait_for_archive(&standby);
    page.assert_sound(&standby);
    let chain = page.restore(&standby, "first", &["--chain", "1"]);
    assert_eq!(chain, known);
    assert!(shown(&page.database(&standby).join("chain-1/lost-1")).contains("(2001)"));
    standby.sql("SELECT * FROM incr_setup(new_chain => true)");
    standby.sql("INSERT INTO t VALUES (3002)");
    close_and_copy(&standby);
    assert_eq!(page.restore(&standby, "again", &[]), standby.sql(NUMBERS));
    assert_eq!(
        page.restore(&standby, "first_again", &["--chain", "1"]),
        known
    );
}

/// Nobody overwrites what the place has, nor waits for ever without saying so.
#[test]
fn the_slot_waits_for_the_copies_and_an_idle_database_does_not_hold_it() {
    let c = Cluster::builder()
        .setting("pg_incrbackup.rotate_interval", "1")
        .setting("pg_incrbackup.confirm", "archived")
        .back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    wait_until("health says that there is no command", || {
        c.health().contains("archive_command is empty")
    });
    let copy = c.root().join("copy");
    let ready = copy.join("ready");
    run(c.installation().command("mkdir").arg(&copy));
    let command = format!(
        "'test -e {} && mkdir -p \"$(dirname {1}/%f)\" && cp %p {1}/%f'",
        ready.display(),
        copy.display()
    );
    c.set("pg_incrbackup.archive_command", &command);
    let before = c.sql(&format!("SELECT {CONFIRMED}"));
    c.sql("INSERT INTO t VALUES (1)");
    let first = c.flush();
    c.sql("SELECT incr_rotate()");
    wait_until("the command fails", || {
        c.health().contains("archive_command failed")
    });
    assert_eq!(c.sql(&format!("SELECT {CONFIRMED}")), before);
    // The files go on, and a restart does not write again what they have.
    c.restart();
    c.sql("INSERT INTO t VALUES (2)");
    c.flush();
    c.crash();
    c.start();
    c.assert_restores();
    assert_eq!(c.sql(&format!("SELECT {CONFIRMED}")), before);
    fs::write(&ready, "").expect("it can be written");
    wait_until("it is confirmed", || is_confirmed(&c, &first));
    // Nothing happens in this database any more.
    c.sql_in(
        "postgres",
        "CREATE TABLE other (a int); INSERT INTO other VALUES (1)",
    );
    let other = c.sql_in("postgres", "SELECT pg_current_wal_lsn()");
    wait_until("the slot moves on", || is_confirmed(&c, &other));
    c.assert_restores();
    c.set("pg_incrbackup.reader", "poll");
    wait_until("it says what does not go together", || {
        c.health().contains("needs pg_incrbackup.reader = stream")
    });
}
