//! The tables of a base: their definitions, and the rows of those that are wanted, read from what pg_dump wrote.
//!
//! Of a plain dump only the entries in question are read, whose places its table of contents has; a compressed one is
//! decompressed up to there. In the directory format each table has a file of its own.

pub mod text;

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use archive::dump::{Listed, Toc, DUMP_TOC};
use archive::storage::{self, Storage};
use flate2::bufread::MultiGzDecoder;

use super::error::{Error, Result};
use super::shape::definition::table_name;
use super::shape::tables::Tables;
use crate::catalog::{Base, Chain};
use crate::history::ddl::TableName;
use crate::history::literal::name_of;
use crate::history::scanner::Words;

/// OIDs of catalogs (catalog/pg_*.h).
const PG_CLASS: u32 = 1259;
const PG_NAMESPACE: u32 = 2615;
/// Lines of the comment above each entry of a plain dump.
const HEAD_LINES: usize = 4;
/// A definition of which no more is read.
const LONGEST: u64 = 8 << 20;

/// The COPY statement before the rows of a table.
pub struct Copied {
    /// Whose rows these are, by the entry.
    pub oid: u32,
    /// The table that the statement names: the root of a tree that is partitioned by hash of an enum.
    pub table: TableName,
    /// As the rows have them.
    pub columns: Vec<Vec<u8>>,
    /// The file, for messages.
    pub place: String,
}

/// What is found in a base.
pub enum Found<'a> {
    Copy(&'a Copied),
    /// A row, as COPY wrote it, and its number in its table, from 1.
    Row(&'a [u8], u64),
}

/// A base of an archive.
pub struct Reader<'a> {
    pub storage: &'a dyn Storage,
    pub chain: &'a Chain,
    pub base: &'a Base,
}

impl Reader<'_> {
    fn file(&self, name: &str) -> String {
        self.chain
            .file(&format!("{}/{name}", self.base.directory()))
    }

    fn is_plain(&self) -> bool {
        self.base.metadata.dump.starts_with("dump.sql")
    }

    fn failed<'f>(&'f self, file: &'f str) -> impl Fn(io::Error) -> Error + 'f {
        move |error| storage::failed("read", self.storage, file)(error).into()
    }

    fn damaged(&self, file: &str, why: &str) -> Error {
        archive::Error::damaged(Path::new(&self.storage.place(file)), 0, why.to_owned()).into()
    }

    /// All tables of the base, and the rows of those that are wanted, to `take`, which gets the tables as well.
    pub fn read(
        &self,
        wanted: &BTreeSet<u32>,
        take: &mut dyn FnMut(&mut Tables, Found<'_>) -> Result<()>,
    ) -> Result<Tables> {
        if self.is_plain() {
            self.plain(wanted, take)
        } else {
            self.directory(wanted, take)
        }
    }

    fn plain(
        &self,
        wanted: &BTreeSet<u32>,
        take: &mut dyn FnMut(&mut Tables, Found<'_>) -> Result<()>,
    ) -> Result<Tables> {
        let list = self.file(DUMP_TOC);
        let Some(text) = storage::read(self.storage, &list)? else {
            return Err(Error::NotThere(format!(
                "base {} is of a version before 0.3.0, which did not store where each table is",
                self.base.name
            )));
        };
        let listed = Listed::parse_all(&text, Path::new(&self.storage.place(&list)))?;
        let file = self.file(&self.base.metadata.dump);
        let failed = self.failed(&file);
        let mut dump = Dump {
            storage: self.storage,
            file: &file,
            input: None,
        };
        let mut tables = Tables::new();
        let mut text = Vec::new();
        for (at, entry) in listed.iter().enumerate() {
            let is_definition = is_definition(&entry.kind);
            if is_definition {
                let next = listed.get(at + 1).map_or(u64::MAX, |next| next.offset);
                text.clear();
                let length = (next - entry.offset).min(LONGEST);
                dump.read(entry.offset, length, &mut text)
                    .map_err(&failed)?;
            }
            define(&mut tables, entry, &text);
            if !is_rows(entry, wanted) {
                continue;
            }
            dump.seek(entry.offset).map_err(&failed)?;
            let Some((place, input)) = &mut dump.input else {
                continue;
            };
            // The comment above it, in which names are not quoted.
            let mut head = Vec::new();
            for _ in 0..HEAD_LINES {
                read_line(input, &mut head).map_err(&failed)?;
            }
            let mut read = std::mem::take(&mut head).len();
            let copied = loop {
                let length = read_line(input, &mut head).map_err(&failed)?;
                if let Some(copied) = self.copied(entry.oid, &head) {
                    break copied;
                }
                if length == 0 || head.len() > LONGEST as usize {
                    return Err(self.damaged(&file, "an entry of rows has no COPY statement"));
                }
            };
            read += head.len();
            take(&mut tables, Found::Copy(&copied))?;
            let rows = self.rows(&file, input, &mut |row, number| {
                take(&mut tables, Found::Row(row, number))
            })?;
            *place += read as u64 + rows;
        }
        Ok(tables)
    }

    fn directory(
        &self,
        wanted: &BTreeSet<u32>,
        take: &mut dyn FnMut(&mut Tables, Found<'_>) -> Result<()>,
    ) -> Result<Tables> {
        let directory = self.file(&self.base.metadata.dump);
        let toc_file = format!("{directory}/toc.dat");
        let Some(input) = self.storage.open(&toc_file, 0)? else {
            return Err(self.damaged(&toc_file, "it is missing"));
        };
        let toc = Toc::read(BufReader::new(input)).map_err(self.failed(&toc_file))?;
        let there = self.storage.list(&directory)?;
        let mut tables = Tables::new();
        for entry in &toc.entries {
            let listed = Listed {
                table_oid: entry.table_oid,
                oid: entry.oid,
                is_data: entry.has_data,
                kind: entry.kind.clone(),
                schema: entry.namespace.clone().filter(|name| !name.is_empty()),
                name: entry.tag.clone(),
                ..Listed::default()
            };
            define(&mut tables, &listed, &entry.definition);
            if !is_rows(&listed, wanted) {
                continue;
            }
            let name = entry.file.as_deref().unwrap_or_default();
            let name = String::from_utf8_lossy(name);
            let forms = ["", ".gz", ".lz4", ".zst"];
            let form = forms.into_iter().find(|form| {
                let file = format!("{name}{form}");
                there.iter().any(|item| item.name == file)
            });
            let file = format!("{directory}/{name}{}", form.unwrap_or_default());
            let input = match form.filter(|_| !name.contains('/')) {
                Some(_) => self.storage.open(&file, 0)?,
                None => None,
            };
            let Some(input) = input else {
                return Err(self.damaged(&file, "it is missing"));
            };
            let mut input = decoded(form.unwrap_or_default(), input).map_err(self.failed(&file))?;
            let Some(mut copied) = self.copied(entry.oid, &entry.copy_statement) else {
                return Err(self.damaged(&toc_file, "an entry of rows has no COPY statement"));
            };
            copied.place = self.storage.place(&file);
            take(&mut tables, Found::Copy(&copied))?;
            self.rows(&file, &mut input, &mut |row, number| {
                take(&mut tables, Found::Row(row, number))
            })?;
        }
        Ok(tables)
    }

    /// Up to `\.`; the number of bytes.
    fn rows(
        &self,
        file: &str,
        input: &mut dyn BufRead,
        take: &mut dyn FnMut(&[u8], u64) -> Result<()>,
    ) -> Result<u64> {
        let mut line = Vec::new();
        let (mut number, mut bytes) = (0, 0);
        loop {
            line.clear();
            let length = read_line(input, &mut line).map_err(self.failed(file))?;
            if length == 0 || line.pop() != Some(b'\n') {
                return Err(self.damaged(file, "the file ends within the rows of a table"));
            }
            bytes += length as u64;
            if line == b"\\." {
                return Ok(bytes);
            }
            number += 1;
            take(&line, number)?;
        }
    }

    /// The COPY statement at the end of `head`, behind comments. `None` if it is not complete.
    fn copied(&self, oid: u32, head: &[u8]) -> Option<Copied> {
        let mut at = 0;
        while head[at..].starts_with(b"--") || head[at..].starts_with(b"\n") {
            // Quotes mean nothing there.
            at += memchr::memchr(b'\n', &head[at..])? + 1;
        }
        let end = at + line_end(&head[at..])?;
        let statement = head[at..end].strip_suffix(b" FROM stdin;")?;
        let mut words = Words::new(statement);
        words.expect(b"COPY ")?;
        let table = table_name(words.qualified()?)?;
        let mut columns = Vec::new();
        if words.pass(b" (") {
            loop {
                columns.push(name_of(words.identifier()?).into_owned());
                if !words.pass(b", ") {
                    break;
                }
            }
            words.expect(b")")?;
        }
        words.rest().trim_ascii().is_empty().then(|| Copied {
            oid,
            table,
            columns,
            place: self.storage.place(&self.file(&self.base.metadata.dump)),
        })
    }
}

fn is_definition(kind: &[u8]) -> bool {
    matches!(kind, b"TABLE" | b"FOREIGN TABLE" | b"TABLE ATTACH")
}

fn is_rows(entry: &Listed, wanted: &BTreeSet<u32>) -> bool {
    entry.kind == b"TABLE DATA" && wanted.contains(&entry.oid)
}

/// What an entry says of tables; `text` is its definition.
fn define(tables: &mut Tables, entry: &Listed, text: &[u8]) {
    match (&entry.kind[..], entry.table_oid) {
        (b"SCHEMA", PG_NAMESPACE) => tables.add_schema(entry.oid, &entry.name),
        (kind @ (b"TABLE" | b"FOREIGN TABLE"), PG_CLASS) => {
            let Some(schema) = &entry.schema else {
                return;
            };
            let name = TableName {
                schema: schema.clone(),
                table: entry.name.clone(),
            };
            tables.create(entry.oid, name, kind == b"FOREIGN TABLE", text);
        }
        (b"TABLE ATTACH", _) => {
            if let Some((parent, child)) = attached(text) {
                if let (Some(parent), Some(child)) = (tables.named(&parent), tables.named(&child)) {
                    tables.attach(parent, child);
                }
            }
        }
        _ => {}
    }
}

/// Of `ALTER TABLE ONLY s.p ATTACH PARTITION s.c FOR VALUES …`, as pg_dump words it. Its comment has names without quotes, which
/// are whatever somebody has chosen.
fn attached(text: &[u8]) -> Option<(TableName, TableName)> {
    let mut rest = text;
    while rest.starts_with(b"--") || rest.starts_with(b"\n") {
        let end = memchr::memchr(b'\n', rest)?;
        rest = &rest[end + 1..];
    }
    let mut words = Words::new(rest.strip_prefix(b"ALTER TABLE ONLY ")?);
    let parent = words.qualified()?;
    words.expect(b" ATTACH PARTITION ")?;
    let child = words.qualified()?;
    Some((table_name(parent)?, table_name(child)?))
}

/// The end of a line outside of double quotes: a name may contain one.
fn line_end(text: &[u8]) -> Option<usize> {
    let mut is_quoted = false;
    text.iter().position(|byte| {
        is_quoted ^= *byte == b'"';
        *byte == b'\n' && !is_quoted
    })
}

fn read_line(input: &mut (impl BufRead + ?Sized), line: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        match input.read_until(b'\n', line) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// The uncompressed bytes of a file whose name ends in `form`.
fn decoded(form: &str, input: Box<dyn Read + Send>) -> io::Result<Box<dyn BufRead + Send>> {
    let input = BufReader::with_capacity(1 << 18, input);
    Ok(match form {
        ".gz" => Box::new(BufReader::with_capacity(
            1 << 18,
            MultiGzDecoder::new(input),
        )),
        ".lz4" => Box::new(BufReader::with_capacity(
            1 << 18,
            lz4_flex::frame::FrameDecoder::new(input),
        )),
        ".zst" => Box::new(BufReader::with_capacity(
            1 << 18,
            zstd::Decoder::with_buffer(input)?,
        )),
        _ => Box::new(input),
    })
}

/// The text of a plain dump.
struct Dump<'a> {
    storage: &'a dyn Storage,
    file: &'a str,
    /// Where it is, in the uncompressed text.
    input: Option<(u64, Box<dyn BufRead + Send>)>,
}

impl Dump<'_> {
    fn is_compressed(&self) -> bool {
        self.file.ends_with(".gz")
    }

    /// Goes to an offset, forwards where that is compressed.
    fn seek(&mut self, offset: u64) -> io::Result<()> {
        const NEAR: u64 = 1 << 20;
        let is_compressed = self.is_compressed();
        let is_there = |at: &u64| *at <= offset && (is_compressed || offset - at < NEAR);
        if self.input.as_ref().is_none_or(|(at, _)| !is_there(at)) {
            let (at, form) = if is_compressed {
                (0, ".gz")
            } else {
                (offset, "")
            };
            let opened = self.storage.open(self.file, at).map_err(io::Error::other)?;
            let input = opened.ok_or(io::ErrorKind::NotFound)?;
            self.input = Some((at, decoded(form, input)?));
        }
        if let Some((at, input)) = &mut self.input {
            io::copy(&mut input.take(offset - *at), &mut io::sink())?;
            *at = offset;
        }
        Ok(())
    }

    fn read(&mut self, offset: u64, length: u64, text: &mut Vec<u8>) -> io::Result<()> {
        self.seek(offset)?;
        if let Some((at, input)) = &mut self.input {
            *at += input.take(length).read_to_end(text)? as u64;
        }
        Ok(())
    }
}

/// A field of a COPY row of pg_dump (CopyAttributeOutText of PostgreSQL), which escapes more than our segments do.
pub fn field(field: &[u8]) -> Option<std::borrow::Cow<'_, [u8]>> {
    use std::borrow::Cow;
    if field == b"\\N" {
        return None;
    }
    let Some(first) = memchr::memchr(b'\\', field) else {
        return Some(Cow::Borrowed(field));
    };
    let mut text = Vec::with_capacity(field.len());
    text.extend_from_slice(&field[..first]);
    let mut bytes = field[first..].iter().copied();
    while let Some(byte) = bytes.next() {
        text.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'b') => 8,
                Some(b'f') => 12,
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'v') => 11,
                Some(other) => other,
                None => b'\\',
            },
            byte => byte,
        });
    }
    Some(Cow::Owned(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_comment_attaches_nothing() {
        const NAME: &str = "ALTER TABLE ONLY public.p ATTACH PARTITION public.orders";
        let text = format!(
            "--\n-- Name: {NAME}; Type: TABLE ATTACH; Schema: public; Owner: x\n--\n\n\
             ALTER TABLE ONLY public.p ATTACH PARTITION public.\"{NAME}\" FOR VALUES IN (1);\n\n\n"
        );
        let (parent, child) = attached(text.as_bytes()).unwrap();
        assert_eq!(
            (&parent.table[..], &child.table[..]),
            (&b"p"[..], NAME.as_bytes())
        );
    }

    #[test]
    fn fields_of_pg_dump_come_back() {
        let text = |bytes: &'static [u8]| field(bytes).map(|text| text.into_owned());
        assert_eq!(text(b"\\N"), None);
        assert_eq!(
            text(b"a\\b\\f\\n\\r\\t\\v\\\\N"),
            Some(b"a\x08\x0c\n\r\t\x0b\\N".to_vec())
        );
        assert_eq!(text(b""), Some(Vec::new()));
    }

    #[test]
    fn an_attach_names_both_tables_whatever_they_are_called() {
        let text = b"--\n-- Name: x\n--\n\nALTER TABLE ONLY \"a b\".\"p.\"\"x\" ATTACH PARTITION \"public\".\"c1\" FOR VALUES FROM (1) TO (2);\n";
        let (parent, child) = attached(text).expect("it is one");
        assert_eq!(
            (&parent.schema[..], &parent.table[..]),
            (&b"a b"[..], &b"p.\"x"[..])
        );
        assert_eq!(
            (&child.schema[..], &child.table[..]),
            (&b"public"[..], &b"c1"[..])
        );
    }
}
