//! Reads the catalog.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use archive::flags::{self, FLAGS};
use archive::globals::Facts;
use archive::layout::chain::ChainInfo;
use archive::layout::names::{
    parse_chain_name, BASE, CHAIN_JSON, GLOBALS, INCREMENTAL, MANIFEST, METADATA_JSON,
};
use archive::layout::{BaseName, GlobalsName, SegmentName, Stored};
use archive::manifest::{self, Entry, Kind, Manifest};
use archive::metadata::Metadata;
use archive::storage::{self, Storage};
use archive::{Error, Result};

use super::{Base, Catalog, Chain, Globals, Segment};

/// Where errors go in place of ending the reading.
pub(super) type Damage<'a> = Option<&'a RefCell<Vec<Error>>>;

pub(super) fn catalog(storage: &dyn Storage, damage: Damage) -> Result<Catalog> {
    let names = storage.list("")?.into_iter();
    let directories = names.filter(|item| item.is_directory);
    let mut numbered: Vec<(u32, String)> = directories
        .filter_map(|item| Some((parse_chain_name(&item.name)?, item.name)))
        .collect();
    numbered.sort();
    let mut chains = Vec::new();
    for (number, name) in numbered {
        // Retention may remove one in the meantime.
        let reader = Reader {
            storage,
            name,
            damage,
        };
        chains.extend(reader.chain(number)?);
    }
    Ok(Catalog { chains })
}

/// Reads one chain.
struct Reader<'a> {
    storage: &'a dyn Storage,
    name: String,
    damage: Damage<'a>,
}

/// The manifest's lines, the last about each file.
struct Lines {
    valid: HashMap<String, Entry>,
    /// Expired, or set apart.
    gone: HashSet<String>,
    set_apart: HashSet<String>,
}

impl Reader<'_> {
    fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.name)
    }

    fn read(&self, file: &str) -> Result<Option<Vec<u8>>> {
        storage::read(self.storage, &self.path(file))
    }

    /// A small file, parsed; `None` if it does not exist, or its damage was noted.
    fn parsed<T>(
        &self,
        file: &str,
        parse: impl FnOnce(&[u8], &Path) -> Result<T>,
    ) -> Result<Option<T>> {
        let Some(bytes) = self.read(file)? else {
            return Ok(None);
        };
        let place = self.storage.place(&self.path(file));
        match (parse(&bytes, Path::new(&place)), self.damage) {
            (Err(error), Some(damage)) => {
                damage.borrow_mut().push(error);
                Ok(None)
            }
            (parsed, _) => parsed.map(Some),
        }
    }

    fn chain(&self, number: u32) -> Result<Option<Chain>> {
        let Some(info) = self.parsed(CHAIN_JSON, ChainInfo::parse)? else {
            return self.without_description();
        };
        let manifest = self.manifest()?;
        let damaged_lines = manifest.damaged;
        let mut lines = Lines {
            valid: HashMap::new(),
            gone: HashSet::new(),
            set_apart: HashSet::new(),
        };
        let mut last_expired: Option<Entry> = None;
        for entry in manifest::without_repeats(manifest.entries) {
            if !entry.is_gone() {
                lines.valid.insert(entry.file.clone(), entry);
                continue;
            }
            lines.gone.insert(entry.file.clone());
            if entry.set_apart_at.is_some() {
                lines.set_apart.insert(entry.file.clone());
            }
            let last = last_expired.as_ref().map(|last| last.end_lsn);
            let is_set_apart = entry.set_apart_at.is_some();
            if !is_set_apart && entry.kind == Kind::Incremental && last < Some(entry.end_lsn) {
                last_expired = Some(entry);
            }
        }
        let listed = lines.valid.values();
        let listed = listed.filter(|entry| entry.kind == Kind::Incremental);
        let listed_to = listed.map(|entry| entry.end_lsn).max();
        let bases = self.bases(&mut lines)?;
        let name_of = |file: &String| BaseName::parse(file.strip_prefix(BASE)?.strip_prefix('/')?);
        let lost_bases = lines.set_apart.iter().filter_map(name_of).collect();
        let segments = self.segments(&mut lines)?;
        Ok(Some(Chain {
            number,
            info,
            bases,
            lost_bases,
            segments,
            globals: self.globals(&mut lines)?,
            flags: self.parsed(FLAGS, flags::parse)?.unwrap_or_default(),
            listed_to,
            last_expired,
            damaged_lines,
        }))
    }

    /// A chain that retention has removed is not there; one with bases has lost its description.
    fn without_description(&self) -> Result<Option<Chain>> {
        for item in self.storage.list(&self.path(BASE))? {
            let metadata = format!("{BASE}/{}/{METADATA_JSON}", item.name);
            let is_base = item.is_directory && BaseName::parse(&item.name).is_some();
            if is_base && self.storage.size(&self.path(&metadata))?.is_some() {
                self.found(CHAIN_JSON, "it is missing")?;
                break;
            }
        }
        Ok(None)
    }

    /// Notes damage, or ends the reading with it.
    fn found(&self, file: &str, why: &str) -> Result<()> {
        let place = self.storage.place(&self.path(file));
        let error = Error::damaged(Path::new(&place), 0, why);
        match self.damage {
            Some(damage) => {
                damage.borrow_mut().push(error);
                Ok(())
            }
            None => Err(error),
        }
    }

    /// Retention removes segments from the oldest on. One behind a segment that is kept has not expired, except where a
    /// copy has a gap: then it is not there, and others follow.
    fn ensure_expired_are_oldest(&self, there: &[SegmentName], lines: &Lines) -> Result<()> {
        let name_of = |file: &String| {
            let name = file.strip_prefix(INCREMENTAL)?.strip_prefix('/')?;
            SegmentName::parse(name).map(|(name, _)| name)
        };
        let gone: BTreeSet<SegmentName> = lines.gone.iter().filter_map(name_of).collect();
        let mut kept: BTreeSet<SegmentName> = lines.valid.keys().filter_map(name_of).collect();
        kept.extend(there.iter().filter(|name| !gone.contains(name)));
        let expired = lines.gone.difference(&lines.set_apart);
        let expired: BTreeSet<SegmentName> = expired.filter_map(name_of).collect();
        let (Some(first), Some(last)) = (kept.first(), kept.last()) else {
            return Ok(());
        };
        let is_odd = |name: &&SegmentName| *name > first && (*name > last || there.contains(name));
        match expired.iter().find(is_odd) {
            Some(odd) => {
                let file = odd.file(Stored::Plain);
                let why = format!("it marks {file} as expired, but not one before it");
                self.found(MANIFEST, &why)
            }
            None => Ok(()),
        }
    }

    fn manifest(&self) -> Result<Manifest> {
        let mut others = Vec::new();
        for item in self.storage.list(&self.name)? {
            if manifest::is_part(&item.name) {
                others.extend(self.read(&item.name)?);
            }
        }
        let first = self.read(MANIFEST)?.unwrap_or_default();
        Ok(manifest::parse(&manifest::joined(first, &others)))
    }

    /// Finished directories: a base, or a set of globals.
    fn directories<N: Ord>(
        &self,
        room: &str,
        lines: &Lines,
        parse: impl Fn(&str) -> Option<N>,
    ) -> Result<Vec<(N, String)>> {
        let items = self.storage.list(&self.path(room))?.into_iter();
        let mut found: Vec<(N, String)> = items
            .filter(|item| item.is_directory)
            .filter_map(|item| Some((parse(&item.name)?, format!("{room}/{}", item.name))))
            .filter(|(_, directory)| !lines.gone.contains(directory))
            .collect();
        found.sort();
        Ok(found)
    }

    fn bases(&self, lines: &mut Lines) -> Result<Vec<Base>> {
        let mut bases = Vec::new();
        for (name, directory) in self.directories(BASE, lines, BaseName::parse)? {
            let file = format!("{directory}/{METADATA_JSON}");
            // A copy that is not complete may lack it.
            let Some(metadata) = self.parsed(&file, Metadata::parse)? else {
                continue;
            };
            bases.push(Base {
                name,
                metadata,
                entry: lines.valid.remove(&directory),
            });
        }
        Ok(bases)
    }

    fn globals(&self, lines: &mut Lines) -> Result<Vec<Globals>> {
        let mut sets = Vec::new();
        for (name, directory) in self.directories(GLOBALS, lines, GlobalsName::parse)? {
            let file = format!("{directory}/{METADATA_JSON}");
            let Some(facts) = self.parsed(&file, Facts::parse)? else {
                continue;
            };
            sets.push(Globals {
                name,
                facts,
                entry: lines.valid.remove(&directory),
            });
        }
        Ok(sets)
    }

    /// Each in one form.
    fn segments(&self, lines: &mut Lines) -> Result<Vec<Segment>> {
        let mut found: BTreeMap<SegmentName, (Stored, u64)> = BTreeMap::new();
        let items = self.storage.list(&self.path(INCREMENTAL))?;
        let names = items
            .iter()
            .filter_map(|item| SegmentName::parse(&item.name));
        let there: Vec<SegmentName> = names.map(|(name, _)| name).collect();
        self.ensure_expired_are_oldest(&there, lines)?;
        for item in items {
            let Some((name, stored)) = SegmentName::parse(&item.name) else {
                continue;
            };
            if item.is_directory || lines.gone.contains(&Entry::segment_file(name)) {
                continue;
            }
            let form = found.entry(name).or_insert((stored, item.size));
            if stored.preference() < form.0.preference() {
                *form = (stored, item.size);
            }
        }
        let segments = found.into_iter().map(|(name, (stored, size))| Segment {
            name,
            stored,
            size,
            entry: match stored {
                Stored::Partial => None,
                _ => lines.valid.remove(&Entry::segment_file(name)),
            },
        });
        Ok(segments.collect())
    }
}
