//! Segments of an earlier format.

use std::io::{BufRead, BufReader, Read};

use super::grammar::{first_line, format_of, FORMAT};
use super::source;
use crate::error::{Error, Result};
use crate::layout::{BaseName, ChainDir, SegmentName, Stored};

/// True if a restore from this base starts in a segment of an earlier format: from a new base it would only
/// need the current one.
pub fn holds(chain: &ChainDir, base: BaseName) -> Result<bool> {
    let segments = chain.segments()?;
    let holds_it = |(name, _): &&(SegmentName, Stored)| name.start_lsn <= base.lsn;
    // If retention has removed that one, the first of the remaining ones.
    let found = segments.iter().rev().find(holds_it).or(segments.first());
    let Some((name, stored)) = found else {
        return Ok(false);
    };
    let path = chain.segment_path(*name, *stored);
    let mut line = Vec::new();
    let longest = first_line(FORMAT).len() as u64 + 1;
    BufReader::new(source::open(&path, *stored)?.take(longest))
        .read_until(b'\n', &mut line)
        .map_err(Error::io("read", &path))?;
    let format = format_of(line.strip_suffix(b"\n").unwrap_or(&line));
    Ok(format.is_some_and(|format| format != FORMAT))
}
