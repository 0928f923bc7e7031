//! The timeline of a chain's files, and where it begins.

use super::header::Header;
use super::parse::{Event, Scanner};
use super::source;
use crate::error::{Error, Result};
use crate::layout::{ChainDir, SegmentName, Stored};
use crate::lsn::Lsn;
use crate::manifest::{self, Entry};

impl ChainDir {
    /// The timeline on which the newest segment was started; the chain's first if there is none.
    pub fn last_timeline(&self) -> Result<u32> {
        for (name, stored) in self.segments()?.into_iter().rev() {
            if let Some(header) = self.header_of(name, stored)? {
                return Ok(header.timeline);
            }
        }
        Ok(self.info.timeline)
    }

    /// Where the server that began [`Self::last_timeline`] in the files had left the timeline before; `None` if the chain
    /// begins on it, or the segment that says so is gone. Reads the headers of some segments, a logarithm of their number.
    pub fn last_switched_at(&self) -> Result<Option<Lsn>> {
        let last = self.last_timeline()?;
        let segments = self.segments()?;
        let (mut first, mut end) = (0, segments.len());
        while first < end {
            let middle = first + (end - first) / 2;
            let (name, stored) = segments[middle];
            match self.header_of(name, stored)? {
                Some(header) if header.timeline < last => first = middle + 1,
                _ => end = middle,
            }
        }
        let Some((name, stored)) = segments.get(first) else {
            return Ok(None);
        };
        let header = self.header_of(*name, *stored)?;
        let header = header.filter(|header| header.timeline == last);
        Ok(header.and_then(|header| header.switched_at))
    }

    /// The last commit in the closed segments, if it is in one that ends behind `confirmed`: reads that segment.
    pub(super) fn last_closed_commit(&self, confirmed: Lsn) -> Result<Option<Lsn>> {
        let entries = manifest::read(self)?.entries;
        let segments = self.segments()?.into_iter().rev();
        for (name, stored) in segments.filter(|(_, stored)| *stored != Stored::Partial) {
            let file = Entry::segment_file(name);
            match entries.iter().rfind(|entry| entry.file == file) {
                Some(entry) if entry.end_lsn <= confirmed => break,
                Some(entry) if entry.transactions == 0 => {}
                _ => return Ok(self.summarize(name, stored)?.tally.last_commit_lsn),
            }
        }
        Ok(None)
    }

    fn header_of(&self, name: SegmentName, stored: Stored) -> Result<Option<Header>> {
        let path = self.segment_path(name, stored);
        let mut scanner = Scanner::new(source::open(&path, stored)?);
        match scanner.next_event().map_err(Error::io("read", &path))? {
            Some(Event::Header(header)) => Ok(Some(*header)),
            _ => Ok(None),
        }
    }
}
