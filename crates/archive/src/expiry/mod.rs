//! Executes the decisions of [`crate::retention`]: marks files as expired, then removes them.
//!
//! The order is safe in a crash at any point, and in a power loss:
//!
//! 1. the manifest marks the files as expired, durably; from here on they are not read,
//! 2. they are removed, in any order,
//! 3. the next time, when their absence is durable, the lines are removed from the manifest.
//!
//! On a full disk the manifest cannot be written. Then files are removed one by one until it can: renamed to
//! `….expired`, which needs no space and has the same meaning, and truncated.
//!
//! A chain of which nothing is kept is renamed as a whole, and then removed. Remainders after a crash are
//! removed the next time. While files are removed no other process may read or remove: [`Lock`].

mod given_up;
pub mod indexes;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::archiving::{self, Notes};
use crate::base;
use crate::durable;
use crate::error::{Error, Result};
use crate::failpoint::pass;
use crate::globals;
use crate::layout::names::{chain_name, parse_chain_name, METADATA_JSON, PARTIAL};
use crate::layout::{BaseName, ChainDir, DatabaseDir, SegmentName, Stored};
use crate::lock::Lock;
use crate::manifest::{self, Entry, Kind};
use crate::metadata::Metadata;
use crate::pause::Pause;
use crate::pins;
use crate::retention::{self, Plan, Rules};
use crate::sealed;
use crate::time::Time;

pub use given_up::{names as given_up, names_among as given_up_among};

/// The result for a file, or for a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub chain: u32,
    pub kind: Kind,
    /// Relative to the chain's directory.
    pub file: String,
    pub expires: bool,
    pub why: String,
    /// As stored.
    pub bytes: u64,
}

/// Lists for everything whether it would expire now, and why. Changes nothing.
pub fn look(database: &DatabaseDir, rules: &Rules, now: Time) -> Result<Vec<Row>> {
    let chains = survey(database, rules)?;
    Ok(decide(&chains, rules, now).1)
}

/// Removes expired files; lists the result for everything, and why. Nothing is removed if anything on which
/// the decision depends cannot be read. `pause` is called between two files, and while waiting for a manifest's
/// lock: if it does not return, the files are as after a crash, and the next run continues.
pub fn expire(database: &DatabaseDir, rules: &Rules, now: Time, pause: Pause) -> Result<Vec<Row>> {
    let _lock = Lock::exclusive(database)?;
    remove_leftover_chains(database)?;
    for chain in database.chains()? {
        base::complete_manifest(&chain, pause)?;
        chain.complete_manifest(pause)?;
    }
    let chains = survey(database, rules)?;
    let (plans, rows) = decide(&chains, rules, now);
    for (surveyed, plan) in chains.iter().zip(&plans) {
        if plan.is_whole {
            remove_chain(&surveyed.chain)?
        } else {
            remove_files(surveyed, plan, now, pause)?;
            indexes::remove_unused(&surveyed.chain)?;
        }
    }
    Ok(rows)
}

/// The chain and base that a user specifies: a base's name, or a path that ends in one, optionally with its
/// chain (`chain-1/base/<name>`). The text is never used as a path.
pub fn find_base(database: &DatabaseDir, text: &str) -> Result<Option<(ChainDir, BaseName)>> {
    let mut parts = text.trim_end_matches('/').rsplit('/');
    let name = parts.next().and_then(BaseName::parse);
    let chain = parts.nth(1).map(parse_chain_name);
    let (Some(name), None | Some(Some(_))) = (name, chain) else {
        return Ok(None);
    };
    for dir in database.chains()? {
        let is_meant = chain.is_none_or(|number| number == Some(dir.number));
        if is_meant
            && survey_chain(&dir)?
                .facts
                .bases
                .iter()
                .any(|base| base.name == name)
        {
            return Ok(Some((dir, name)));
        }
    }
    Ok(None)
}

/// Keeps a base until a time, `None` means forever, or, if that is in the past, no longer than the rules say.
/// Returns the base, and the number of its chain; `None` if there is none. Nothing expires in the meantime.
pub fn pin(
    database: &DatabaseDir,
    base: &str,
    until: Option<Time>,
    note: &str,
    now: Time,
    pause: Pause,
) -> Result<Option<(u32, BaseName)>> {
    let _lock = Lock::shared(database, pause)?;
    let Some((chain, name)) = find_base(database, base)? else {
        return Ok(None);
    };
    // Only one process at a time changes the pins.
    let _manifest = manifest::lock_with(&chain, pause)?;
    match until {
        Some(until) if until <= now => drop(pins::remove(&chain, &[name])?),
        _ => pins::set(&chain, name, until, note)?,
    }
    Ok(Some((chain.number, name)))
}

/// A chain with the facts that the rules need, and the manifest's lines by file.
struct Surveyed {
    chain: ChainDir,
    facts: retention::Chain,
    listed: BTreeMap<String, Entry>,
}

fn survey(database: &DatabaseDir, rules: &Rules) -> Result<Vec<Surveyed>> {
    let chains = database.chains()?;
    let mut surveyed: Vec<Surveyed> = chains.iter().map(survey_chain).collect::<Result<_>>()?;
    if rules.archived_only {
        let notes = Notes::read(database)?;
        for surveyed in &mut surveyed {
            let left = archiving::unarchived(database, &notes, &surveyed.chain)?;
            surveyed.facts.unarchived = left;
        }
    }
    Ok(surveyed)
}

/// Expired files do not count, whatever is left of them.
fn survey_chain(chain: &ChainDir) -> Result<Surveyed> {
    let entries = manifest::read_whole(chain)?.into_iter();
    let listed: BTreeMap<_, _> = entries.map(|entry| (entry.file.clone(), entry)).collect();
    let is_ours = |file: &str| listed.get(file).is_none_or(|e| !e.is_gone());
    let pins = pins::read(chain)?;
    let mut facts = retention::Chain {
        number: chain.number,
        ..Default::default()
    };
    for name in chain.bases()? {
        let file = base::file_of(name);
        if is_ours(&file) {
            let pin = pins.iter().find(|pin| pin.base == name.to_string());
            facts
                .bases
                .push(base_facts(chain, name, listed.get(&file), pin.cloned()));
        }
    }
    for (name, stored) in chain.segments()? {
        let file = Entry::segment_file(name);
        let is_new = facts.segments.last().is_none_or(|last| last.name != name);
        if stored != Stored::Partial && is_new && is_ours(&file) {
            let next_xid = listed.get(&file).and_then(|entry| entry.next_xid);
            facts.segments.push(retention::Segment { name, next_xid });
        }
    }
    let sets = chain.globals_sets()?.into_iter();
    facts.globals = sets
        .filter(|set| is_ours(&globals::file_of(*set)))
        .collect();
    Ok(Surveyed {
        chain: chain.clone(),
        facts,
        listed,
    })
}

/// A base counts if it matches the manifest: its sizes and the checksum of its checksums. (Its contents are
/// checked by `verify`.)
fn base_facts(
    chain: &ChainDir,
    name: BaseName,
    listed: Option<&Entry>,
    pin: Option<pins::Pin>,
) -> retention::Base {
    let path = base::path_of(chain, name);
    let metadata = Metadata::read(&path.join(METADATA_JSON));
    let flaw = match (&metadata, base::entry_of_base(chain, name)) {
        (Err(error), _) => Some(error.to_string()),
        (_, Err(error)) => Some(error.to_string()),
        _ if !durable::is_real_dir(&path) => Some(durable::NO_DIRECTORY.to_owned()),
        (Ok(metadata), _) if metadata.lsn != name.lsn => {
            Some("its LSN does not match the directory name".to_owned())
        }
        (_, Ok(actual)) if listed.is_some_and(|listed| *listed != actual) => {
            Some("the manifest does not match the contents of the directory".to_owned())
        }
        _ => None,
    };
    retention::Base {
        name,
        xmin: metadata.map_or(0, |metadata| metadata.snapshot.xmin),
        pin,
        flaw,
    }
}

fn decide(chains: &[Surveyed], rules: &Rules, now: Time) -> (Vec<Plan>, Vec<Row>) {
    let facts: Vec<_> = chains
        .iter()
        .map(|surveyed| surveyed.facts.clone())
        .collect();
    let plans = retention::plan(&facts, rules, now);
    let of_chain = |(surveyed, plan): (&Surveyed, &Plan)| {
        let row = |kind, file: String, expires, why: &retention::Why| Row {
            chain: plan.number,
            kind,
            bytes: surveyed
                .listed
                .get(&file)
                .map_or(0, |entry| entry.file_bytes),
            file,
            expires: expires || plan.is_whole,
            why: if plan.is_whole && !expires {
                "nothing else of its chain is kept".to_owned()
            } else {
                why.to_string()
            },
        };
        let bases = plan.bases.iter();
        let mut rows: Vec<Row> = bases
            .map(|d| row(Kind::Base, base::file_of(d.name), d.expires, &d.why))
            .collect();
        let sets = plan.globals.iter();
        rows.extend(sets.map(|d| row(Kind::Globals, globals::file_of(d.name), d.expires, &d.why)));
        let segments = plan.segments.iter();
        rows.extend(segments.map(|d| {
            let file = Entry::segment_file(d.name);
            row(Kind::Incremental, file, d.expires, &d.why)
        }));
        rows
    };
    let rows = chains.iter().zip(&plans).flat_map(of_chain).collect();
    (plans, rows)
}

/// Marks and removes expired files, and those of an earlier run.
fn remove_files(surveyed: &Surveyed, plan: &Plan, now: Time, pause: Pause) -> Result<()> {
    let chain = &surveyed.chain;
    let mut files: HashSet<String> = HashSet::new();
    let expired = plan.bases.iter().filter(|d| d.expires);
    let bases: Vec<BaseName> = expired.map(|d| d.name).collect();
    files.extend(bases.iter().map(|name| base::file_of(*name)));
    let segments = plan.segments.iter().filter(|d| d.expires);
    files.extend(segments.map(|d| Entry::segment_file(d.name)));
    let sets = plan.globals.iter().filter(|d| d.expires);
    files.extend(sets.map(|d| globals::file_of(d.name)));
    files.extend(given_up::names(chain)?);
    let earlier = surveyed.listed.values();
    let earlier = earlier.filter(|e| e.expired_at.is_some() && is_there(chain, e));
    if files.is_empty() && earlier.count() == 0 {
        return Ok(());
    }
    // The lines of removed files are deleted, so they must not reappear.
    fsync_rooms(chain)?;
    let mut paths = plan.paths(chain)?.into_iter();
    loop {
        match manifest::expire(chain, &files, now, |entry| is_there(chain, entry), pause) {
            Err(error) if error.is_no_space() => match paths.next() {
                Some(path) => given_up::give_up(&path)?,
                None => return Err(error),
            },
            noted => break noted?,
        }
    }
    pass("expire: noted").map_err(Error::io("write", &chain.manifest()))?;
    remove_expired(chain, pause)?;
    fsync_rooms(chain)?;
    pins::remove(chain, &bases).map(|_| ())
}

/// Removes every file that the manifest marks as expired.
fn remove_expired(chain: &ChainDir, pause: Pause) -> Result<()> {
    let entries = manifest::read_whole(chain)?.into_iter();
    let expired = entries.filter(|entry| entry.expired_at.is_some());
    let expired: HashSet<String> = expired.map(|entry| entry.file).collect();
    for (name, stored) in chain.stored_segments()? {
        if stored != Stored::Partial && expired.contains(&Entry::segment_file(name)) {
            pause();
            let path = chain.segment_path(name, stored);
            match pass("expire: remove").and_then(|()| fs::remove_file(&path)) {
                // Its compressed form has replaced it since it was listed.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.map_err(Error::io("remove", &path))?,
            }
        }
    }
    for name in chain.bases()? {
        if expired.contains(&base::file_of(name)) {
            pause();
            remove_directory(&base::path_of(chain, name))?;
        }
    }
    for name in chain.globals_sets()? {
        if expired.contains(&globals::file_of(name)) {
            pause();
            remove_directory(&globals::path_of(chain, name))?;
        }
    }
    given_up::remove(chain)
}

impl Plan {
    /// The indexes of the expired segments and bases, the oldest first.
    fn paths(&self, chain: &ChainDir) -> Result<Vec<PathBuf>> {
        let expired = self.segments.iter().filter(|d| d.expires);
        let expired: BTreeSet<SegmentName> = expired.map(|d| d.name).collect();
        let mut paths = Vec::new();
        for (name, stored) in chain.stored_segments()? {
            if stored != Stored::Partial && expired.contains(&name) {
                paths.push(chain.segment_path(name, stored));
            }
        }
        let bases = self.bases.iter().filter(|d| d.expires);
        paths.extend(bases.map(|d| base::path_of(chain, d.name)));
        Ok(paths)
    }
}

fn remove_directory(path: &Path) -> Result<()> {
    pass("expire: remove").map_err(Error::io("remove", path))?;
    sealed::remove(path)
}

fn is_there(chain: &ChainDir, entry: &Entry) -> bool {
    let is = |path: &Path| fs::symlink_metadata(path).is_ok();
    match entry.kind {
        Kind::Base | Kind::Globals => is(&chain.path.join(&entry.file)),
        Kind::Incremental => Stored::closed_files(&entry.file)
            .iter()
            .any(|file| is(&chain.path.join(file))),
    }
}

fn fsync_rooms(chain: &ChainDir) -> Result<()> {
    for room in [chain.base(), chain.incremental(), chain.globals()] {
        if durable::is_real_dir(&room) {
            durable::fsync_dir(&room)?;
        }
    }
    Ok(())
}

/// Renames the chain to a name that is not read, then removes it.
fn remove_chain(chain: &ChainDir) -> Result<()> {
    let partial = durable::beside(&chain.path, PARTIAL);
    durable::rename_durably(&chain.path, &partial)?;
    remove_directory(&partial)
}

/// Chains whose removal was interrupted. A chain that is being created has a higher number than all others.
fn remove_leftover_chains(database: &DatabaseDir) -> Result<()> {
    let Some(newest) = database.chain_numbers()?.pop() else {
        return Ok(());
    };
    for number in 1..newest {
        let path = database
            .path()
            .join(format!("{}{PARTIAL}", chain_name(number)));
        if durable::is_real_dir(&path) {
            remove_directory(&path)?;
        }
    }
    Ok(())
}
