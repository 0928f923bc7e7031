//! What a damaged file costs: the moments that can no longer be restored, or from which other base they are.
//!
//! The rules are those of a restore. A segment is needed for every moment after its start, up to the first base whose
//! restore does not read it: one that was taken later, when no transaction that was open in the segment was running any
//! more. A base is only needed where no older one leads to the same moment.

use std::collections::BTreeSet;

use archive::layout::names::{parse_chain_name, BASE, CHAIN_JSON, GLOBALS, INCREMENTAL, MANIFEST};
use archive::layout::{BaseName, GlobalsName, SegmentName};
use archive::time::{self, Time};
use archive::{Lsn, Problem};
use archive_query::catalog::{Base, Catalog, Chain, Segment};
use serde::Serialize;

use crate::info::summary::Moment;

/// Of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// In words.
    pub text: String,
    /// The moments that are lost.
    pub lost: Option<Range>,
    /// Where they are restored from instead.
    pub from_base: Option<String>,
}

/// From the first on, up to but without the second; `None`: up to the chain's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Range {
    pub from: Moment,
    pub until: Option<Moment>,
}

/// A damaged archive.
pub struct Costs<'a> {
    catalog: &'a Catalog,
    /// Segments and bases that have a problem.
    segments: BTreeSet<(u32, SegmentName)>,
    bases: BTreeSet<(u32, BaseName)>,
}

/// What a file is.
enum What {
    Segment(SegmentName),
    Base(BaseName),
    Globals(GlobalsName),
    Description,
    Manifest,
    /// Nothing that a restore reads.
    Other,
}

fn what(file: &str) -> Option<(u32, What)> {
    let mut parts = file.split('/');
    let chain = parse_chain_name(parts.next()?)?;
    let what = match (parts.next()?, parts.next()) {
        (INCREMENTAL, Some(name)) => SegmentName::parse(name).map(|(name, _)| What::Segment(name)),
        (BASE, Some(name)) => BaseName::parse(name).map(What::Base),
        (GLOBALS, Some(name)) => GlobalsName::parse(name).map(What::Globals),
        (CHAIN_JSON, None) => Some(What::Description),
        (MANIFEST, None) => Some(What::Manifest),
        _ => None,
    };
    Some((chain, what.unwrap_or(What::Other)))
}

impl<'a> Costs<'a> {
    /// Of these problems together.
    pub fn new(catalog: &'a Catalog, problems: &[Problem]) -> Costs<'a> {
        let mut costs = Costs {
            catalog,
            segments: BTreeSet::new(),
            bases: BTreeSet::new(),
        };
        for problem in problems
            .iter()
            .filter(|problem| !problem.is_about_predecessor)
        {
            match what(&problem.file) {
                Some((chain, What::Segment(name))) => drop(costs.segments.insert((chain, name))),
                Some((chain, What::Base(name))) => drop(costs.bases.insert((chain, name))),
                _ => {}
            }
        }
        costs
    }

    /// Of a segment that is sound, unlike what precedes it.
    pub fn of_predecessor(&self, file: &str) -> Cost {
        let none = || Cost::none("no moment of its own: what precedes it is missing or damaged");
        let Some((number, What::Segment(name))) = what(file) else {
            return none();
        };
        let chain = self.catalog.chain(number);
        let before = chain.and_then(|chain| {
            chain
                .segments
                .iter()
                .rev()
                .find(|segment| segment.name < name)
        });
        match (chain, before) {
            // Only this one tells that it was exchanged.
            (Some(chain), Some(before)) if !self.segments.contains(&(number, before.name)) => {
                self.of_segment(chain, before.name)
            }
            _ => none(),
        }
    }

    /// Of one file.
    pub fn of(&self, file: &str) -> Cost {
        let Some((number, what)) = what(file) else {
            return Cost::none("no moment: restores by this program do not read it");
        };
        let Some(chain) = self.catalog.chain(number) else {
            return Cost::none(&format!(
                "every moment of chain {number}, which cannot be read without it"
            ));
        };
        match what {
            What::Segment(name) => self.of_segment(chain, name),
            What::Base(name) => self.of_base(chain, name),
            What::Globals(name) => self.of_globals(chain, name),
            What::Description => match chain.info.ended.as_ref() {
                Some(ended) => Cost::none(&format!("no moment that the files still hold; the chain says that it went on to {}", ended.last_lsn)),
                None => Cost::none("no moment"),
            },
            What::Manifest => Cost::none("no moment, as long as the files themselves are sound; they no longer have checksums to prove it"),
            What::Other => Cost::none("no moment"),
        }
    }

    fn of_segment(&self, chain: &Chain, name: SegmentName) -> Cost {
        let from = Moment {
            at: Some(name.opened_at),
            lsn: name.start_lsn,
        };
        let next = chain.segments.iter().find(|segment| segment.name > name);
        let until = next.and_then(|next| self.first_base(chain, |base| starts_after(base, next)));
        if !chain
            .bases
            .iter()
            .any(|base| self.is_sound(chain, base) && base.metadata.lsn <= name.start_lsn)
        {
            return Cost::none("no moment: no base leads to it");
        }
        Cost::lost(from, until)
    }

    fn of_base(&self, chain: &Chain, name: BaseName) -> Cost {
        let from = Moment {
            at: Some(name.taken_at),
            lsn: name.lsn,
        };
        let until = self.first_base(chain, |base| base.name > name);
        let older = chain
            .bases
            .iter()
            .rev()
            .find(|base| base.name < name && self.is_sound(chain, base));
        if let Some(older) =
            older.filter(|older| self.is_joined(chain, older.metadata.lsn, name.lsn))
        {
            let up_to = until.map_or("the end".to_owned(), |until| shown(&at(until)));
            return Cost {
                text: format!(
                    "no moment, but time: those from {} to {up_to} are restored from the older base {}",
                    shown(&from), older.name
                ),
                lost: None,
                from_base: Some(older.name.to_string()),
            };
        }
        if chain
            .last_expired
            .as_ref()
            .is_some_and(|expired| name.lsn < expired.end_lsn)
        {
            let text = format!("the single moment {}", shown(&from));
            return Cost {
                lost: Some(Range {
                    from,
                    until: Some(from),
                }),
                ..Cost::none(&text)
            };
        }
        Cost::lost(from, until)
    }

    fn of_globals(&self, chain: &Chain, name: GlobalsName) -> Cost {
        let until = self.first_base(chain, |base| base.metadata.lsn >= name.lsn);
        let from = Moment {
            at: Some(name.changed_at),
            lsn: name.lsn,
        };
        let up_to = until.map_or("the end".to_owned(), |until| shown(&at(until)));
        Cost {
            text: format!(
                "the moments from {} to {up_to}: a restore of one of them lacks changes to roles and to the database itself",
                shown(&from)
            ),
            lost: Some(Range { from, until: until.map(at) }),
            from_base: None,
        }
    }

    fn is_sound(&self, chain: &Chain, base: &Base) -> bool {
        chain.is_listed(base) && !self.bases.contains(&(chain.number, base.name))
    }

    fn first_base<'b>(&self, chain: &'b Chain, is_it: impl Fn(&Base) -> bool) -> Option<&'b Base> {
        let mut bases = chain.bases.iter();
        bases.find(|base| self.is_sound(chain, base) && is_it(base))
    }

    /// Whether sound segments lead from one LSN to another.
    fn is_joined(&self, chain: &Chain, from: Lsn, to: Lsn) -> bool {
        let mut reached = None;
        for segment in &chain.segments {
            let end = segment
                .entry
                .as_ref()
                .map_or(Lsn(u64::MAX), |entry| entry.end_lsn);
            if end <= from && segment.entry.is_some() {
                continue;
            }
            if segment.start_lsn() >= to {
                break;
            }
            let joins = match reached {
                None => segment.start_lsn() <= from,
                Some(reached) => segment.start_lsn() == reached,
            };
            if !joins || self.segments.contains(&(chain.number, segment.name)) {
                return false;
            }
            reached = Some(end);
        }
        from >= to || reached.is_some_and(|reached| reached >= to)
    }
}

/// Whether a restore from a base does not read what is before a segment.
fn starts_after(base: &Base, segment: &Segment) -> bool {
    let next_xid = segment.entry.as_ref().and_then(|entry| entry.next_xid);
    base.metadata.lsn >= segment.start_lsn() && base.metadata.snapshot.xmin >= next_xid.unwrap_or(0)
}

fn at(base: &Base) -> Moment {
    Moment {
        at: Some(base.metadata.taken_at),
        lsn: base.metadata.lsn,
    }
}

fn shown(at: &Moment) -> String {
    let time: Option<Time> = at.at;
    time.map_or_else(
        || at.lsn.to_string(),
        |time| format!("{} ({})", time::iso(time), at.lsn),
    )
}

impl Cost {
    fn none(text: &str) -> Cost {
        Cost {
            text: text.to_owned(),
            lost: None,
            from_base: None,
        }
    }

    fn lost(from: Moment, until: Option<&Base>) -> Cost {
        let up_to = match until {
            Some(base) => format!("up to the base of {}", shown(&at(base))),
            None => "to the end: no later base is there".to_owned(),
        };
        Cost {
            text: format!("every moment from {} {up_to}", shown(&from)),
            lost: Some(Range {
                from,
                until: until.map(at),
            }),
            from_base: None,
        }
    }
}
