//! "The server is gone, and I do not know what I have." `info` says it from the files alone.

use crate::{healing, retention};
use harness::{give_to_server_user, program, run, wait_until, Cluster};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn info(directory: &Path, options: &[&str]) -> Output {
    let directory = directory.display().to_string();
    program(&[&["info", "--archive", &directory], options].concat())
}

/// The one database of a directory.
fn json(directory: &Path) -> Value {
    let output = info(directory, &["--json"]);
    let line = text(&output.stdout);
    serde_json::from_str(line.trim())
        .unwrap_or_else(|error| panic!("{error}: {line}{}", text(&output.stderr)))
}

fn list(value: &Value, name: &str) -> Vec<Value> {
    value[name].as_array().expect("a list").clone()
}

fn shown(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

/// What `info --json` says, worded.
fn as_listed(database: &Value) -> String {
    let mut lines = Vec::new();
    let mut put = |line: String| lines.push(line);
    for chain in list(database, "chains") {
        let at = |value: &Value, time: &str, lsn: &str| {
            format!("{} ({})", shown(&value[time]), shown(&value[lsn]))
        };
        let (begun, start) = (shown(&chain["begun_at"]), shown(&chain["slot_start_lsn"]));
        put(format!(
            "chain-{}, begun {begun} at {start}",
            chain["number"]
        ));
        for base in list(&chain, "bases") {
            let note = if base["is_listed"] == true {
                ""
            } else {
                ", which manifest.jsonl does not list"
            };
            put(format!(
                "  base {} of {}{note}",
                shown(&base["name"]),
                at(&base, "taken_at", "lsn")
            ));
        }
        for loss in list(&chain, "losses") {
            let until = loss["until"].as_str().unwrap_or("now");
            let rows = if loss["lost"] == "rows" {
                "rows of "
            } else {
                ""
            };
            let what = format!(
                "{rows}{} {}",
                shown(&loss["class"]),
                shown(&loss["identity"])
            );
            put(format!(
                "  lost from {} to {until}: {what}: {}",
                at(&loss["since"], "at", "lsn"),
                shown(&loss["reason"])
            ));
        }
        if let Some(lsn) = chain["expired_up_to"].as_str() {
            put(format!(
                "  retention has removed the segments before {lsn}: an older base is a single point, restored by --base NAME"
            ));
        }
        let gaps = list(&chain, "gaps");
        for (place, stretch) in list(&chain, "stretches").iter().enumerate() {
            match &stretch["from"] {
                Value::Null => put(format!(
                    "  no base joins the segments from {} on",
                    shown(&stretch["start_lsn"])
                )),
                from => put(format!(
                    "  every moment from {} to {}",
                    at(from, "at", "lsn"),
                    at(&stretch["to"], "at", "lsn")
                )),
            }
            if let Some(gap) = gaps.get(place) {
                put(format!(
                    "  gap: nothing between {} and {}",
                    shown(&gap["after"]),
                    shown(&gap["before"])
                ));
            }
        }
        if let Some(ended) = chain["ended"].as_object() {
            put(format!(
                "  ended {} at {}: {}",
                shown(&ended["at"]),
                shown(&ended["last_lsn"]),
                shown(&ended["reason"])
            ));
        }
    }
    lines.join("\n")
}

/// What it says of an archive, a line each.
fn as_info_lists(directory: &Path) -> String {
    as_listed(&json(directory))
}

/// A copy of the database's directory that a test may damage.
fn copy(c: &Cluster, name: &str) -> PathBuf {
    let to = c.root().join(name);
    fs::create_dir_all(&to).expect("a directory can be made");
    run(Command::new("cp")
        .arg("-a")
        .arg(c.database_directory())
        .arg(&to));
    give_to_server_user(&to);
    to.join(c.database())
}

fn files_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("it can be listed");
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn busy() -> Cluster {
    let c = Cluster::builder().setting("autovacuum", "off").back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text)");
    for number in 0..4 {
        c.sql(&format!(
            "INSERT INTO t VALUES ({number}, repeat('text ', 10000)); SELECT incr_rotate()"
        ));
    }
    c.sql("SELECT incr_dump(); INSERT INTO t VALUES (9)");
    c.flush();
    c
}

#[test]
fn it_lists_stretches_gaps_and_unlisted_bases() {
    let c = busy();
    let screen = text(&info(&c.archive_directory(), &[]).stdout);
    for part in [
        "app  (",
        "  source    PostgreSQL ",
        "  newest    ",
        "    moments   from ",
        "    segments  ",
    ] {
        assert!(screen.contains(part), "{part}: {screen}");
    }
    // The text is what the figures are.
    let of_files = json(&c.database_directory());
    let segments = &of_files["chains"][0]["segments"];
    let files: Vec<PathBuf> = files_in(&c.chain_directory().join("incremental"));
    assert_eq!(segments["count"], files.len());
    let sizes = files
        .iter()
        .map(|file| fs::metadata(file).expect("it is there").len());
    assert_eq!(segments["bytes_stored"], sizes.sum::<u64>());
    // A gap, behind which the second base joins.
    let gap = copy(&c, "gap");
    let segments = files_in(&gap.join("chain-1/incremental"));
    fs::remove_file(&segments[1]).expect("it can be removed");
    let listed = as_info_lists(&gap);
    assert!(listed.contains("  gap: nothing between "), "{listed}");
    assert_eq!(listed.matches("  every moment from").count(), 2, "{listed}");
    assert!(text(&info(&gap, &[]).stdout).contains("    gap       nothing between "));
    // Neither base without a line, nor one that is not finished.
    let unlisted = copy(&c, "unlisted");
    let manifest = unlisted.join("chain-1/manifest.jsonl");
    let lines = fs::read_to_string(&manifest).expect("text");
    let last_base = lines
        .lines()
        .rfind(|line| line.contains("\"kind\":\"base\""))
        .expect("a line");
    fs::write(&manifest, lines.replace(&format!("{last_base}\n"), "")).expect("writable");
    let listed = as_info_lists(&unlisted);
    assert!(
        listed.contains("which manifest.jsonl does not list"),
        "{listed}"
    );
    assert!(text(&info(&unlisted, &[]).stdout).contains("the manifest does not list it"));
}

#[test]
fn it_lists_what_retention_has_removed() {
    let c = retention::start(&[("keep_monthly", "0")]);
    retention::live(&c, (1..=40).step_by(3));
    let listed = as_info_lists(&c.database_directory());
    assert!(
        listed.contains("retention has removed the segments before"),
        "{listed}"
    );
    let chain = json(&c.database_directory())["chains"][0].clone();
    let alone = |base: &Value| base["stands_alone"] == true;
    let from = shown(&chain["stretches"][0]["base"]);
    for base in list(&chain, "bases") {
        assert_eq!(alone(&base), shown(&base["name"]) < from, "{base}");
    }
    let screen = text(&info(&c.database_directory(), &[]).stdout);
    assert!(
        screen.contains("a single point, restored by --base "),
        "{screen}"
    );
}

#[test]
fn it_lists_losses_and_ended_chains() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1), (2)");
    healing::lose(&c, "UPDATE t SET a = 100 WHERE a = 1");
    healing::wait_until_healed(&c);
    // The launcher may just have begun another base for it, which is in the way.
    wait_until("there is a new chain", || {
        c.try_sql("SELECT * FROM incr_setup(new_chain => true)")
            .is_ok()
    });
    c.sql("INSERT INTO t VALUES (3)");
    c.flush();
    let listed = as_info_lists(&c.database_directory());
    assert!(
        listed.contains("  lost from ") && listed.contains("rows of table public.t"),
        "{listed}"
    );
    assert!(
        listed.contains("chain-2, begun ") && listed.contains("\n  ended "),
        "{listed}"
    );
    let screen = text(&info(&c.database_directory(), &[]).stdout);
    assert!(
        screen.contains("    lost      from ") && screen.contains("    ended     "),
        "{screen}"
    );
}

#[test]
fn archives_of_former_versions_are_shown() {
    let c = Cluster::builder().start();
    for version in ["0.1.0", "0.2.0"] {
        let packed = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("clusters/old_archives/{version}.tar.gz"));
        let directory = c.root().join(version);
        fs::create_dir(&directory).expect("a directory can be made");
        run(Command::new("tar")
            .arg("-xzf")
            .arg(packed)
            .arg("-C")
            .arg(&directory));
        give_to_server_user(&directory);
        let script = directory.join("app/restore.sh");
        fs::write(
            &script,
            include_str!("../../crates/archive/templates/restore.sh"),
        )
        .expect("writable");
        as_info_lists(&directory.join("app"));
    }
}

#[test]
fn several_databases_are_shown_and_a_damaged_one_hides_none_of_them() {
    let c = busy();
    c.sql_in("postgres", "CREATE DATABASE \"x\u{1b}[31m\"");
    let odd = "x\u{1b}[31m";
    c.sql_in(
        odd,
        "CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup(); CREATE TABLE t (a int)",
    );
    wait_until("it is there", || {
        info(&c.archive_directory(), &[]).status.success()
    });
    let output = info(&c.archive_directory(), &[]);
    let screen = text(&output.stdout);
    assert!(
        screen.contains("app  (") && screen.contains("x\\x1b[31m  ("),
        "{screen}"
    );
    assert!(!screen.contains('\u{1b}'), "{screen}");
    let only = info(&c.archive_directory(), &["--database", odd]);
    let shows = text(&only.stdout) + &text(&only.stderr);
    assert!(
        only.status.success() && !shows.contains("app  ("),
        "{shows}"
    );
    // One chain that cannot be read.
    let root = c.root().join("damaged");
    copy(&c, "damaged");
    run(Command::new("cp")
        .arg("-a")
        .arg(root.join("app"))
        .arg(root.join("second")));
    fs::write(root.join("app/chain-1/chain.json"), "{").expect("writable");
    let output = info(&root, &[]);
    let screen = text(&output.stdout);
    assert_eq!(output.status.code(), Some(4), "{screen}");
    assert!(
        screen.contains("  damaged   ") && screen.contains("chain.json"),
        "{screen}"
    );
    assert!(
        screen.contains("second  (") && screen.contains("moments   from"),
        "{screen}"
    );
    // A base that cannot be read; the others can.
    let second = root.join("second");
    fs::write(
        files_in(&second.join("chain-1/base"))[1].join("metadata.json"),
        "{",
    )
    .expect("writable");
    let output = info(&second, &["--json"]);
    assert_eq!(output.status.code(), Some(4));
    let answer = json(&second);
    assert_eq!(
        (
            list(&answer, "damage").len(),
            list(&answer["chains"][0], "bases").len()
        ),
        (1, 1)
    );
    // A manifest with a line that nobody wrote.
    let third = copy(&c, "third");
    let manifest = third.join("chain-1/manifest.jsonl");
    let lines = fs::read_to_string(&manifest).expect("text");
    fs::write(&manifest, lines.replacen('\n', "\ngarbage\n", 1)).expect("writable");
    let output = info(&third, &[]);
    assert_eq!(output.status.code(), Some(4));
    assert!(
        text(&output.stdout).contains("    damaged   line 2 of its manifest"),
        "{}",
        text(&output.stdout)
    );
}

/// On Debian whoever tries it first is not the server's user.
#[test]
fn an_archive_that_another_user_may_not_read_is_not_said_to_be_missing() {
    let directory = tempfile::tempdir().expect("a directory");
    let closed = directory.path().join("closed");
    fs::create_dir_all(closed.join("shop/chain-1")).expect("it can be made");
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(directory.path(), mode(0o755)).expect("it is ours");
    fs::set_permissions(&closed, mode(0o000)).expect("it is ours");
    let program = harness::program_directory().join("pg_incrbackup");
    for (command, below) in [("info", ""), ("restore", "shop"), ("verify", "shop")] {
        // As the server's user if this is root, who may read everything.
        let mut command_line = Cluster::builder()
            .installation()
            .command(&program.display().to_string());
        command_line
            .args([command, "--archive"])
            .arg(closed.join(below));
        if command == "restore" {
            command_line.args(["--target", "dbname=x"]);
        }
        let output = command_line.output().expect("it can be run");
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(
            said.contains("permission denied") && said.contains("sudo -u postgres"),
            "{said}"
        );
    }
    fs::set_permissions(&closed, mode(0o755)).expect("it is ours");
}

#[test]
fn what_is_no_archive_is_said_to_be_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let none = info(directory.path(), &[]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("holds no archive"));
    let missing = info(&directory.path().join("nothing"), &["--json"]);
    assert_eq!(missing.status.code(), Some(1));
    let error: Value = serde_json::from_str(text(&missing.stderr).trim()).expect("an object");
    assert!(
        shown(&error["error"]).contains("there is no directory"),
        "{error}"
    );
    for wrong in [
        vec!["info"],
        vec!["info", "--archive", "a", "--from", "b"],
        vec!["infos"],
    ] {
        assert_eq!(program(&wrong).status.code(), Some(2), "{wrong:?}");
    }
    let wrong_database = info(directory.path(), &["--database", "x"]);
    assert_eq!(wrong_database.status.code(), Some(2));
    let help = program(&["info", "--help"]);
    assert!(help.status.success() && text(&help.stdout).contains("Exit status:"));
}
