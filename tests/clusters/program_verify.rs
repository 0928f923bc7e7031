//! "The disk lied, and I learned it on the day of the restore", or learned that something is broken, and not what
//! that means.

use crate::retention;
use harness::{give_to_server_user, program, run, wait_until, Cluster};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn verify(directory: &Path, options: &[&str]) -> Output {
    let directory = directory.display().to_string();
    program(&[&["verify", "--archive", &directory], options].concat())
}

/// The one report about a directory; the exit status is as it says.
fn report(directory: &Path) -> Value {
    let output = verify(directory, &["--json", "--quiet"]);
    let said = text(&output.stdout) + &text(&output.stderr);
    let report: Value =
        serde_json::from_str(said.trim()).unwrap_or_else(|error| panic!("{error}: {said}"));
    let expected = if report["is_sound"] == true { 0 } else { 4 };
    assert_eq!(output.status.code(), Some(expected), "{report}");
    report
}

/// What was found in the one file that has a problem.
fn only_problem(directory: &Path, file: &str) -> Value {
    let report = report(directory);
    let problems = report["problems"].as_array().expect("a list").clone();
    let about = |found: &&Value| {
        found["file"]
            .as_str()
            .is_some_and(|name| name.contains(file))
    };
    problems
        .iter()
        .find(about)
        .unwrap_or_else(|| panic!("{file}: {report}"))
        .clone()
}

fn shown(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

/// A copy that a test may damage.
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

/// Changes a byte in the midst of a file.
fn flip(file: &Path) {
    let mut bytes = fs::read(file).expect("it can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).expect("it can be written");
}

fn lsn_of(path: &Path) -> u64 {
    let name = path
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    u64::from_str_radix(&name[..16], 16).expect("an LSN")
}

fn as_lsn(number: u64) -> String {
    format!("{:X}/{:X}", number >> 32, number & 0xFFFF_FFFF)
}

/// Five closed segments and three bases: at the start, after the third segment, after the fourth.
fn start() -> Cluster {
    let c = Cluster::builder().setting("autovacuum", "off").back_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text)");
    for number in 0..5 {
        c.sql(&format!("INSERT INTO t SELECT {number} * 100 + i, repeat('text ', 100) FROM generate_series(1, 50) i"));
        c.sql("SELECT incr_rotate()");
        if number == 2 || number == 3 {
            c.sql("SELECT incr_dump()");
        }
    }
    c.sql("INSERT INTO t VALUES (9999)");
    c.flush();
    c
}

/// A restore up to just behind this LSN.
fn restores_to(c: &Cluster, directory: &Path, name: &str, lsn: u64) -> bool {
    let mut sh = c.installation().command("sh");
    sh.arg(directory.join("restore.sh")).args([
        "--target",
        &c.conninfo(name),
        "--until-lsn",
        &as_lsn(lsn),
    ]);
    sh.output().expect("sh can be run").status.success()
}

#[test]
fn a_sound_archive_is_sound_wherever_it_is_read() {
    let c = start();
    let of_files = report(&c.database_directory());
    assert_eq!(
        (&of_files["is_sound"], &of_files["problems"]),
        (&true.into(), &Value::Array(Vec::new()))
    );
    // Progress: the first line and the last.
    let output = verify(&c.archive_directory(), &[]);
    let (screen, progress) = (text(&output.stdout), text(&output.stderr));
    assert!(
        screen.contains("app  (") && screen.contains("  sound: "),
        "{screen}"
    );
    let lines: Vec<&str> = progress.lines().collect();
    assert!(
        lines.len() >= 2 && lines[0].contains("(0 %)") && progress.contains("(100 %)"),
        "{progress}"
    );
    let output = verify(&c.archive_directory(), &["--json"]);
    for line in text(&output.stderr).lines() {
        let line: Value = serde_json::from_str(line).expect("each line is an object");
        assert!(
            line["progress"]["total"]
                .as_u64()
                .is_some_and(|total| total > 1000),
            "{line}"
        );
    }
    assert!(verify(&c.archive_directory(), &["--quiet"])
        .stderr
        .is_empty());
    // What is read is all there was to read.
    let output = verify(&copy(&c, "counted"), &["--json"]);
    let said = text(&output.stderr);
    let last = said.lines().next_back().expect("there is progress");
    let last: Value = serde_json::from_str(last).expect("an object");
    assert_eq!(
        last["progress"]["bytes"], last["progress"]["total"],
        "{said}"
    );
    let output = program(&["verify", "--from", &c.conninfo("app"), "--json", "--quiet"]);
    let of_server: Value = serde_json::from_str(text(&output.stdout).trim()).expect("an object");
    assert_eq!(
        (output.status.code(), &of_server["is_sound"]),
        (Some(0), &true.into()),
        "{of_server}"
    );
    c.set("pg_incrbackup.compression", "'zstd'");
    c.sql("INSERT INTO t VALUES (10000); SELECT incr_rotate()");
    wait_until("it is compressed", || {
        c.is_true("SELECT bool_or(file LIKE '%.zst') FROM incr_files()")
    });
    assert_eq!(report(&c.database_directory())["is_sound"], true);
}

#[test]
fn what_a_copy_has_beside_its_manifest_is_a_note() {
    let c = start();
    let name = |file: &Path| file.file_name().expect("a name").to_string_lossy()[..33].to_owned();
    let without = |copy: &Path, files: &[PathBuf]| {
        let manifest = copy.join("chain-1/manifest.jsonl");
        let text = fs::read_to_string(&manifest).expect("it can be read");
        let room = |file: &Path| {
            file.parent()
                .and_then(Path::file_name)
                .map(|room| room.to_string_lossy().into_owned())
        };
        let is_of = |line: &str| {
            let mut places = files
                .iter()
                .map(|file| format!("{}/{}", room(file).expect("a directory"), name(file)));
            places.any(|place| line.contains(&place))
        };
        let left: Vec<&str> = text.lines().filter(|line| !is_of(line)).collect();
        assert_eq!(left.len() + files.len(), text.lines().count());
        fs::write(manifest, left.join("\n") + "\n").expect("it can be written");
    };
    let notes = |report: &Value| report["notes"].as_array().map_or(0, Vec::len);
    let copied = |name: &str| {
        let copy = copy(&c, name);
        // archive_command puts none.
        fs::remove_file(copy.join("owner.json")).expect("it can be removed");
        copy
    };
    // As retention at home leaves a copy, and a copy that has not got the newest manifest, nor all of a base.
    let on_its_way = copied("on its way");
    let segments = files_in(&on_its_way.join("chain-1/incremental"));
    let bases = files_in(&on_its_way.join("chain-1/base"));
    let closed = segments.len() - 1;
    without(&on_its_way, &segments[closed - 1..closed]);
    let whole = report(&on_its_way);
    assert_eq!((&whole["is_sound"], notes(&whole)), (&true.into(), 1));
    let shown = whole["notes"][0].to_string();
    assert!(shown.contains(&name(&segments[closed - 1])), "{shown}");
    without(&on_its_way, &segments[..2]);
    without(&on_its_way, &bases[2..]);
    fs::remove_file(bases[2].join("metadata.json")).expect("it can be removed");
    let whole = report(&on_its_way);
    assert_eq!(
        (&whole["is_sound"], notes(&whole)),
        (&true.into(), 2),
        "{whole}"
    );
    let shown = whole["notes"].to_string();
    assert!(
        shown.contains("3 files, ") && shown.contains(": incomplete, and not in the manifest"),
        "{shown}"
    );
    let mut sh = c.installation().command("sh");
    sh.arg(on_its_way.join("restore.sh"))
        .args(["--target", &c.conninfo("on_its_way")]);
    run(&mut sh);
    assert_eq!(c.sql_in("on_its_way", "SELECT count(*) FROM t"), "251");
    // Pruned from the oldest on.
    let pruned = copied("pruned");
    let of_pruned = files_in(&pruned.join("chain-1/incremental"));
    for segment in &of_pruned[..2] {
        fs::remove_file(segment).expect("it can be removed");
    }
    let oldest = files_in(&pruned.join("chain-1/base")).remove(0);
    fs::remove_dir_all(oldest).expect("it can be removed");
    let whole = report(&pruned);
    let shown = whole["notes"].to_string();
    assert_eq!(whole["is_sound"], true, "{whole}");
    assert!(
        shown.contains("3 files, ") && shown.contains("listed in the manifest, but missing"),
        "{shown}"
    );
    // Not so in the middle, nor what does not follow, nor the newest base, nor any of it in the archive itself.
    let middle = copied("middle");
    without(&middle, &segments[2..3]);
    let found = only_problem(&middle, &name(&segments[2]));
    assert_eq!(found["problems"][0], "not in the manifest", "{found}");
    let lacks = copied("lacks");
    let of_copy = files_in(&lacks.join("chain-1/incremental"));
    without(&lacks, &segments[closed - 2..closed]);
    fs::remove_file(&of_copy[closed - 2]).expect("it can be removed");
    only_problem(&lacks, &name(&segments[closed - 1]));
    let newest = copied("newest");
    let of_newest = files_in(&newest.join("chain-1/base")).remove(2);
    fs::remove_dir_all(of_newest).expect("it can be removed");
    only_problem(&newest, &name(&bases[2]));
    let itself = copy(&c, "itself");
    without(&itself, &segments[closed - 1..closed]);
    only_problem(&itself, &name(&segments[closed - 1]));
}

#[test]
fn a_damaged_segment_costs_the_moments_up_to_the_base_that_does_not_need_it() {
    let c = start();
    let bases = c.bases();
    let damaged = copy(&c, "segment");
    let segments = files_in(&damaged.join("chain-1/incremental"));
    // The third: the second base was taken after it.
    flip(&segments[2]);
    let found = only_problem(
        &damaged,
        &segments[2].file_name().expect("a name").to_string_lossy(),
    );
    let range = &found["cost"]["lost"];
    assert_eq!(shown(&range["from"]["lsn"]), as_lsn(lsn_of(&segments[2])));
    assert_eq!(shown(&range["until"]["lsn"]), as_lsn(lsn_of(&bases[1])));
    // So it is: before (restore.sh also checks the first segment that it does not need), within, at the base.
    assert!(restores_to(&c, &damaged, "before", lsn_of(&segments[1])));
    assert!(!restores_to(
        &c,
        &damaged,
        "within",
        lsn_of(&segments[3]) - 1
    ));
    assert!(restores_to(&c, &damaged, "at", lsn_of(&bases[1])));
    let screen = text(&verify(&damaged, &[]).stdout);
    assert!(
        screen.contains("DAMAGED: 1 of ") && screen.contains("costs every moment from "),
        "{screen}"
    );
    // The last closed one: nothing comes after.
    let last = copy(&c, "last");
    let segments = files_in(&last.join("chain-1/incremental"));
    flip(&segments[4]);
    let found = only_problem(
        &last,
        &segments[4].file_name().expect("a name").to_string_lossy(),
    );
    assert_eq!(found["cost"]["lost"]["until"], Value::Null, "{found}");
    // One that is gone costs what a damaged one costs.
    let gone = copy(&c, "gone");
    let segments = files_in(&gone.join("chain-1/incremental"));
    fs::remove_file(&segments[2]).expect("it can be removed");
    let found = only_problem(
        &gone,
        &segments[2].file_name().expect("a name").to_string_lossy(),
    );
    assert_eq!(
        shown(&found["cost"]["lost"]["until"]["lsn"]),
        as_lsn(lsn_of(&bases[1])),
        "{found}"
    );
}

#[test]
fn a_damaged_base_costs_only_time_where_an_older_one_leads_on() {
    let c = start();
    let names: Vec<String> = c
        .bases()
        .iter()
        .map(|base| {
            base.file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let damaged = copy(&c, "base");
    let bases = files_in(&damaged.join("chain-1/base"));
    flip(&bases[1].join("dump.sql"));
    let found = only_problem(&damaged, &names[1]);
    assert_eq!(found["cost"]["lost"], Value::Null, "{found}");
    assert_eq!(shown(&found["cost"]["from_base"]), names[0]);
    let mut sh = c.installation().command("sh");
    sh.arg(damaged.join("restore.sh")).args([
        "--target",
        &c.conninfo("older"),
        "--base",
        &names[0],
    ]);
    run(&mut sh);
    // The first has nothing before it.
    let first = copy(&c, "first");
    let bases = files_in(&first.join("chain-1/base"));
    fs::remove_file(bases[0].join("metadata.json")).expect("it can be removed");
    let found = only_problem(&first, &names[0]);
    assert_eq!(
        shown(&found["cost"]["lost"]["from"]["lsn"]),
        as_lsn(lsn_of(&bases[0])),
        "{found}"
    );
    assert_eq!(
        shown(&found["cost"]["lost"]["until"]["lsn"]),
        as_lsn(lsn_of(&bases[1]))
    );
    // Nothing leads to the second where a segment between is damaged, too.
    let both = copy(&c, "both");
    let bases = files_in(&both.join("chain-1/base"));
    flip(&bases[1].join("dump.sql"));
    flip(&files_in(&both.join("chain-1/incremental"))[1]);
    let found = only_problem(&both, &names[1]);
    assert_eq!(
        shown(&found["cost"]["lost"]["until"]["lsn"]),
        as_lsn(lsn_of(&bases[2])),
        "{found}"
    );
}

#[test]
fn what_no_moment_needs_is_said_to_cost_none() {
    let c = start();
    c.sql("CREATE ROLE later");
    wait_until("what became of roles is written", || {
        let sets = c.chain_directory().join("globals");
        // One in the making has another end.
        sets.is_dir()
            && files_in(&sets)
                .iter()
                .any(|set| set.to_string_lossy().ends_with('Z'))
    });
    let damaged = copy(&c, "small");
    let put = |file: &str, content: &str| fs::write(damaged.join(file), content).expect("writable");
    put("restore.sh", "#!/bin/sh\nrm -rf /\n");
    put("chain-1/pins.json", "{");
    for file in ["restore.sh", "pins.json"] {
        let cost = shown(&only_problem(&damaged, file)["cost"]["text"]);
        assert!(cost.starts_with("no moment"), "{file}: {cost}");
    }
    let manifest = damaged.join("chain-1/manifest.jsonl");
    let lines = fs::read_to_string(&manifest).expect("text");
    fs::write(&manifest, lines.replacen('\n', "\ngarbage\n", 1)).expect("writable");
    assert!(
        shown(&only_problem(&damaged, "manifest.jsonl")["cost"]["text"]).starts_with("no moment")
    );
    put("chain-1/flags.jsonl", "{");
    only_problem(&damaged, "flags.jsonl");
    // A set of globals: the moments after it lack what became of roles.
    let globals = files_in(&damaged.join("chain-1/globals"));
    let set = globals
        .first()
        .expect("a role was created after the first base");
    flip(&set.join("globals.sql"));
    let name = set
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let cost = only_problem(&damaged, &name)["cost"].clone();
    assert!(shown(&cost["text"]).contains("roles"), "{cost}");
    assert_eq!(
        shown(&cost["lost"]["from"]["lsn"]),
        as_lsn(lsn_of(set)),
        "{cost}"
    );
    // Without its description a chain cannot be read at all.
    put("chain-1/chain.json", "{");
    let cost = shown(&only_problem(&damaged, "chain.json")["cost"]["text"]);
    assert!(cost.starts_with("every moment of chain 1"), "{cost}");
}

#[test]
fn a_base_that_stands_alone_costs_one_moment() {
    let c = retention::start(&[("keep_monthly", "0")]);
    retention::live(&c, (1..=40).step_by(3));
    assert_eq!(report(&c.database_directory())["is_sound"], true);
    let damaged = copy(&c, "alone");
    let base = &files_in(&damaged.join("chain-1/base"))[0];
    flip(&base.join("dump.sql"));
    let found = only_problem(
        &damaged,
        &base.file_name().expect("a name").to_string_lossy(),
    );
    assert!(
        shown(&found["cost"]["text"]).starts_with("the single moment "),
        "{found}"
    );
}

#[test]
fn archives_of_former_versions_are_sound_and_their_script_is_only_noted() {
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
        let report = report(&directory.join("app"));
        assert_eq!(report["is_sound"], true, "{report}");
        assert!(!report["notes"].as_array().expect("a list").is_empty());
    }
}

#[test]
fn one_damaged_database_does_not_keep_the_others_from_being_checked() {
    let c = start();
    let damaged = copy(&c, "two");
    let second = damaged.with_file_name("second");
    run(Command::new("cp").arg("-a").arg(&damaged).arg(&second));
    flip(&files_in(&damaged.join("chain-1/incremental"))[0]);
    let output = verify(&c.root().join("two"), &[]);
    let screen = text(&output.stdout);
    assert_eq!(output.status.code(), Some(4), "{screen}");
    assert!(
        screen.contains("  DAMAGED: 1 of ") && screen.contains("  sound: "),
        "{screen}"
    );
    // Over a connection it is the same damage.
    flip(&files_in(&c.chain_directory().join("incremental"))[0]);
    let output = program(&["verify", "--from", &c.conninfo("app")]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("does not match the manifest"));
}
