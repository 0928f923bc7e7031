//! The position in the stream that corresponds to a snapshot.
//!
//! A transaction's commit record is in the WAL some time before others see its rows: until it is flushed, and
//! longer if it waits for a standby. So transactions do not become visible in the order of their commit LSNs,
//! and a snapshot may not correspond to any LSN. If it does, that LSN is found here; otherwise, another
//! snapshot is taken.

use std::io::ErrorKind;

use crate::error::{Error, Result};
use crate::layout::{ChainDir, SegmentName, Stored};
use crate::lsn::Lsn;
use crate::segment::{source, Event, Scanner};
use crate::snapshot::Snapshot;

/// How often the segments are listed again because one was closed or compressed in the meantime.
const ATTEMPTS: u32 = 5;

/// An LSN up to which exactly the transactions have committed that are visible to `snapshot`; `None` if there
/// is none. `taken_before` is an LSN read after the snapshot; the stream must reach it.
pub fn of_snapshot(
    chain: &ChainDir,
    snapshot: &Snapshot,
    taken_before: Lsn,
) -> Result<Option<Lsn>> {
    let mut attempt = 1;
    loop {
        match look(chain, snapshot, taken_before) {
            Err(error)
                if error.io_error().map(std::io::Error::kind) == Some(ErrorKind::NotFound)
                    && attempt < ATTEMPTS =>
            {
                attempt += 1;
            }
            looked => return looked,
        }
    }
}

fn look(chain: &ChainDir, snapshot: &Snapshot, taken_before: Lsn) -> Result<Option<Lsn>> {
    let (mut last_seen, mut first_unseen) = (Lsn(0), None::<Lsn>);
    for (name, stored) in from_the_one_before(chain, snapshot.xmin)? {
        if name.start_lsn > taken_before {
            break;
        }
        for_each_commit(chain, name, stored, |xid, commit_lsn| {
            if commit_lsn > taken_before {
                return;
            }
            if snapshot.sees(xid) {
                last_seen = last_seen.max(commit_lsn);
            } else {
                first_unseen = Some(first_unseen.map_or(commit_lsn, |lsn| lsn.min(commit_lsn)));
            }
        })?;
    }
    Ok(match first_unseen {
        None => Some(taken_before),
        Some(unseen) if unseen > last_seen => Some(Lsn(unseen.0 - 1)),
        Some(_) => None,
    })
}

/// The segments from the last one on that was opened before any transaction from `xmin` on was written: they
/// contain everything that may be invisible to a snapshot with that xmin.
fn from_the_one_before(chain: &ChainDir, xmin: u64) -> Result<Vec<(SegmentName, Stored)>> {
    let segments = chain.segments()?;
    for (place, (name, stored)) in segments.iter().enumerate().rev() {
        let path = chain.segment_path(*name, *stored);
        let mut scanner = Scanner::new(source::open(&path, *stored)?);
        let event = scanner.next_event().map_err(Error::io("read", &path))?;
        if matches!(event, Some(Event::Header(header)) if header.next_xid <= xmin) {
            return Ok(segments[place..].to_vec());
        }
    }
    Ok(segments)
}

fn for_each_commit(
    chain: &ChainDir,
    name: SegmentName,
    stored: Stored,
    mut take: impl FnMut(u64, Lsn),
) -> Result<()> {
    let path = chain.segment_path(name, stored);
    let mut scanner = Scanner::new(source::open(&path, stored)?);
    while let Some(event) = scanner.next_event().map_err(Error::io("read", &path))? {
        match event {
            Event::Transaction {
                xid, commit_lsn, ..
            } => take(xid, commit_lsn),
            // The open segment may end in the middle of what is being written.
            Event::Torn { at, why, .. } if stored != Stored::Partial => {
                return Err(Error::damaged(&path, at, why));
            }
            _ => {}
        }
    }
    Ok(())
}
