//! The segments of a chain, in replay order: each as it was written, and each following the one before.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use super::chain::ChainCheck;
use crate::checksum::{self, Checksum, Hashing};
use crate::error::Result;
use crate::layout::chain::{once_each, stored_segments};
use crate::layout::names::{CHAIN_JSON, INCREMENTAL};
use crate::layout::{SegmentName, Stored};
use crate::lsn::Lsn;
use crate::manifest::{Entry, Kind};
use crate::pause::Pausing;
use crate::segment::{manifest_line, source, Header, Previous, Summary};
use crate::storage;

/// The required predecessor of a segment.
struct Before {
    end_lsn: Lsn,
    previous: Option<Previous>,
    highest_xid: u64,
    /// False after a segment that could not be read.
    is_known: bool,
    /// None is there: that the next one is the first is what the archive says, and a copy may have been pruned.
    is_begin: bool,
}

impl Before {
    /// After an expired segment.
    fn after(entry: &Entry) -> Before {
        Before {
            end_lsn: entry.end_lsn,
            previous: Some(Previous::of(entry)),
            highest_xid: 0,
            is_known: true,
            is_begin: false,
        }
    }
}

/// A segment that was read to its end.
struct Read {
    stored: Stored,
    summary: Summary,
    /// Of the text.
    content: Checksum,
    /// As stored.
    file_sum: Checksum,
}

/// A reader whose progress remains known while a decoder has it.
struct Shared<R>(Rc<RefCell<R>>);

impl<R: io::Read> io::Read for Shared<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

impl ChainCheck<'_> {
    pub(super) fn segments(&mut self) -> Result<()> {
        let mut before = self.before_the_first();
        let names = self.names_in(INCREMENTAL)?;
        for (name, stored) in once_each(stored_segments(names.iter().map(String::as_str))) {
            if self.expired.contains(&Entry::segment_file(name)) {
                continue;
            }
            before = self.segment(name, stored, before);
        }
        let ended = self.info.ended.clone();
        if let Some(end) = ended.filter(|end| end.last_lsn > before.end_lsn) {
            let (has, said) = (before.end_lsn, end.last_lsn);
            let why = format!("the chain ended at {said}, its files at {has}");
            // The first file that a copy gets of a chain.
            let is_new = self.may_be_copy && !self.has_manifest();
            self.found_in_copy(CHAIN_JSON, &why, is_new);
        }
        Ok(())
    }

    /// The slot's start, or the last expired segment.
    fn before_the_first(&self) -> Before {
        match &self.last_expired {
            Some(entry) => Before {
                is_begin: true,
                ..Before::after(entry)
            },
            None => Before {
                end_lsn: self.info.slot_start_lsn,
                previous: None,
                highest_xid: 0,
                is_known: true,
                is_begin: true,
            },
        }
    }

    fn segment(&mut self, name: SegmentName, stored: Stored, before: Before) -> Before {
        let file = format!("{INCREMENTAL}/{}", name.file(stored));
        let Read {
            stored,
            summary,
            content,
            file_sum,
        } = match self.read(name, stored) {
            Ok(Some(read)) => read,
            // It was closed since the directory was read.
            Ok(None) if stored == Stored::Partial => return before,
            failed => {
                let line = Entry::segment_file(name);
                let missing = failed.is_ok();
                if missing && self.has_expired(&line) {
                    let expired = self.newest_line(&line);
                    let expired = expired.filter(|entry| entry.set_apart_at.is_none());
                    return expired.map_or(before, |entry| Before::after(&entry));
                }
                let why = failed.err();
                self.found(&file, why.unwrap_or("is missing".to_owned()));
                // The next one is not damaged for following it.
                let unknown = Before {
                    end_lsn: Lsn(0),
                    previous: None,
                    highest_xid: 0,
                    is_known: false,
                    is_begin: false,
                };
                let listed = self.listed.remove(&line);
                return listed.map_or(unknown, |entry| Before::after(&entry));
            }
        };
        let is_open = stored == Stored::Partial;
        if let Some((at, why)) = summary
            .torn
            .as_ref()
            .filter(|_| !(is_open && summary.is_cut))
        {
            self.found(&file, format!("damaged at byte {at}: {why}"));
        }
        if let Some(why) = &summary.contradiction {
            self.found(&file, why.clone());
        }
        if !is_open && summary.torn.is_none() && summary.footer.is_none() {
            self.found(&file, "closed without a footer");
        }
        if let Some(header) = &summary.header {
            self.header(&file, name, header, &before);
        }
        if !is_open {
            self.manifest_line(&file, (name, stored), &summary, (&content, &file_sum));
        }
        let previous = Previous {
            file: name.file(Stored::Plain),
            sha256: content.sha256,
        };
        Before {
            end_lsn: summary.tally.end_lsn,
            previous: Some(previous),
            highest_xid: before.highest_xid.max(summary.tally.highest_xid),
            is_known: true,
            is_begin: false,
        }
    }

    /// Reads a segment to its end, in this form or, if it was compressed meanwhile, in another; `None` if there is none.
    fn read(
        &mut self,
        name: SegmentName,
        stored: Stored,
    ) -> std::result::Result<Option<Read>, String> {
        let compressed = Stored::COMPRESSED.into_iter();
        let others = compressed.filter(|_| stored == Stored::Plain);
        for stored in [stored].into_iter().chain(others) {
            let file = self.path(&format!("{INCREMENTAL}/{}", name.file(stored)));
            let opened = self
                .storage
                .open(&file, 0)
                .map_err(|error| error.to_string())?;
            let Some(input) = opened else {
                continue;
            };
            let failed = |error| storage::failed("read", self.storage, &file)(error).to_string();
            // Hashed on both sides of the decompression, so that it is read once.
            let raw = Rc::new(RefCell::new(Hashing::new(Pausing::new(input, self.pause))));
            let text = source::decode(Shared(Rc::clone(&raw)), stored).map_err(failed)?;
            let mut hashing = Hashing::new(text);
            let summary = Summary::of(&mut hashing).map_err(failed)?;
            // A torn segment is read to its end nevertheless: the checksum is of the whole.
            io::copy(&mut hashing, &mut io::sink()).map_err(failed)?;
            let content = hashing.finish();
            io::copy(&mut Shared(Rc::clone(&raw)), &mut io::sink()).map_err(failed)?;
            let raw = Rc::into_inner(raw).expect("the decoder has ended");
            return Ok(Some(Read {
                stored,
                summary,
                content,
                file_sum: raw.into_inner().finish(),
            }));
        }
        Ok(None)
    }

    fn header(&mut self, file: &str, name: SegmentName, header: &Header, before: &Before) {
        let info = &self.info;
        let ours = (info.system_identifier, info.database_oid, self.number);
        if (header.system_identifier, header.database_oid, header.chain) != ours {
            self.found(file, "its header names another cluster, database or chain");
        }
        if header.name() != name {
            self.found(file, "its name does not match its header");
        }
        if before.is_known && before.previous.is_none() && header.previous.is_some() {
            let why = "the segments before it are missing, and were not removed by retention";
            self.found_before(file, why, before.is_begin);
        } else if before.is_known {
            if header.start_lsn != before.end_lsn {
                let (start, end) = (header.start_lsn, before.end_lsn);
                let why = format!("it starts at {start}, the segment before ends at {end}");
                self.found_before(file, why, before.is_begin);
            }
            if header.previous != before.previous {
                let why = "its predecessor is not the segment that its header names";
                self.found_before(file, why, before.is_begin);
            }
        }
        if header.next_xid <= before.highest_xid {
            let why = "its next_xid is not above the xids of the segments before";
            self.found(file, why);
        }
    }

    fn manifest_line(
        &mut self,
        file: &str,
        (name, stored): (SegmentName, Stored),
        summary: &Summary,
        (content, file_sum): (&Checksum, &Checksum),
    ) {
        let Some(mut listed) = self.take_listed(&Entry::segment_file(name)) else {
            self.found_unlisted(file, Kind::Incremental);
            return;
        };
        if listed.sha256 != content.sha256 {
            self.found(file, "its checksum does not match the manifest");
        }
        match self.line_as_stored(name, listed, stored, file_sum) {
            Ok((is_it, line)) => {
                if !is_it {
                    let why = "its size or checksum as stored does not match the manifest";
                    self.found(file, why);
                }
                listed = line;
            }
            Err(error) => {
                self.found(file, error.to_string());
                return;
            }
        }
        let Some(header) = &summary.header else {
            return;
        };
        let as_listed = Checksum {
            bytes: listed.file_bytes,
            sha256: listed.file_sha256.clone(),
        };
        let expected = manifest_line::line(header, &summary.tally, content, &as_listed);
        if listed != expected && listed.sha256 == expected.sha256 {
            self.found(file, "the manifest does not match the contents of the file");
        }
    }

    /// Whether one of the segment's forms is the one in its line, and this line: a newer one if it was compressed since the
    /// manifest was read.
    fn line_as_stored(
        &mut self,
        name: SegmentName,
        listed: Entry,
        stored: Stored,
        file_sum: &Checksum,
    ) -> Result<(bool, Entry)> {
        if self.is_stored_as(name, &listed, stored, file_sum)? {
            return Ok((true, listed));
        }
        match self.newest_line(&listed.file) {
            Some(newer) if newer != listed => {
                let is_it = self.is_stored_as(name, &newer, stored, file_sum)?;
                Ok((is_it, newer))
            }
            _ => Ok((false, listed)),
        }
    }

    /// A crash during compression leaves two forms, and either may be the one in the line.
    fn is_stored_as(
        &mut self,
        name: SegmentName,
        listed: &Entry,
        stored: Stored,
        file_sum: &Checksum,
    ) -> Result<bool> {
        let is_it =
            |sum: &Checksum| (listed.file_bytes, &listed.file_sha256) == (sum.bytes, &sum.sha256);
        if is_it(file_sum) {
            return Ok(true);
        }
        for other in Stored::COMPRESSED
            .into_iter()
            .filter(|other| *other != stored)
        {
            let file = self.path(&format!("{INCREMENTAL}/{}", name.file(other)));
            let Some(input) = self.storage.open(&file, 0)? else {
                continue;
            };
            let sum = checksum::of_reader(Pausing::new(input, self.pause));
            if is_it(&sum.map_err(storage::failed("read", self.storage, &file))?) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
