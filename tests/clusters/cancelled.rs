//! "I started it, it never ends, and the server does not shut down." Whatever reads the archive in a session ends
//! when it is told to, in the midst of a file of any size and in front of a lock of somebody else.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use harness::{wait_until, Cluster};

/// So many bytes that nobody reads to the end, on no disk at all.
const ENDLESS: u64 = 15 << 40;

/// A file or directory that somebody else has locked, as whoever removes files has the database's directory, and
/// whoever closes one the manifest.
struct Locked(Child);

impl Locked {
    fn of(c: &Cluster, path: &Path) -> Locked {
        let is_locked = c.root().join("is_locked");
        let mut command = Command::new("flock");
        command.arg("--exclusive").arg(path);
        command
            .args(["sh", "-c", "touch \"$0\"; cat"])
            .arg(&is_locked);
        let child = command.stdin(Stdio::piped()).spawn();
        wait_until("it is locked", || is_locked.exists());
        Locked(child.expect("flock can be run"))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().ok();
    }
}

#[test]
fn a_check_of_files_ends_in_the_midst_of_one() {
    let c = Cluster::backed_up();
    let base = c.bases().remove(0);
    let file = base.join("database.sql");
    let length = file.metadata().expect("a base has it").len();
    let sql = File::options()
        .write(true)
        .open(&file)
        .expect("it can be opened");
    sql.set_len(ENDLESS).expect("a file may have holes");
    let error = c.sql_error("SET statement_timeout = '300ms'; SELECT * FROM incr_verify()");
    assert_eq!(error.sqlstate, "57014", "{error}");
    sql.set_len(length).expect("it can be cut");
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");

    sql.set_len(ENDLESS).expect("a file may have holes");
    let mut session = c.session();
    session.send("SELECT * FROM incr_verify()");
    let is_at_it = "SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ '^SELECT .* incr_verify' AND state = 'active' \
         AND pid <> pg_backend_pid()";
    wait_until("a session checks the files", || c.is_true(is_at_it));
    // A fast shutdown waits for the session.
    c.stop();
}

#[test]
fn nobody_waits_for_a_lock_against_their_will() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (id int PRIMARY KEY)");
    c.flush();
    let base = c.sql("SELECT file FROM incr_files() WHERE kind = 'base'");
    let remover = Locked::of(&c, &c.database_directory());
    for reading in [
        "SELECT * FROM incr_verify()".to_string(),
        "SELECT * FROM incr_history('t', '1')".to_string(),
        "SELECT incr_report()".to_string(),
        format!("SELECT incr_keep('{base}')"),
    ] {
        let error = c.sql_error(&format!("SET statement_timeout = '300ms'; {reading}"));
        assert_eq!(error.sqlstate, "57014", "{reading}: {error}");
    }
    drop(remover);
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
}

#[test]
fn removing_what_has_expired_does_not_wait_against_anybodys_will() {
    let c = Cluster::backed_up();
    let manifest = c.chain_directory().join("manifest.jsonl");
    let writer = Locked::of(&c, &manifest);
    // As after a crash: there is a base whose line is still to be written, by whoever removes files first.
    let text = fs::read_to_string(&manifest).expect("it can be read");
    let others = text
        .split_inclusive('\n')
        .filter(|line| !line.contains("\"kind\":\"base\""));
    fs::write(&manifest, others.collect::<String>()).expect("it can be written");
    let mut session = c.session();
    session.send("SET statement_timeout = '300ms'; SELECT * FROM incr_expire(false)");
    let said = session.finish();
    assert!(said.contains("due to statement timeout"), "{said}");
    drop(writer);
    let said = c.sql("SELECT kind, decision FROM incr_expire(false) WHERE kind = 'base'");
    assert_eq!(said, "base|kept");
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
}
