//! One chain: its description, its manifest, its bases and sets of globals.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::directories::Sealed;
use super::Problem;
use crate::base;
use crate::error::Result;
use crate::expiry::given_up_among;
use crate::flags::{self, FLAGS};
use crate::globals;
use crate::layout::names::{
    chain_name, BaseName, GlobalsName, BASE, CHAIN_JSON, GLOBALS, INCREMENTAL, MANIFEST,
};
use crate::layout::ChainInfo;
use crate::manifest::{self, Entry, Kind, Manifest};
use crate::pause::Pause;
use crate::pins::{self, PINS_JSON};
use crate::storage::{self, Storage};

pub struct ChainCheck<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) number: u32,
    pub(super) info: ChainInfo,
    pub(super) pause: Pause<'a>,
    /// The manifest's last line about each file; removed when the file is found.
    pub(super) listed: BTreeMap<String, Entry>,
    /// Expired files.
    pub(super) expired: BTreeSet<String>,
    /// The last segment of these.
    pub(super) last_expired: Option<Entry>,
    /// The oldest and the newest segment that the manifest lists: their names are in the order of their LSNs.
    pub(super) extent: Option<(String, String)>,
    /// Not so where a base is without any manifest: in a copy it comes later.
    pub(super) may_be_copy: bool,
    pub(super) problems: Vec<Problem>,
}

impl<'a> ChainCheck<'a> {
    /// Everything that is wrong with a chain.
    pub fn problems_of(storage: &'a dyn Storage, number: u32, pause: Pause<'a>) -> Vec<Problem> {
        let (bytes, info) = match description(storage, number) {
            Ok(read) => read,
            Err(problem) => {
                let file = format!("{}/{CHAIN_JSON}", chain_name(number));
                return vec![Problem::of(file, problem)];
            }
        };
        let mut check = ChainCheck {
            storage,
            number,
            info,
            pause,
            listed: BTreeMap::new(),
            expired: BTreeSet::new(),
            last_expired: None,
            extent: None,
            may_be_copy: false,
            problems: Vec::new(),
        };
        if !check.info.is_written_as(&bytes) {
            check.found(CHAIN_JSON, "was changed after it was written");
        }
        check.lists();
        check.small_files();
        check.expired_are_the_oldest();
        // A directory that could not be listed is a problem too: the others are still checked.
        for (place, looked_at) in [
            (BASE, check.bases()),
            (GLOBALS, check.globals()),
            (INCREMENTAL, check.segments()),
        ] {
            if let Err(error) = looked_at {
                check.found(place, error.to_string());
            }
        }
        check.missing();
        check.problems
    }

    pub(super) fn found(&mut self, file: &str, problem: impl Into<String>) {
        let file = self.path(file);
        self.problems.push(Problem::of(file, problem));
    }

    /// Of a segment, about what is before it.
    pub(super) fn found_before(
        &mut self,
        file: &str,
        problem: impl Into<String>,
        is_usual_in_copy: bool,
    ) {
        let file = self.path(file);
        self.problems.push(Problem {
            is_about_predecessor: true,
            is_usual_in_copy,
            ..Problem::of(file, problem)
        });
    }

    /// A file of this chain, from the database's directory.
    pub(super) fn path(&self, file: &str) -> String {
        format!("{}/{file}", chain_name(self.number))
    }

    /// The names in one of its directories. A link in place of a directory would redirect writes, or removal.
    pub(super) fn names_in(&mut self, room: &str) -> Result<Vec<String>> {
        let items = self.storage.list(&self.path(room))?;
        Ok(items.into_iter().map(|item| item.name).collect())
    }

    /// Takes the manifest's lines, and what a full disk kept from being written there.
    fn lists(&mut self) {
        let manifest = self.manifest().unwrap_or_else(|error| {
            self.found(MANIFEST, error.to_string());
            Manifest::default()
        });
        for (line, why) in manifest.damaged {
            self.found(MANIFEST, format!("line {line} is invalid: {why}"));
        }
        let segments = self.names_in(INCREMENTAL).unwrap_or_default();
        let bases = self.names_in(BASE).unwrap_or_default();
        let given_up = given_up_among(&segments, &bases);
        self.may_be_copy = self.has_manifest() || self.newest_base(&bases).is_none();
        for entry in manifest.entries {
            if !entry.is_gone() && !given_up.contains(&entry.file) {
                if entry.kind == Kind::Incremental {
                    self.extend_to(&entry.file);
                }
                self.listed.insert(entry.file.clone(), entry);
                continue;
            }
            self.expired.insert(entry.file.clone());
            let last = self.last_expired.as_ref().map(|last| last.end_lsn);
            let is_set_apart = entry.set_apart_at.is_some();
            if !is_set_apart && entry.kind == Kind::Incremental && last < Some(entry.end_lsn) {
                self.last_expired = Some(entry);
            }
        }
    }

    fn manifest(&mut self) -> Result<Manifest> {
        manifest::read_stored(self.storage, &chain_name(self.number), self.pause)
    }

    fn small_files(&mut self) {
        let items = self.storage.list(&chain_name(self.number));
        let rooms = [BASE, GLOBALS, INCREMENTAL];
        for item in items.unwrap_or_default() {
            if !item.is_directory && rooms.contains(&item.name.as_str()) {
                self.found(&item.name, "it is not a directory");
            }
        }
        self.small_file(PINS_JSON, pins::parse);
        self.small_file(FLAGS, flags::parse);
    }

    fn small_file<T>(&mut self, file: &str, parse: impl Fn(&[u8], &Path) -> Result<Vec<T>>) {
        let path = self.path(file);
        let place = self.storage.place(&path);
        let parsed = storage::read(self.storage, &path).and_then(|bytes| match bytes {
            None => Ok(Vec::new()),
            Some(bytes) => parse(&bytes, Path::new(&place)),
        });
        if let Err(error) = parsed {
            self.found(file, error.to_string());
        }
    }

    fn bases(&mut self) -> Result<()> {
        let names = self.names_in(BASE)?;
        let mut names: Vec<BaseName> = names
            .iter()
            .filter_map(|name| BaseName::parse(name))
            .collect();
        names.sort_unstable();
        for name in names {
            let file = base::file_of(name);
            if !self.expired.contains(&file) {
                let sealed = Sealed::base(self.storage, &self.path(&file), name, self.pause);
                self.directory(&file, Kind::Base, sealed);
            }
        }
        Ok(())
    }

    fn globals(&mut self) -> Result<()> {
        let names = self.names_in(GLOBALS)?;
        let parsed = names.iter().filter_map(|name| GlobalsName::parse(name));
        let mut names: Vec<GlobalsName> = parsed.collect();
        names.sort_unstable();
        for name in names {
            let file = globals::file_of(name);
            if !self.expired.contains(&file) {
                let sealed = Sealed::globals(self.storage, &self.path(&file), name, self.pause);
                self.directory(&file, Kind::Globals, sealed);
            }
        }
        Ok(())
    }

    /// A base or a set, with its problems and its expected line in the manifest.
    fn directory(&mut self, directory: &str, kind: Kind, sealed: Sealed) {
        let is_whole = sealed.problems.is_empty();
        if !is_whole && self.has_expired(directory) {
            return;
        }
        let listed = self.take_listed(directory);
        if listed.is_none() && !is_whole && self.lacks_metadata(directory) {
            self.found_in_copy(directory, "incomplete, and not in the manifest", true);
            return;
        }
        for (file, why) in sealed.problems {
            self.found(&format!("{directory}/{file}"), why);
        }
        match listed {
            None if is_whole => self.found_unlisted(directory, kind),
            None => self.found(directory, "not in the manifest"),
            Some(listed) if sealed.entry.is_some_and(|actual| actual != listed) => {
                let why = "the manifest does not match the contents of the directory";
                self.found(directory, why);
            }
            Some(_) => {}
        }
    }

    /// The manifest's line about a file, searched once more if it may be newer than our reading. A process
    /// that renames a file holds the manifest's lock until its line is written, so reading waits for it.
    pub(super) fn take_listed(&mut self, file: &str) -> Option<Entry> {
        if let Some(entry) = self.listed.remove(file) {
            return Some(entry);
        }
        if self.precedes_manifest(file) {
            return None;
        }
        self.newest_line(file)
    }

    /// Whether retention has marked a file as expired since the manifest was read: where its lock is out of reach, it may
    /// remove files meanwhile.
    pub(super) fn has_expired(&mut self, file: &str) -> bool {
        let line = self.newest_line(file);
        let has_expired = line.is_some_and(|entry| entry.is_gone());
        if has_expired {
            self.listed.remove(file);
        }
        has_expired
    }

    pub(super) fn newest_line(&mut self, file: &str) -> Option<Entry> {
        let mut entries = self.manifest().ok()?.entries.into_iter();
        entries.rfind(|entry| entry.file == file)
    }
}

fn description(
    storage: &dyn Storage,
    number: u32,
) -> std::result::Result<(Vec<u8>, ChainInfo), String> {
    let file = format!("{}/{CHAIN_JSON}", chain_name(number));
    let read = storage::read(storage, &file).map_err(|error| error.to_string())?;
    let bytes = read.ok_or("is missing")?;
    let place = storage.place(&file);
    let info = ChainInfo::parse(&bytes, Path::new(&place)).map_err(|error| error.to_string())?;
    Ok((bytes, info))
}
