//! A dump in plain format: `dump.sql` or `dump.sql.gz`, and `dump.toc`, which says where each entry is.

mod beside;

use std::io::Read;
use std::path::Path;

use archive::dump::{Listed, DUMP_TOC};
use archive::storage;
use flate2::bufread::MultiGzDecoder;

use super::ahead::Ahead;
use super::counted::{Count, Counted};
use super::entry::Entries;
use super::pieces::Row;
use super::{large_objects, rows, unlisted, Loading};
use crate::error::Result;
use crate::restore::target::statements::split;

/// The end of the last entry.
const COMPLETE: &[u8] = b"--\n-- PostgreSQL database dump complete\n--\n";
const TITLE: &[u8] = b"--\n-- PostgreSQL database dump\n--\n";
/// A definition is a value of the catalogs: at most 1 GB, and as much again for what pg_dump says itself.
const LONGEST_DEFINITION: u64 = 2 << 30;
/// What may be behind the last rows.
const LONGEST_END: u64 = 64 * 1024;
/// Lines of the comment above each entry.
const HEAD_LINES: u64 = 4;

/// Loads it. Nothing but entries is executed: what pg_dump says at the beginning is in the session already.
pub async fn load<'a>(
    loading: &Loading<'a>,
    entries: &mut Entries<'a>,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let (input, count) = open(loading, 0)?;
    let Some(toc) = toc(loading)? else {
        return unlisted::load(loading, entries, input, &count, progress).await;
    };
    let mut open = |offset| Ok(open(loading, offset)?.0);
    let mut reader = Reader {
        input: Ahead::start(input),
        start: 0,
        file: loading.file(&loading.base.metadata.dump),
        loading,
        entries,
        row: Row::default(),
    };
    let first = toc.first().map_or(LONGEST_END, |entry| entry.offset);
    let title = reader.take(first).await?;
    if !title.starts_with(TITLE) || toc.is_empty() && !title.ends_with(b"\n\n") {
        return Err(reader.entries.misfit(None, "it does not begin as a dump"));
    }
    // Those of the first entry stand in front of its comment.
    if let Some(entry) = toc.first().filter(|_| !reader.entries.is_resumed()) {
        for setting in own_settings(&title) {
            reader.entries.sql(entry, 1, setting).await?;
        }
    }
    let mut is_beside = reader.entries.loads_beside(loading);
    for (at, entry) in toc.iter().enumerate() {
        progress(count.get());
        if !loading.takes(entry) {
            reader.pass(entry, toc.get(at + 1), &mut open).await?;
            continue;
        }
        if entry.is_data && std::mem::take(&mut is_beside) {
            reader.end_row().await?;
            reader.entries.before(entry).await?;
            beside::rows(loading, reader.entries, &toc, at, progress).await?;
        }
        if entry.is_data && reader.entries.is_loaded() {
            reader.end_row().await?;
            reader.entries.passes(entry, b"").await?;
            reader.pass(entry, toc.get(at + 1), &mut open).await?;
            reader.entries.has_set = true;
            continue;
        }
        reader
            .entry(entry, toc.get(at + 1), progress, &count)
            .await?;
    }
    reader.end_row().await?;
    progress(count.get());
    Ok(())
}

/// Shows each definition to `visit`.
pub async fn survey(loading: &Loading<'_>, visit: &mut dyn FnMut(&Listed, &[u8])) -> Result<()> {
    let (input, _) = open(loading, 0)?;
    let mut input = Ahead::start(input);
    let file = loading.file(&loading.base.metadata.dump);
    let unreadable = loading.unreadable(&file);
    for entry in toc(loading)?.unwrap_or_default() {
        // Of rows nothing is kept.
        while input.offset() < entry.offset {
            let chunk = (entry.offset - input.offset()).min(1 << 20);
            if input.take(chunk).await.map_err(&unreadable)?.is_empty() {
                return Ok(());
            }
        }
        let mut text = Vec::new();
        while !entry.is_data && memchr::memchr_iter(b'\n', &text).count() < entry.lines as usize {
            match input.line().await.map_err(&unreadable)? {
                Some(line) => text.extend(line),
                None => break,
            }
        }
        visit(&entry, &text);
    }
    Ok(())
}

/// The file from `offset` on, uncompressed, and how much of it was read. A compressed one is only read from its beginning.
fn open(loading: &Loading<'_>, offset: u64) -> Result<(Box<dyn Read + Send>, Count)> {
    let file = loading.file(&loading.base.metadata.dump);
    let Some(opened) = loading.storage.open(&file, offset)? else {
        return Err(loading.missing(&file));
    };
    let (counted, count) = Counted::new(opened);
    let input: Box<dyn Read + Send> = if file.ends_with(".gz") {
        Box::new(MultiGzDecoder::new(std::io::BufReader::new(counted)))
    } else {
        Box::new(counted)
    };
    Ok((input, count))
}

/// `None` for a base of a release before 0.3.0.
fn toc(loading: &Loading<'_>) -> Result<Option<Vec<Listed>>> {
    let file = loading.file(DUMP_TOC);
    let Some(text) = storage::read(&*loading.storage, &file)? else {
        return Ok(None);
    };
    let place = loading.storage.place(&file);
    Ok(Some(Listed::parse_all(&text, Path::new(&place))?))
}

struct Reader<'a, 'b> {
    input: Ahead,
    /// Where the input begins.
    start: u64,
    file: String,
    loading: &'a Loading<'b>,
    entries: &'a mut Entries<'b>,
    /// What is made by several sessions.
    row: Row,
}

/// A longer entry is not read where it can be passed over.
const WORTH_SEEKING: u64 = 1 << 20;

impl Reader<'_, '_> {
    fn offset(&self) -> u64 {
        self.start + self.input.offset()
    }

    /// Passes over an entry that is not wanted, but for what it sets for the next one.
    async fn pass(
        &mut self,
        entry: &Listed,
        next: Option<&Listed>,
        open: &mut dyn FnMut(u64) -> Result<Box<dyn Read + Send>>,
    ) -> Result<()> {
        let Some(next) = next else {
            return Ok(());
        };
        let end = next.offset.saturating_sub(LONGEST_END);
        if end > self.offset() + WORTH_SEEKING && !self.file.ends_with(".gz") {
            self.input = Ahead::start(open(end)?);
            self.start = end;
        }
        while self.offset() < end {
            let left = end - self.offset();
            if self.take(left.min(WORTH_SEEKING)).await?.is_empty() {
                return Err(self.entries.misfit(Some(entry), "the dump is not complete"));
            }
        }
        let text = self.until(Some(next), LONGEST_END).await?;
        for setting in last_settings(entry, &text) {
            self.entries.session().statement(&setting).await?;
        }
        Ok(())
    }

    async fn entry(
        &mut self,
        entry: &Listed,
        next: Option<&Listed>,
        progress: &mut dyn FnMut(u64),
        count: &Count,
    ) -> Result<()> {
        if self.offset() != entry.offset {
            return Err(self.entries.misfit(Some(entry), "it begins elsewhere"));
        }
        if entry.is_data {
            self.end_row().await?;
            if self.entries.passes(entry, b"").await? {
                let unreadable = self.loading.unreadable(&self.file);
                let end = next.map_or(u64::MAX, |next| next.offset);
                return self
                    .input
                    .pass(end, &mut || progress(count.get()))
                    .await
                    .map_err(unreadable);
            }
            self.entries.before(entry).await?;
            self.data(entry, &mut || progress(count.get())).await?;
            let end = self.until(next, LONGEST_END).await?;
            let end = match next {
                Some(_) => &end[..],
                None => self.without_end(entry, &end)?,
            };
            // pg_restore sets the tablespace of the next entry in front of that one's comment.
            let settings = settings(end).ok_or_else(|| {
                let why = "there is more behind its rows";
                self.entries.misfit(Some(entry), why)
            })?;
            for setting in settings {
                self.entries.sql(entry, entry.line, &setting).await?;
            }
            return self.entries.commit().await;
        }
        let text = self.until(next, LONGEST_DEFINITION).await?;
        let text = match next {
            Some(_) => &text[..],
            None => self.without_end(entry, &text)?,
        };
        let lines = memchr::memchr_iter(b'\n', text).count() as u64;
        let Some(body) = without_head(text).filter(|_| lines == entry.lines) else {
            return Err(self.entries.misfit(Some(entry), "it is another text"));
        };
        let at = (entry, entry.line + HEAD_LINES);
        self.entries
            .definition(self.loading, &mut self.row, at, body)
            .await
    }

    /// What several sessions make is made.
    async fn end_row(&mut self) -> Result<()> {
        self.entries.end_row(self.loading, &mut self.row).await
    }

    /// Rows or large objects.
    async fn data(&mut self, entry: &Listed, tick: &mut dyn FnMut()) -> Result<()> {
        let head = self.head(entry).await?;
        let unreadable = self.loading.unreadable(&self.file);
        let session = self.entries.session();
        let line = entry.line + HEAD_LINES;
        if entry.kind == b"BLOBS" && self.entries.is_rehearsal {
            return large_objects::skip(&mut self.input)
                .await
                .map_err(&unreadable);
        }
        if entry.kind == b"BLOBS" {
            let done = large_objects::execute(session, &mut self.input, unreadable).await;
            return done.map_err(|error| self.entries.at(entry, line, head, error));
        }
        let statement = rows::statement_of(&mut self.input)
            .await
            .map_err(&unreadable)?;
        let Some(statement) = statement else {
            return Err(self.entries.misfit(Some(entry), "it has no COPY statement"));
        };
        if self.entries.lacks_table(entry).await? {
            let rows = rows::skip(&mut self.input).await.map_err(&unreadable)?;
            self.entries.leave_out_rows(rows);
            return Ok(());
        }
        let is_utf8 = self.entries.is_utf8();
        let copied = statement
            .copy(session, is_utf8, &mut self.input, unreadable, tick)
            .await;
        let rows = copied.map_err(|error| self.entries.at(entry, line, head, error))?;
        self.entries.count(statement.table(), rows).await
    }

    /// The comment above rows.
    async fn head(&mut self, entry: &Listed) -> Result<&'static [u8]> {
        let mut head = Vec::new();
        while memchr::memchr_iter(b'\n', &head).count() < HEAD_LINES as usize {
            let byte = self.take(1).await?;
            if byte.is_empty() {
                break;
            }
            head.extend(byte);
        }
        match without_head(&head) {
            Some(b"") if head.starts_with(b"--\n-- Data for Name: ") => Ok(b""),
            _ => Err(self.entries.misfit(Some(entry), "it is another text")),
        }
    }

    /// Up to the next entry; behind the last one, up to the end of the file, of at most `most` bytes.
    async fn until(&mut self, next: Option<&Listed>, most: u64) -> Result<Vec<u8>> {
        match next {
            Some(next) => self.take(next.offset.saturating_sub(self.offset())).await,
            None => {
                let rest = self.input.take_rest(most).await;
                rest.map_err(self.loading.unreadable(&self.file))
            }
        }
    }

    async fn take(&mut self, count: u64) -> Result<Vec<u8>> {
        let taken = self.input.take(count).await;
        taken.map_err(self.loading.unreadable(&self.file))
    }

    /// The last entry, without what pg_dump says at the end.
    fn without_end<'t>(&self, entry: &Listed, text: &'t [u8]) -> Result<&'t [u8]> {
        match memchr::memmem::rfind(text, COMPLETE) {
            Some(at) => Ok(&text[..at]),
            None => Err(self.entries.misfit(Some(entry), "the dump is not complete")),
        }
    }
}

/// Lines of a dump's title that set what the first entry is made with.
fn own_settings(title: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = title.split(|byte| *byte == b'\n');
    lines.filter(|line| is_own(line) && line.ends_with(b";"))
}

/// What is set for the next entry at the end of one that is passed over, of which `text` is the end.
fn last_settings(entry: &Listed, text: &[u8]) -> Vec<Vec<u8>> {
    // Neither a row nor a large object's line is like its end.
    let ends: [&[u8]; 2] = [b"\n\\.\n", b"\nCOMMIT;\n"];
    let end = if entry.is_data {
        let ends = ends.iter();
        ends.filter_map(|end| memchr::memmem::rfind(text, end).map(|at| at + end.len()))
            .max()
            .unwrap_or(text.len())
    } else {
        0
    };
    let all = split(&text[end..]).unwrap_or_default().into_iter();
    all.filter(|it| it.is_plain && is_own(&it.text))
        .map(|it| it.text)
        .collect()
}

pub(super) fn is_own(text: &[u8]) -> bool {
    text.starts_with(b"SET default_tablespace = ")
        || text.starts_with(b"SET default_table_access_method = ")
}

/// The statements behind rows; `None` if they are others than pg_restore's own.
fn settings(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let statements = split(text).ok()?;
    let all_own = statements.iter().all(|it| it.is_plain && is_own(&it.text));
    all_own.then(|| statements.into_iter().map(|it| it.text).collect())
}

/// The text of an entry behind pg_dump's comment with its name, in which there are no line ends.
pub fn without_head(text: &[u8]) -> Option<&[u8]> {
    let rest = text.strip_prefix(b"--\n-- ")?;
    let end = memchr::memchr(b'\n', rest)?;
    let (name, rest) = (&rest[..end], &rest[end + 1..]);
    let is_name = [&b"Name: "[..], b"Data for Name: ", b"Statistics for Name: "]
        .iter()
        .any(|start| name.starts_with(start));
    rest.strip_prefix(b"--\n\n").filter(|_| is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_rows_are_only_settings_of_pg_restore() {
        let text = b"\n\nSET default_tablespace = \"a;\n\";\n\nSET default_table_access_method = heap;\n\n";
        let own = settings(text).unwrap_or_default();
        assert_eq!(own[0], b"SET default_tablespace = \"a;\n\"");
        assert_eq!(own.len(), 2);
        assert_eq!(settings(b"\n\n"), Some(Vec::new()));
        for text in [
            "CREATE TABLE evil ();\n",
            "SET default_tablespace = '';\nDROP TABLE t;\n",
            "SET default_tablespace = $$a$$;\n",
            "SET default_tablespace = 'a",
            "SET role = boss;\n",
        ] {
            assert_eq!(settings(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_comment_above_an_entry_is_one_line_with_its_name() {
        let head = "--\n-- Name: t; Type: TABLE; Schema: public; Owner: bob\n--\n\n";
        let text = format!("{head}CREATE TABLE t ();\n");
        assert_eq!(
            without_head(text.as_bytes()),
            Some(&b"CREATE TABLE t ();\n"[..])
        );
        let hostile = text.replace("t; Type", "t\nDROP TABLE u; --");
        assert_eq!(without_head(hostile.as_bytes()), None);
        assert_eq!(without_head(b"--\n-- Other: t\n--\n\nx"), None);
        assert_eq!(without_head(b"--\n-- Name: t\n--\n"), None);
    }
}
