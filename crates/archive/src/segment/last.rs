//! The timeline of a chain's files.

use super::parse::{Event, Scanner};
use super::source;
use crate::error::{Error, Result};
use crate::layout::ChainDir;

impl ChainDir {
    /// The timeline on which the newest segment was started; the chain's first if there is none.
    pub fn last_timeline(&self) -> Result<u32> {
        for (name, stored) in self.segments()?.into_iter().rev() {
            let path = self.segment_path(name, stored);
            let mut scanner = Scanner::new(source::open(&path, stored)?);
            let first = scanner.next_event().map_err(Error::io("read", &path))?;
            if let Some(Event::Header(header)) = first {
                return Ok(header.timeline);
            }
        }
        Ok(self.info.timeline)
    }
}
