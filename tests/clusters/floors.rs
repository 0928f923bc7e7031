//! "Everything hangs on everything." The rooms of the extension stand on floors, those of the archive too, and
//! each uses what is below it: read from the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms (files and directories of `src`), the lowest first.
const FLOORS: [&str; 27] = [
    "cluster_changes",
    "pg",
    "settings",
    "figures",
    "sequences",
    "row_history",
    "status",
    "passing",
    "workers",
    "synchronous",
    "place",
    "preflight",
    "offsite",
    "indexing",
    "replica_identity",
    "backup",
    "drill",
    "as_of",
    "lost_extension",
    "automatic_setup",
    "health",
    "effects",
    "output_plugin",
    "ddl_log",
    "capture",
    "launcher",
    "api",
];

/// The rooms of `crates/archive/src`, the lowest first.
const FLOORS_OF_ARCHIVE: [&str; 40] = [
    "counted",
    "escape",
    "selection",
    "literal",
    "failpoint",
    "lsn",
    "mounts",
    "pause",
    "restore",
    "snapshot",
    "sqlstate",
    "error",
    "time",
    "time_text",
    "dump",
    "durable",
    "checksum",
    "metadata",
    "owner",
    "layout",
    "drills",
    "lock",
    "storage",
    "manifest",
    "pins",
    "schema_note",
    "sealed",
    "base",
    "globals",
    "retention",
    "segment",
    "compression",
    "flags",
    "moment",
    "archiving",
    "claim",
    "expiry",
    "listing",
    "reading",
    "verify",
];

/// The room of a file or directory of `src`.
fn room(path: &Path) -> String {
    let name = path.file_name().expect("it has a name").to_string_lossy();
    name.trim_end_matches(".rs").to_string()
}

fn files_below(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).expect("a directory can be read");
    entries
        .flatten()
        .flat_map(|entry| files_below(&entry.path()))
        .collect()
}

/// The rooms that a file's code names, comments left out: in `crate::room::…`, and in `use crate::{…}`.
fn named_in(code: &str) -> BTreeSet<String> {
    let lines = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    let code = lines.collect::<Vec<_>>().join("\n");
    let mut named = BTreeSet::new();
    let name_at = |text: &str| {
        let is_of_name = |c: char| c.is_ascii_lowercase() || c == '_';
        text.chars()
            .take_while(|c| is_of_name(*c))
            .collect::<String>()
    };
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            named.insert(name_at(rest));
            continue;
        };
        let mut depth = 1;
        let mut is_first = true;
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => is_first = true,
                c if is_first && !c.is_whitespace() => {
                    named.insert(name_at(&list[at..]));
                    is_first = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    named.remove("");
    named
}

/// Fails where a room uses one above it, or has no floor. `fewest` arrows were read.
fn assert_floors(source: &str, floors: &[&str], fewest: usize) {
    let place = |room: &str| floors.iter().position(|floor| *floor == room);
    let mut arrows: BTreeMap<(String, String), PathBuf> = BTreeMap::new();
    let mut rooms = BTreeSet::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    for entry in fs::read_dir(source)
        .expect("the source can be read")
        .flatten()
    {
        let from = room(&entry.path());
        if from == "lib" {
            continue;
        }
        assert!(
            place(&from).is_some(),
            "{from} stands on no floor: give it one"
        );
        rooms.insert(from.clone());
        for file in files_below(&entry.path()) {
            let code = fs::read_to_string(&file).expect("a file can be read");
            for to in named_in(&code) {
                if to != from && place(&to).is_some() {
                    arrows.insert((from.clone(), to), file.clone());
                }
            }
        }
    }
    assert_eq!(
        rooms.len(),
        floors.len(),
        "a floor without a room: {rooms:?}"
    );
    let up: Vec<_> = arrows
        .iter()
        .filter(|((from, to), _)| place(from) < place(to))
        .collect();
    assert!(up.is_empty(), "these reach up: {up:#?}");
    assert!(
        arrows.len() > fewest,
        "the arrows were read: {}",
        arrows.len()
    );
}

#[test]
fn every_room_uses_what_is_below_it() {
    assert_floors("../src", &FLOORS, 60);
}

#[test]
fn every_room_of_the_archive_uses_what_is_below_it() {
    assert_floors("../crates/archive/src", &FLOORS_OF_ARCHIVE, 60);
}
