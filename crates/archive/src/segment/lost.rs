//! What a server had committed that is not in the history of the one that goes on after it: set apart for people.
//!
//! `lost-<timeline>/` in the chain's directory is an archive of its own: the whole segments that reach behind the switch
//! point, and the bases and sets of globals taken behind it. `pg_incrbackup show --archive` reads it. It appears at once,
//! complete but for the bases and sets, before anything of it is removed from the chain.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::switch::{Cut, Switch};
use crate::durable;
use crate::error::{Error, Result};
use crate::layout::chain::{to_json, ChainEnd, ChainInfo};
use crate::layout::names::{
    chain_name, BASE, CHAIN_JSON, GLOBALS, INCREMENTAL, LOST, MANIFEST, PARTIAL,
};
use crate::layout::{ChainDir, Stored};
use crate::lsn::Lsn;
use crate::manifest::{self, Entry};
use crate::sealed;
use crate::time::{self, iso, Time};

/// What is lost, for programs.
pub(crate) const LOST_JSON: &str = "lost.json";
/// For people.
const README: &str = "README-LOST.txt";
/// So many transactions are listed one by one.
const LISTED: usize = 1000;

/// A transaction of another history.
#[derive(Debug, Clone, Copy)]
pub(super) struct LostTransaction {
    pub xid: u64,
    pub lsn: Lsn,
    pub at: Option<Time>,
    pub statements: u64,
}

/// The contents of `lost.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The timeline that was left, and where.
    pub timeline: u32,
    pub switched_at: Lsn,
    pub transactions: u64,
    pub first_lsn: Option<Lsn>,
    pub last_lsn: Option<Lsn>,
    #[serde(with = "time::json_option")]
    pub first_commit_at: Option<Time>,
    #[serde(with = "time::json_option")]
    pub last_commit_at: Option<Time>,
    #[serde(with = "time::json")]
    pub set_apart_at: Time,
}

impl Lost {
    pub(super) fn switch(&self) -> Switch {
        Switch {
            timeline: self.timeline,
            at: self.switched_at,
            sets_apart: true,
        }
    }

    /// Of a chain that has not ended: lost transactions that end it, if setting them apart was interrupted.
    pub(super) fn begun(chain: &ChainDir) -> Result<Option<Lost>> {
        for path in directories(chain)? {
            let lost = Lost::read(&path)?;
            if lost.transactions > 0 {
                return Ok(Some(lost));
            }
        }
        Ok(None)
    }

    fn read(directory: &Path) -> Result<Lost> {
        let path = directory.join(LOST_JSON);
        let bytes = durable::read(&path)?;
        serde_json::from_slice(&bytes).map_err(|error| Error::damaged(&path, 0, error.to_string()))
    }

    /// Keeps the segments with lost transactions; `None` if nothing is worth keeping.
    pub(super) fn set_apart(chain: &ChainDir, switch: Switch, cut: &Cut) -> Result<Option<Lost>> {
        let mut lost = Lost {
            timeline: switch.timeline,
            switched_at: switch.at,
            transactions: 0,
            first_lsn: None,
            last_lsn: None,
            first_commit_at: None,
            last_commit_at: None,
            set_apart_at: time::now(),
        };
        for transaction in cut.transactions() {
            lost.transactions += 1;
            lost.first_lsn = lost.first_lsn.or(Some(transaction.lsn));
            lost.last_lsn = Some(transaction.lsn);
            lost.first_commit_at = lost.first_commit_at.or(transaction.at);
            lost.last_commit_at = transaction.at.or(lost.last_commit_at);
        }
        if lost.transactions == 0 && cut.bases.is_empty() && cut.sets.is_empty() {
            return Ok(None);
        }
        let directory = directory(chain, switch.timeline);
        if is_complete(&directory) {
            return Lost::read(&directory).map(Some);
        }
        // A copy was not put completely.
        if durable::is_real_dir(&directory) {
            sealed::remove(&directory)?;
        }
        let partial = durable::beside(&directory, PARTIAL);
        if durable::is_real_dir(&partial) {
            sealed::remove(&partial)?;
        }
        durable::create_dir(&partial)?;
        lost.fill(chain, cut, &partial.join(chain_name(chain.number)))?;
        let readme = lost.readme(chain, cut);
        durable::write_atomically(&partial.join(README), readme.as_bytes())?;
        durable::write_atomically(&partial.join(LOST_JSON), &lost.to_json())?;
        durable::rename_durably(&partial, &directory)?;
        Ok(Some(lost))
    }

    /// A chain of what is lost.
    fn fill(&self, chain: &ChainDir, cut: &Cut, path: &Path) -> Result<()> {
        durable::create_dir(path)?;
        for room in [INCREMENTAL, BASE, GLOBALS] {
            durable::create_dir(&path.join(room))?;
        }
        let mut listed = manifest::by_file(chain)?;
        let mut lines = Vec::new();
        // What the first of them follows is not here: as if retention had removed it.
        let before = cut
            .before
            .and_then(|name| listed.remove(&Entry::segment_file(name)));
        lines.extend(before.map(|entry| Entry {
            expired_at: Some(self.set_apart_at),
            ..entry
        }));
        let segments = cut.segments.iter().filter(|_| self.transactions > 0);
        for behind in segments {
            let to = path.join(INCREMENTAL).join(behind.name.file(behind.stored));
            durable::keep_as(&chain.segment_path(behind.name, behind.stored), &to)?;
            if behind.stored != Stored::Partial {
                lines.extend(listed.remove(&Entry::segment_file(behind.name)));
            }
        }
        let bases = cut.bases.iter().map(|base| crate::base::file_of(*base));
        let sets = cut.sets.iter().map(|set| crate::globals::file_of(*set));
        lines.extend(bases.chain(sets).filter_map(|file| listed.remove(&file)));
        let end = ChainEnd {
            reason: format!(
                "the server's history left timeline {} at {}",
                self.timeline, self.switched_at
            ),
            last_lsn: self.last_lsn.unwrap_or(self.switched_at),
            at: self.set_apart_at,
        };
        let info = ChainInfo {
            ended: Some(end),
            ..chain.info.clone()
        };
        durable::write_atomically(&path.join(MANIFEST), &manifest::to_lines(lines.iter()))?;
        durable::write_atomically(&path.join(CHAIN_JSON), &to_json(&info))
    }

    /// Moves a base or a set here; `file` is its name in the chain.
    pub(super) fn take(&self, chain: &ChainDir, from: &Path, file: &str) -> Result<()> {
        let to = directory(chain, self.timeline)
            .join(chain_name(chain.number))
            .join(file);
        durable::rename_durably(from, &to)
    }

    pub(super) fn into_error(self, chain: &ChainDir) -> Error {
        Error::SetApart {
            path: directory(chain, self.timeline),
            timeline: self.timeline,
            at: self.switched_at,
            transactions: self.transactions,
        }
    }

    fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("plain fields always become JSON");
        json.push(b'\n');
        json
    }

    fn readme(&self, chain: &ChainDir, cut: &Cut) -> String {
        let here = directory(chain, self.timeline);
        let (timeline, at, number) = (self.timeline, self.switched_at, chain.number);
        let mut text = format!(
            "What a former primary had committed, and the present one does not have\n\n\
             Written by pg_incrbackup at {}. Database \"{}\", chain-{number}.\n\n\
             Another server was promoted and goes on in this archive. Its history left timeline {timeline} at LSN {at}.\n\
             The former primary wrote on, on timeline {timeline}, and the files of this archive had more of it than the\n\
             promoted server received. ",
            iso(self.set_apart_at),
            chain.info.database
        );
        if self.transactions == 0 {
            text.push_str(
                "No transaction is lost. The base backups and sets of globals here were taken\n\
                 behind that point, and their snapshots do not belong to the present history.\n",
            );
            return text;
        }
        let time = |at: Option<Time>| at.map_or_else(|| "an unknown time".to_owned(), iso);
        let lsn = |lsn: Option<Lsn>| lsn.unwrap_or(at);
        text.push_str(&format!(
            "{} transactions are lost: committed from {} to\n{}, at LSNs {} to {}.\n\
             They are in the files here and nowhere else: the present database does not have them, and no restore of\n\
             chain-{number} has them. chain-{number} ends before them.\n\n\
             The segments here are whole: they also contain transactions before {at}, which are not lost. To see the lost ones:\n\n    \
             pg_incrbackup show --archive '{}' --since-lsn {at}\n\n\
             or, without the program, read chain-{number}/incremental/* with less (zstd -dc, gzip -dc for compressed ones): plain\n\
             SQL, each transaction under a line with its commit_lsn. What you want back, run in the present database, line by\n\
             line: other transactions may have changed the same rows since.\n\n\
             Nobody needs this directory but you: remove it when you have seen it. It goes with chain-{number} otherwise.\n\n\
             commit LSN        committed at                 xid         statements\n",
            self.transactions,
            time(self.first_commit_at),
            time(self.last_commit_at),
            lsn(self.first_lsn),
            lsn(self.last_lsn),
            here.display(),
        ));
        for transaction in cut.transactions().take(LISTED) {
            text.push_str(&format!(
                "{:<17} {:<28} {:<11} {}\n",
                transaction.lsn.to_string(),
                time(transaction.at),
                transaction.xid,
                transaction.statements
            ));
        }
        let more = cut.transactions().count().saturating_sub(LISTED);
        if more > 0 {
            text.push_str(&format!("and {more} more\n"));
        }
        text
    }
}

fn directory(chain: &ChainDir, timeline: u32) -> PathBuf {
    chain.path.join(format!("{LOST}{timeline}"))
}

/// The directories of what is lost of a chain, that are complete.
pub(crate) fn directories(chain: &ChainDir) -> Result<Vec<PathBuf>> {
    let mut names = durable::names_in(&chain.path)?;
    names.retain(|name| {
        let timeline = name.strip_prefix(LOST);
        timeline.is_some_and(|timeline| timeline.parse::<u32>().is_ok())
    });
    names.sort();
    let paths = names.into_iter().map(|name| chain.path.join(name));
    Ok(paths.filter(|path| is_complete(path)).collect())
}

/// In a copy, too, [`LOST_JSON`] comes last.
fn is_complete(directory: &Path) -> bool {
    durable::is_real_dir(directory) && directory.join(LOST_JSON).symlink_metadata().is_ok()
}
