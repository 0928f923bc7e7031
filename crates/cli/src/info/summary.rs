//! What `info` says about a database: plain values, out of the catalog.
//!
//! Times are ISO 8601 in UTC, LSNs are text, sizes are bytes. A system identifier is text: it does not fit into the
//! numbers of every reader of JSON.

use std::path::Path;

use archive::owner::{self, OWNER_JSON};
use archive::storage::{self, Storage};
use archive::time::{self, Time};
use archive::Lsn;
use archive_query::catalog::{self, Catalog};
use serde::Serialize;

use crate::error::Result;
use crate::shown::decoded;
use crate::source::Source;

#[derive(Debug, Serialize)]
pub struct Database {
    pub database: String,
    pub place: String,
    pub source: Option<Origin>,
    /// The last moment that can be restored.
    pub newest: Option<Moment>,
    pub chains: Vec<Chain>,
    /// What cannot be parsed, and is not taken into account.
    pub damage: Vec<String>,
}

/// The server whose database it is.
#[derive(Debug, Serialize)]
pub struct Origin {
    pub system_identifier: String,
    pub timeline: u32,
    pub database_oid: u32,
    /// At the last base.
    pub server_version: Option<String>,
    pub host: Option<String>,
    pub data_directory: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Moment {
    #[serde(with = "time::json_option")]
    pub at: Option<Time>,
    pub lsn: Lsn,
}

#[derive(Debug, Serialize)]
pub struct Chain {
    pub number: u32,
    #[serde(with = "time::json")]
    pub begun_at: Time,
    pub slot_start_lsn: Lsn,
    pub plugin: String,
    pub ended: Option<Ended>,
    /// Retention has removed the segments before.
    pub expired_up_to: Option<Lsn>,
    pub bases: Vec<Base>,
    pub segments: Segments,
    pub stretches: Vec<Stretch>,
    pub gaps: Vec<Gap>,
    pub losses: Vec<Loss>,
    pub damaged_manifest_lines: Vec<DamagedLine>,
}

#[derive(Debug, Serialize)]
pub struct Ended {
    #[serde(with = "time::json")]
    pub at: Time,
    pub last_lsn: Lsn,
    pub reason: String,
}

#[derive(Debug, Serialize)]
pub struct Base {
    pub name: String,
    #[serde(with = "time::json")]
    pub taken_at: Time,
    pub lsn: Lsn,
    /// All its files together; `None` without a line in the manifest.
    pub bytes: Option<u64>,
    /// Whether the manifest has a line about it: without one it is only used by its name.
    pub is_listed: bool,
    /// Whether it can only be restored as it is, because retention has removed the segments that follow it.
    pub stands_alone: bool,
}

#[derive(Debug, Default, Serialize)]
pub struct Segments {
    pub count: usize,
    pub open: usize,
    pub bytes_stored: u64,
    /// Uncompressed.
    pub bytes: u64,
}

/// Every moment in it can be restored.
#[derive(Debug, Serialize)]
pub struct Stretch {
    /// `None` if no base joins: nothing of it can be restored.
    pub from: Option<Moment>,
    pub to: Moment,
    /// Where its first segment starts.
    pub start_lsn: Lsn,
    pub base: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct Gap {
    pub after: Lsn,
    pub before: Lsn,
}

/// Changes of an object are missing.
#[derive(Debug, Serialize)]
pub struct Loss {
    pub since: Moment,
    /// When the base that ends it was taken; `None` while there is none.
    #[serde(with = "time::json_option")]
    pub until: Option<Time>,
    /// `rows` or `schema`.
    pub lost: String,
    pub class: String,
    pub oid: u32,
    pub identity: String,
    pub reason: String,
}

#[derive(Debug, Serialize)]
pub struct DamagedLine {
    pub line: usize,
    pub why: String,
}

impl Database {
    /// Reads it. A file that cannot be parsed is named in it; what cannot be read at all is an error.
    pub fn read(source: &Source) -> Result<Database> {
        let storage = &*source.storage;
        let (catalog, damage) = Catalog::read_sound(storage)?;
        let mut damage: Vec<String> = damage.iter().map(ToString::to_string).collect();
        let owner = owner(storage).unwrap_or_else(|error| {
            damage.push(error.to_string());
            None
        });
        let mut chains = Vec::new();
        for chain in &catalog.chains {
            chains.push(Chain::of(chain, storage)?);
        }
        Ok(Database {
            database: source.name.clone(),
            place: storage.place(""),
            source: Origin::of(&catalog, owner),
            newest: newest(&chains),
            chains,
            damage,
        })
    }

    /// Whether anything in it cannot be parsed.
    pub fn is_damaged(&self) -> bool {
        let has_lines = |chain: &Chain| !chain.damaged_manifest_lines.is_empty();
        !self.damage.is_empty() || self.chains.iter().any(has_lines)
    }
}

fn owner(storage: &dyn Storage) -> archive::Result<Option<owner::Owner>> {
    let Some(bytes) = storage::read(storage, OWNER_JSON)? else {
        return Ok(None);
    };
    let place = storage.place(OWNER_JSON);
    owner::parse(&bytes, Path::new(&place)).map(Some)
}

/// Chains may overlap in time: a new one begins before the former has ended.
fn newest(chains: &[Chain]) -> Option<Moment> {
    let stretches = chains.iter().flat_map(|chain| &chain.stretches);
    let ends = stretches.filter(|stretch| stretch.from.is_some());
    ends.map(|stretch| stretch.to)
        .max_by_key(|to| (to.at, to.lsn))
}

impl Origin {
    fn of(catalog: &Catalog, owner: Option<owner::Owner>) -> Option<Origin> {
        let info = &catalog.chains.last()?.info;
        let mut bases = catalog.chains.iter().flat_map(|chain| &chain.bases);
        let version = bases
            .next_back()
            .map(|base| version_of(base.metadata.server_version_num));
        let owner =
            owner.filter(|owner| owner.identity.system_identifier == info.system_identifier);
        Some(Origin {
            system_identifier: info.system_identifier.to_string(),
            timeline: owner
                .as_ref()
                .map_or(info.timeline, |owner| owner.identity.timeline),
            database_oid: info.database_oid,
            server_version: version,
            host: owner.as_ref().map(|owner| owner.identity.host.clone()),
            data_directory: owner.map(|owner| owner.identity.data_directory),
        })
    }
}

/// `150018` is 15.18.
fn version_of(number: u32) -> String {
    format!("{}.{}", number / 10_000, number % 10_000)
}

impl Chain {
    fn of(chain: &catalog::Chain, storage: &dyn Storage) -> Result<Chain> {
        let (stretches, gaps) = chain.stretches(storage)?;
        let info = &chain.info;
        let first_joining = stretches.iter().find_map(|stretch| Some(stretch.from?.1));
        let bases = chain.bases.iter().map(|base| Base {
            name: base.name.to_string(),
            taken_at: base.metadata.taken_at,
            lsn: base.metadata.lsn,
            bytes: base.entry.as_ref().map(|entry| entry.file_bytes),
            is_listed: base.entry.is_some(),
            stands_alone: chain.last_expired.is_some()
                && first_joining.is_none_or(|first| base.metadata.lsn < first),
        });
        let of_line = |(line, why): &(usize, String)| DamagedLine {
            line: *line,
            why: why.clone(),
        };
        Ok(Chain {
            number: chain.number,
            begun_at: info.started_at,
            slot_start_lsn: info.slot_start_lsn,
            plugin: info.plugin.clone(),
            ended: info.ended.as_ref().map(|ended| Ended {
                at: ended.at,
                last_lsn: ended.last_lsn,
                reason: ended.reason.clone(),
            }),
            expired_up_to: chain.last_expired.as_ref().map(|entry| entry.end_lsn),
            bases: bases.collect(),
            segments: Segments::of(chain),
            stretches: stretches.iter().map(Stretch::of).collect(),
            gaps: gaps
                .iter()
                .map(|gap| Gap {
                    after: gap.after,
                    before: gap.before,
                })
                .collect(),
            losses: chain.losses().iter().map(Loss::of).collect(),
            damaged_manifest_lines: chain.damaged_lines.iter().map(of_line).collect(),
        })
    }
}

impl Segments {
    fn of(chain: &catalog::Chain) -> Segments {
        let mut segments = Segments::default();
        for segment in &chain.segments {
            segments.count += 1;
            segments.open += usize::from(segment.stored == archive::layout::Stored::Partial);
            segments.bytes_stored += segment.size;
            segments.bytes += segment
                .entry
                .as_ref()
                .map_or(segment.size, |entry| entry.bytes);
        }
        segments
    }
}

impl Stretch {
    fn of(stretch: &catalog::Stretch) -> Stretch {
        Stretch {
            from: stretch.from.map(|(at, lsn)| Moment { at: Some(at), lsn }),
            to: Moment {
                at: stretch.end_at,
                lsn: stretch.end_lsn,
            },
            start_lsn: stretch.start_lsn,
            base: stretch.base.clone(),
        }
    }
}

impl Loss {
    fn of(loss: &catalog::Loss) -> Loss {
        let flag = &loss.flag;
        Loss {
            since: Moment {
                at: flag.first_at,
                lsn: flag.first_lsn,
            },
            until: loss.ended_at,
            lost: flag.lost.clone(),
            class: flag.class.clone(),
            oid: flag.oid,
            identity: decoded(&flag.identity),
            reason: decoded(&flag.reason),
        }
    }

    /// What is missing, as restore.sh words it.
    pub fn what(&self) -> String {
        let is_rows = self.lost == "rows";
        if self.oid == 0 && self.identity.is_empty() {
            let what = if is_rows {
                "rows"
            } else {
                "the schema of an unknown object"
            };
            return what.to_owned();
        }
        let of = if is_rows { "rows of " } else { "" };
        let class = decoded(&self.class);
        if self.identity.is_empty() {
            format!("{of}{class} with OID {}", self.oid)
        } else {
            format!("{of}{class} {}", self.identity)
        }
    }
}
