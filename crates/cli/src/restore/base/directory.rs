//! A dump in directory format: `dump/toc.dat`, and a file for the rows of each table and for each large object.
//!
//! It is read without pg_restore, in the order in which that restores it.

use std::collections::HashSet;
use std::io::{self, BufReader, Read};

use archive::dump::{Entry, Listed, Toc, DUMP_LIST};
use archive::storage;
use flate2::bufread::MultiGzDecoder;
use futures_util::future::try_join_all;

use super::ahead::Ahead;
use super::beside::{is_beside, Job, Work};
use super::counted::Counted;
use super::entry::Entries;
use super::first_row::FirstRow;
use super::pieces::Row;
use super::rows::{self, CopyStatement};
use super::words::Wording;
use super::{large_objects, Loading};
use crate::error::Result;

/// What is behind the rows in a file.
const LONGEST_END: u64 = 64;
/// A list of large objects has a line of up to 40 bytes for each.
const LONGEST_LIST: u64 = 4 << 30;

/// In which pass pg_restore restores an entry (_tocEntryRestorePass): privileges when all is there, and then what could
/// be disturbed by their absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pass {
    Main,
    Privileges,
    Last,
}

/// Loads it.
pub async fn load<'a>(
    loading: &Loading<'a>,
    entries: &mut Entries<'a>,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let toc = toc(loading)?;
    let files = files(loading)?;
    let mut directory = Directory {
        loading,
        files: &files,
        read: loading.storage.size(&toc_file(loading))?.unwrap_or(0),
    };
    let mut wording = Wording::default();
    let mut row = Row::default();
    let mut is_beside = entries.loads_beside(loading);
    let order = order(&toc, kept(loading)?.as_ref());
    for (at, entry) in order.iter().enumerate() {
        let listed = listed(entry);
        if !loading.takes(&listed) {
            continue;
        }
        let before = (is_beside && entry.has_data).then(|| wording.clone());
        let text = wording.of(&toc, entry);
        let text = text.map_err(|why| entries.misfit(Some(&listed), why))?;
        if !entry.has_data {
            let at = (&listed, 0);
            entries.definition(loading, &mut row, at, &text).await?;
            progress(directory.read);
            continue;
        }
        entries.end_row(loading, &mut row).await?;
        if let Some(before) = before {
            is_beside = false;
            entries.before(&listed).await?;
            let rest = &order[at..];
            let first_row = FirstRow::of(loading, entries, (&toc, rest), before).await?;
            directory
                .rows_beside(entries, rest, &first_row, progress)
                .await?;
        }
        let is_empty = text.trim_ascii().is_empty();
        if entries.is_loaded() && !is_empty {
            entries.sql(&listed, 0, &text).await?;
        }
        if entries.passes(&listed, &text).await? {
            continue;
        }
        entries.before(&listed).await?;
        if !is_empty {
            entries.sql(&listed, 0, &text).await?;
        }
        directory.rows(entries, entry, &listed, progress).await?;
        progress(directory.read);
    }
    entries.end_row(loading, &mut row).await
}

fn toc_file(loading: &Loading<'_>) -> String {
    loading.file(&format!("{}/toc.dat", loading.base.metadata.dump))
}

pub(super) fn toc(loading: &Loading<'_>) -> Result<Toc> {
    let file = toc_file(loading);
    let Some(input) = loading.storage.open(&file, 0)? else {
        return Err(loading.missing(&file));
    };
    Toc::read(BufReader::new(input)).map_err(loading.unreadable(&file))
}

/// The ids that `dump.list` keeps; `None` if it does not exist, which keeps all.
pub(super) fn kept(loading: &Loading<'_>) -> Result<Option<HashSet<i32>>> {
    let file = loading.file(DUMP_LIST);
    let Some(text) = storage::read(&*loading.storage, &file)? else {
        return Ok(None);
    };
    let mut ids = HashSet::new();
    for line in text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let number = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let id = std::str::from_utf8(number)
            .ok()
            .and_then(|number| number.parse().ok());
        let odd = || super::odd("a line does not begin with a number");
        ids.insert(id.ok_or_else(odd).map_err(loading.unreadable(&file))?);
    }
    Ok(Some(ids))
}

/// What of the dump is restored, in this order.
pub(super) fn order<'t>(toc: &'t Toc, kept: Option<&HashSet<i32>>) -> Vec<&'t Entry> {
    let is_kept =
        |entry: &&Entry| entry.is_printed() && kept.is_none_or(|ids| ids.contains(&entry.dump_id));
    let mut entries: Vec<&Entry> = toc.entries.iter().filter(is_kept).collect();
    // The order within a pass is that of the dump.
    entries.sort_by_key(|entry| pass(entry));
    entries
}

fn pass(entry: &Entry) -> Pass {
    match entry.kind.as_slice() {
        b"ACL" | b"DEFAULT ACL" => Pass::Privileges,
        b"EVENT TRIGGER" | b"MATERIALIZED VIEW DATA" => Pass::Last,
        b"COMMENT" | b"SECURITY LABEL" if entry.tag.starts_with(b"EVENT TRIGGER ") => Pass::Last,
        _ => Pass::Main,
    }
}

/// As a table of contents in text would have it.
pub fn listed(entry: &Entry) -> Listed {
    Listed {
        dump_id: entry.dump_id,
        table_oid: entry.table_oid,
        oid: entry.oid,
        is_data: entry.has_data,
        kind: entry.kind.clone(),
        schema: entry.namespace.clone().filter(|name| !name.is_empty()),
        name: entry.tag.clone(),
        ..Listed::default()
    }
}

/// The names of the files in it.
fn files(loading: &Loading<'_>) -> Result<HashSet<String>> {
    let directory = loading.file(&loading.base.metadata.dump);
    let items = loading.storage.list(&directory)?.into_iter();
    Ok(items.map(|item| item.name).collect())
}

struct Directory<'a, 'b> {
    loading: &'a Loading<'b>,
    files: &'a HashSet<String>,
    /// Bytes, as stored.
    read: u64,
}

/// The name of the file that an entry's rows are in.
fn file_of<'e>(entries: &Entries<'_>, entry: &'e Entry, listed: &Listed) -> Result<&'e str> {
    let name = entry.file.as_deref();
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    name.ok_or_else(|| entries.misfit(Some(listed), "it has no file"))
}

impl<'b> Directory<'_, 'b> {
    /// Loads all rows of these entries by the sessions beside that of the restore.
    async fn rows_beside(
        &mut self,
        entries: &mut Entries<'b>,
        order: &[&Entry],
        first_row: &FirstRow,
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        entries.open_to_others().await?;
        let loading = self.loading;
        let mut jobs = Vec::new();
        for (number, (at, entry)) in (entries.next..).zip(order.iter().enumerate()) {
            let is_done = number < entries.done || entries.loaded.contains(&number);
            if is_beside(&listed(entry)) && !is_done {
                let name = file_of(entries, entry, &listed(entry))?;
                let size = loading.storage.size(&self.file(name).1)?.unwrap_or(0);
                jobs.push(Job { number, at, size });
            }
        }
        jobs.sort_by_key(|job| std::cmp::Reverse(job.size));
        let begun = self.read;
        let mut tell = |bytes| progress(begun + bytes);
        let missing = jobs.iter().map(|job| job.number).collect();
        let work = Work::new(jobs, loading.sessions.len(), &mut tell);
        let (this, files) = (&*entries, self.files);
        let pieces = first_row.work(this, missing);
        let sessions = loading.sessions.iter().enumerate();
        let all = try_join_all(sessions.map(|(nth, session)| {
            let (work, pieces) = (&work, &pieces);
            async move {
                let number = i32::try_from(nth + 1).unwrap_or(i32::MAX);
                let mut own = this.beside(session, number).await?;
                let mut directory = Directory {
                    loading,
                    files,
                    read: 0,
                };
                while let Some(job) = work.next() {
                    let entry = order[job.at];
                    own.next = job.number;
                    let mut tell = |bytes| work.tell(nth, bytes);
                    directory
                        .rows(&mut own, entry, &listed(entry), &mut tell)
                        .await?;
                    work.is_done(&job);
                    pieces.has_rows(job.number);
                }
                pieces.by(this, &mut own).await?;
                own.leave().await?;
                Ok::<u64, crate::error::Error>(directory.read)
            }
        }))
        .await?;
        entries.loaded.extend(work.into_done());
        entries.loaded.extend(pieces.into_made());
        self.read += all.iter().sum::<u64>();
        Ok(())
    }

    /// An entry of rows, and its commit.
    async fn rows(
        &mut self,
        entries: &mut Entries<'_>,
        entry: &Entry,
        listed: &Listed,
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        if entries.lacks_table(listed).await? {
            self.leave_out(entries, entry, listed).await?;
        } else {
            self.data(entries, entry, listed, progress).await?;
        }
        entries.commit().await
    }

    /// Rows, or large objects.
    async fn data(
        &mut self,
        entries: &mut Entries<'_>,
        entry: &Entry,
        listed: &Listed,
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let name = file_of(entries, entry, listed)?;
        if entry.kind == b"BLOBS" {
            return self.large_objects(entries, listed, name, progress).await;
        }
        let statement = CopyStatement::parse(&entry.copy_statement);
        let statement = statement.filter(|(_, length)| *length == entry.copy_statement.len());
        let Some((statement, _)) = statement else {
            return Err(entries.misfit(Some(listed), "it has no COPY statement"));
        };
        let (mut input, file, count) = self.open(name)?;
        let unreadable = self.loading.unreadable(&file);
        let copied = statement
            .copy(
                entries.session(),
                entries.is_utf8(),
                &mut input,
                &unreadable,
                &mut || progress(self.read + count.get()),
            )
            .await;
        let rows = copied.map_err(|error| entries.at(listed, 0, b"", error))?;
        entries.count(statement.table(), rows).await?;
        let end = input.take_rest(LONGEST_END).await.map_err(&unreadable)?;
        if !end.iter().all(|byte| *byte == b'\n') {
            return Err(entries.misfit(Some(listed), "there is more behind its rows"));
        }
        self.read += count.get();
        Ok(())
    }

    /// Rows whose table is not there are counted. (A rehearsal reads none.)
    async fn leave_out(
        &mut self,
        entries: &Entries<'_>,
        entry: &Entry,
        listed: &Listed,
    ) -> Result<()> {
        if entries.is_rehearsal {
            return Ok(());
        }
        let name = file_of(entries, entry, listed)?;
        let (mut input, file, count) = self.open(name)?;
        let rows = rows::skip(&mut input).await;
        entries.leave_out_rows(rows.map_err(self.loading.unreadable(&file))?);
        self.read += count.get();
        Ok(())
    }

    /// `name` lists them: OID and file.
    async fn large_objects(
        &mut self,
        entries: &mut Entries<'_>,
        listed: &Listed,
        name: &str,
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let (mut input, file, count) = self.open(name)?;
        let list = input
            .take_rest(LONGEST_LIST)
            .await
            .map_err(self.loading.unreadable(&file))?;
        self.read += count.get();
        for line in list
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let line = std::str::from_utf8(line).ok();
            let parts = line.and_then(|line| line.split_once(' '));
            let parts = parts.and_then(|(oid, name)| Some((oid.parse::<u32>().ok()?, name)));
            let Some((oid, name)) = parts else {
                return Err(entries.misfit(Some(listed), "its list of files could not be parsed"));
            };
            let (mut input, file, count) = self.open(name)?;
            let unreadable = self.loading.unreadable(&file);
            let written =
                large_objects::write(entries.session(), oid, &mut input, unreadable).await;
            written.map_err(|error| entries.at(listed, 0, b"", error))?;
            self.read += count.get();
            progress(self.read);
        }
        Ok(())
    }

    /// The form in which pg_dump has written a file, and its path.
    fn file(&self, name: &str) -> (&'static str, String) {
        let forms = ["", ".gz", ".lz4", ".zst"];
        let form = forms
            .into_iter()
            .find(|form| self.files.contains(&format!("{name}{form}")));
        let form = form.filter(|_| !name.contains('/')).unwrap_or_default();
        let dump = &self.loading.base.metadata.dump;
        (form, self.loading.file(&format!("{dump}/{name}{form}")))
    }

    /// A file in any form in which pg_dump writes it.
    fn open(&self, name: &str) -> Result<(Ahead, String, super::counted::Count)> {
        let (form, file) = self.file(name);
        let Some(opened) = self.loading.storage.open(&file, 0)? else {
            return Err(self.loading.missing(&file));
        };
        let (counted, count) = Counted::new(opened);
        let input = decoded(form, counted).map_err(self.loading.unreadable(&file))?;
        Ok((Ahead::start(input), file, count))
    }
}

/// The uncompressed bytes of a file whose name ends in `form`.
fn decoded(form: &str, input: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    Ok(match form {
        ".gz" => Box::new(MultiGzDecoder::new(BufReader::new(input))),
        ".lz4" => Box::new(lz4_flex::frame::FrameDecoder::new(BufReader::new(input))),
        ".zst" => Box::new(zstd::Decoder::new(input)?),
        _ => Box::new(input),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;

    #[test]
    fn rows_are_read_in_every_form_and_never_cut_short() {
        let rows: Vec<u8> = (0..50_000)
            .flat_map(|n| format!("{n}\tx\n").into_bytes())
            .collect();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&rows).unwrap();
        // As LZ4F_compressUpdate writes them by default.
        let mut info = lz4_flex::frame::FrameInfo::new();
        info.block_mode = lz4_flex::frame::BlockMode::Linked;
        let mut lz4 = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        lz4.write_all(&rows).unwrap();
        for (form, stored) in [
            ("", rows.clone()),
            (".gz", gz.finish().unwrap()),
            (".lz4", lz4.finish().unwrap()),
            (".zst", zstd::encode_all(&rows[..], 1).unwrap()),
        ] {
            let read = |stored: Vec<u8>| {
                let mut all = Vec::new();
                let mut input = decoded(form, Cursor::new(stored))?;
                input.read_to_end(&mut all).map(|_| all)
            };
            let half = stored[..stored.len() / 2].to_vec();
            assert!(read(stored).unwrap() == rows, "{form}");
            // The end of rows is missing, then, or an error.
            assert!(
                read(half).map_or(true, |half| half.len() < rows.len()),
                "{form}"
            );
        }
    }

    #[test]
    fn privileges_come_when_all_is_there_and_event_triggers_last() {
        let entry = |dump_id, kind: &str, name: &str| Entry {
            dump_id,
            kind: kind.into(),
            tag: name.into(),
            definition: b"x".to_vec(),
            ..Entry::default()
        };
        let toc = Toc {
            entries: vec![
                entry(1, "ACL", "TABLE t"),
                entry(2, "EVENT TRIGGER", "e"),
                entry(3, "COMMENT", "EVENT TRIGGER e"),
                entry(4, "TABLE", "t"),
                entry(5, "COMMENT", "TABLE t"),
                entry(6, "MATERIALIZED VIEW DATA", "m"),
                entry(7, "DEFAULT ACL", "d"),
                entry(8, "ENCODING", "ENCODING"),
                entry(9, "INDEX", "i"),
            ],
        };
        let ids = |kept: Option<HashSet<i32>>| -> Vec<i32> {
            order(&toc, kept.as_ref())
                .iter()
                .map(|entry| entry.dump_id)
                .collect()
        };
        assert_eq!(ids(None), [4, 5, 9, 1, 7, 2, 3, 6]);
        assert_eq!(ids(Some([1, 9, 2, 8].into())), [9, 1, 2]);
    }
}
