//! The relations of a base, by its table of contents: nothing is restored for it.

use std::collections::HashSet;
use std::io::{self, BufReader, Read};
use std::path::Path;

use archive::dump::{Listed, Toc, DUMP_TOC};
use archive::storage::{self, Storage};
use archive_query::catalog::{Base, Chain};
use archive_query::history::scanner::Words;
use flate2::bufread::MultiGzDecoder;

use super::hashed;
use super::wanted::{Kind, Name, Wanted};
use crate::error::{Error, Result};
use crate::restore::plan::Plan;

/// What a base has of relations.
#[derive(Debug, Default)]
pub struct Contents {
    /// With their OIDs at the source.
    pub relations: Vec<(u32, Kind, Name)>,
    pub schemas: Vec<(u32, Vec<u8>)>,
    /// Partitioned table and partition.
    pub attached: Vec<(Name, Name)>,
    /// OIDs of tables that may be partitioned by hash of an enum.
    pub hashed: Vec<u32>,
}

/// OIDs of catalogs (catalog/pg_*.h).
const PG_CLASS: u32 = 1259;
const PG_NAMESPACE: u32 = 2615;
/// A definition of which no more is read: an ATTACH PARTITION has a bound, and a table columns.
const LONGEST: u64 = 8 << 20;

/// Reads them.
pub fn read(storage: &dyn Storage, chain: &Chain, base: &Base) -> Result<Contents> {
    let directory = base.directory();
    let file = |name: &str| chain.file(&format!("{directory}/{name}"));
    let dump = &base.metadata.dump;
    if !dump.starts_with("dump.sql") {
        let file = file(&format!("{dump}/toc.dat"));
        let Some(input) = storage.open(&file, 0)? else {
            return Err(missing(storage, &file));
        };
        let toc = Toc::read(BufReader::new(input));
        let toc = toc.map_err(storage::failed("read", storage, &file))?;
        return Ok(of_directory(&toc));
    }
    let list = file(DUMP_TOC);
    let Some(text) = storage::read(storage, &list)? else {
        let message = format!(
            "base {} is of a version before 0.3.0, which did not store where each table is: no part of it can be restored",
            base.name
        );
        let hint = "Choose a moment after a newer base, or restore everything and copy the part from there.";
        return Err(Error::failed(message, hint));
    };
    let listed = Listed::parse_all(&text, Path::new(&storage.place(&list)))?;
    let mut contents = Contents::default();
    for entry in &listed {
        contents.add(entry);
    }
    let dump = file(dump);
    let read = texts(storage, &dump, &listed, &mut |entry, text| {
        contents.add_text(entry, text);
    });
    read.map_err(storage::failed("read", storage, &dump))?;
    Ok(contents)
}

/// The files of a dump in directory format that have the rows of these relations, from the base's directory.
pub fn files_of_rows(storage: &dyn Storage, plan: &Plan, wanted: &Wanted) -> Result<Vec<String>> {
    let (base, dump) = (&plan.base, &plan.base.metadata.dump);
    if dump.starts_with("dump.sql") {
        return Ok(Vec::new());
    }
    let directory = plan.chain.file(&format!("{}/{dump}", base.directory()));
    let file = format!("{directory}/toc.dat");
    let Some(input) = storage.open(&file, 0)? else {
        return Err(missing(storage, &file));
    };
    let toc = Toc::read(BufReader::new(input));
    let toc = toc.map_err(storage::failed("read", storage, &file))?;
    let is_wanted = |entry: &&archive::dump::Entry| {
        entry.has_data && wanted.takes_entry(&super::super::base::listed(entry))
    };
    let names = toc.entries.iter().filter(is_wanted);
    let names = names.filter_map(|entry| entry.file.as_deref());
    let names: HashSet<&[u8]> = names.collect();
    let there = storage.list(&directory)?.into_iter();
    // With what the form of compression adds.
    let is_of_one = |name: &String| {
        let plain = FORMS.iter().find_map(|form| name.strip_suffix(form));
        names.contains(plain.unwrap_or(name).as_bytes())
    };
    let files = there.map(|item| item.name).filter(is_of_one);
    Ok(files.map(|name| format!("{dump}/{name}")).collect())
}

/// How the names of compressed files end.
const FORMS: [&str; 3] = [".gz", ".lz4", ".zst"];

fn missing(storage: &dyn Storage, file: &str) -> Error {
    Error::damaged(format!("\"{}\" is missing", storage.place(file)))
}

fn of_directory(toc: &Toc) -> Contents {
    let mut contents = Contents::default();
    for entry in &toc.entries {
        let listed = Listed {
            table_oid: entry.table_oid,
            oid: entry.oid,
            kind: entry.kind.clone(),
            schema: entry.namespace.clone().filter(|name| !name.is_empty()),
            name: entry.tag.clone(),
            ..Listed::default()
        };
        contents.add(&listed);
        contents.add_text(&listed, &entry.definition);
    }
    contents
}

impl Contents {
    fn add(&mut self, entry: &Listed) {
        if entry.table_oid == PG_NAMESPACE && entry.kind == b"SCHEMA" {
            self.schemas.push((entry.oid, entry.name.clone()));
        }
        let kind = std::str::from_utf8(&entry.kind).unwrap_or_default();
        let kind = Kind::of(&kind.to_lowercase()).filter(|_| entry.table_oid == PG_CLASS);
        if let (Some(kind), Some(schema)) = (kind, &entry.schema) {
            let name = Name {
                schema: schema.clone(),
                name: entry.name.clone(),
            };
            self.relations.push((entry.oid, kind, name));
        }
    }

    /// What the definition says of partitions.
    fn add_text(&mut self, entry: &Listed, text: &[u8]) {
        match entry.kind.as_slice() {
            b"TABLE ATTACH" => self.attached.extend(attach_of(text)),
            b"TABLE" if hashed::may_be(text) => self.hashed.push(entry.oid),
            _ => {}
        }
    }
}

/// Shows the texts of the entries that make tables or attach partitions.
fn texts(
    storage: &dyn Storage,
    dump: &str,
    listed: &[Listed],
    show: &mut dyn FnMut(&Listed, &[u8]),
) -> io::Result<()> {
    let is_shown =
        |entry: &&(&Listed, u64)| matches!(entry.0.kind.as_slice(), b"TABLE" | b"TABLE ATTACH");
    let ends = listed.iter().skip(1).map(|next| next.offset);
    let ends = ends.chain([u64::MAX]);
    let entries: Vec<(&Listed, u64)> = listed.iter().zip(ends).collect();
    let mut input: Option<(u64, Box<dyn Read + Send>)> = None;
    for (entry, end) in entries.iter().filter(is_shown) {
        let (at, mut reader) = match input.take() {
            Some(open) => open,
            None => open(storage, dump, entry.offset)?,
        };
        io::copy(
            &mut reader.by_ref().take(entry.offset - at),
            &mut io::sink(),
        )?;
        let length = (end - entry.offset).min(LONGEST);
        let mut text = Vec::new();
        reader.by_ref().take(length).read_to_end(&mut text)?;
        let body = super::super::base::without_head(&text).unwrap_or_default();
        show(entry, body);
        input = Some((entry.offset + text.len() as u64, reader));
    }
    Ok(())
}

/// The dump's text from `offset` on, or from its beginning where it is compressed: where it begins, and the text.
fn open(storage: &dyn Storage, dump: &str, offset: u64) -> io::Result<(u64, Box<dyn Read + Send>)> {
    let is_compressed = dump.ends_with(".gz");
    let at = if is_compressed { 0 } else { offset };
    let opened = storage.open(dump, at).map_err(io::Error::other)?;
    let input = opened.ok_or(io::ErrorKind::NotFound)?;
    let input: Box<dyn Read + Send> = if is_compressed {
        Box::new(MultiGzDecoder::new(BufReader::new(input)))
    } else {
        Box::new(BufReader::new(input))
    };
    Ok((at, input))
}

/// Of `ALTER TABLE ONLY s.p ATTACH PARTITION s.c FOR VALUES …`, as pg_dump words it.
fn attach_of(text: &[u8]) -> Option<(Name, Name)> {
    let mut words = Words::new(text);
    words.expect(b"ALTER TABLE ONLY ")?;
    let parent = words.qualified()?;
    words.expect(b" ATTACH PARTITION ")?;
    let child = words.qualified()?;
    Some((Name::read(parent)?, Name::read(child)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_attach_names_both_tables_whatever_they_are_called() {
        let text = b"ALTER TABLE ONLY \"a b\".\"p.\"\"x\" ATTACH PARTITION public.c1 FOR VALUES FROM (1) TO (2);\n";
        let (parent, child) = attach_of(text).unwrap();
        assert_eq!(
            (&parent.schema[..], &parent.name[..]),
            (&b"a b"[..], &b"p.\"x"[..])
        );
        assert_eq!(
            (&child.schema[..], &child.name[..]),
            (&b"public"[..], &b"c1"[..])
        );
        for other in [
            "ALTER TABLE p ATTACH PARTITION c;",
            "",
            "ALTER TABLE ONLY p ATTACH PARTITION c;",
        ] {
            assert!(attach_of(other.as_bytes()).is_none(), "{other}");
        }
    }
}
