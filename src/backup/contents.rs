//! Creates the files of a base from pg_dump's output: the dump without the objects that are left out, the
//! position of each of its entries, and the definitions of the objects that are left out.
//!
//! pg_dump writes its custom format, in which every entry has ids; pg_restore converts the entries that are
//! kept to plain text. So objects are never identified by their name or by parsing text.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use archive::dump::{
    choose, Choice, Gone, Toc, Walk, DUMP_LIST, DUMP_TOC, LEFT_OUT_SQL, STAND_INS_END_SQL,
    STAND_INS_SQL,
};
use archive::durable;
use archive::escape::percent_encode;
use flate2::write::GzEncoder;
use flate2::Compression;
use pgrx::prelude::*;

use super::board;
use super::dump::{self, Progress};
use super::sizes::Sizes;
use crate::pg::failure::Failure;
use crate::pg::text::quote;
use crate::settings::BaseFormat;

const BUFFER: usize = 256 * 1024;
/// pg_dump's output for a base in plain or compressed format; removed when the base is finished.
const ARCHIVE: &str = "dump.custom";

/// The path that pg_dump writes to, inside a base.
pub fn archive_of(base: &Path, format: BaseFormat) -> PathBuf {
    match format {
        BaseFormat::Directory => base.join(dump::file_name(format)),
        BaseFormat::Plain | BaseFormat::Compressed => base.join(ARCHIVE),
    }
}

/// Creates the base's files from [`archive_of`]; returns the objects that are left out, as text.
pub fn make(
    base: &Path,
    format: BaseFormat,
    gone: &Gone,
    sizes: &Sizes,
) -> Result<Vec<String>, Failure> {
    let archive = archive_of(base, format);
    let toc = read_toc(&archive)?;
    let choice = choose(&toc, gone);
    let list = base.join(DUMP_LIST);
    durable::write_atomically(&list, &list_of(&toc, &choice.kept))?;
    if format != BaseFormat::Directory {
        let target = base.join(dump::file_name(format));
        board::converting();
        let places = write_text(&archive, &list, &target, format, (&toc, &choice), sizes)?;
        durable::write_atomically(&base.join(DUMP_TOC), &places)?;
        durable::remove_if_there(&list)?;
    }
    if !choice.left_out.is_empty() || !choice.parts.is_empty() {
        write_left_out(
            base,
            &archive,
            &list_of(&toc, &choice.left_out),
            &choice.parts,
        )?;
    }
    if let Some(first) = choice
        .first_with_parts
        .filter(|_| !gone.stand_ins.is_empty())
    {
        let makes = gone.stand_ins.iter().map(|(make, _)| &make[..]);
        let before = gone.drop_first.iter().map(|drop| &drop[..]);
        let drops = before.chain(gone.stand_ins.iter().map(|(_, drop)| &drop[..]));
        let place = format!("-- Before entry {first} of dump.toc or dump.list\n");
        let makes = [place.into_bytes(), on_one_line(makes)].concat();
        durable::write_atomically(&base.join(STAND_INS_SQL), &makes)?;
        durable::write_atomically(&base.join(STAND_INS_END_SQL), &on_one_line(drops))?;
    }
    if format != BaseFormat::Directory {
        durable::remove_if_there(&archive)?;
    }
    Ok(choice.names)
}

/// The table of contents of an archive of pg_dump.
pub fn read_toc(archive: &Path) -> Result<Toc, Failure> {
    let file = if archive.is_dir() {
        archive.join("toc.dat")
    } else {
        archive.to_path_buf()
    };
    let toc = File::open(&file).and_then(|file| Toc::read(BufReader::new(file)));
    toc.map_err(|error| {
        let code = PgSqlErrorCode::ERRCODE_IO_ERROR;
        Failure::new(
            code,
            format!("could not read \"{}\": {error}", file.display()),
        )
    })
}

/// For `pg_restore --use-list`, which only parses the number of each line.
pub fn list_of(toc: &Toc, ids: &[i32]) -> Vec<u8> {
    let ids: std::collections::HashSet<_> = ids.iter().collect();
    let mut list = String::new();
    for entry in toc.entries.iter().filter(|e| ids.contains(&e.dump_id)) {
        let (kind, tag) = (percent_encode(&entry.kind), percent_encode(&entry.tag));
        list.push_str(&format!("{}; {kind} {tag}\n", entry.dump_id));
    }
    list.into_bytes()
}

/// Writes the kept entries as text; returns the contents of `dump.toc`.
fn write_text(
    archive: &Path,
    list: &Path,
    target: &Path,
    format: BaseFormat,
    (toc, choice): (&Toc, &Choice),
    sizes: &Sizes,
) -> Result<Vec<u8>, Failure> {
    let file = durable::create_new(target)?;
    let out: Box<dyn Finish> = match format {
        BaseFormat::Compressed => Box::new(GzEncoder::new(file, Compression::default())),
        _ => Box::new(file),
    };
    let walking = Walking {
        walk: Walk::new(toc, &choice.kept),
        out,
        sizes,
        noted: 0,
    };
    let walking = restore(archive, list, walking)?;
    let unwritable = |error| dump::cannot_write(target, error);
    walking.out.finish().map_err(unwritable)?;
    let places = walking.walk.finish().map_err(unwritable)?;
    let lines = places.iter().map(|place| place.to_line(toc));
    Ok(lines.collect::<String>().into_bytes())
}

/// The definitions (and rows) of the objects that are left out, for anybody who wants to restore them
/// manually.
fn write_left_out(
    base: &Path,
    archive: &Path,
    list: &[u8],
    parts: &[Vec<u8>],
) -> Result<(), Failure> {
    let list_file = base.join("left-out.list");
    durable::write_atomically(&list_file, list)?;
    let target = base.join(LEFT_OUT_SQL);
    let out = BufWriter::with_capacity(BUFFER, durable::create_new(&target)?);
    let mut out = restore(archive, &list_file, out)?;
    parts
        .iter()
        .try_for_each(|part| out.write_all(&[&part[..], b";\n"].concat()))
        .and_then(|()| out.flush())
        .map_err(|error| dump::cannot_write(&target, error))?;
    durable::remove_if_there(&list_file)?;
    Ok(())
}

/// The statements as nested literals, because psql would parse them differently from the server.
fn on_one_line<'a>(statements: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let executed = statements.map(|text| [b" EXECUTE ", &quote::literal(text)[..], b";"].concat());
    let body: Vec<u8> = executed.flatten().collect();
    let body = [b"BEGIN", &body[..], b" END"].concat();
    [b"DO ", &quote::dollar_quoted(&body)[..], b";\n"].concat()
}

fn restore<W: Write>(archive: &Path, list: &Path, out: W) -> Result<W, Failure> {
    let arguments = [
        dump::option("--use-list=", list),
        "--file=-".into(),
        archive.into(),
    ];
    dump::run("pg_restore", &arguments, out, &mut |_: Progress| Ok(()))
}

/// A file, or a compressor that writes to one.
trait Finish: Write {
    fn finish(self: Box<Self>) -> io::Result<()>;
}

impl Finish for File {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.flush()
    }
}

impl Finish for GzEncoder<File> {
    fn finish(self: Box<Self>) -> io::Result<()> {
        GzEncoder::finish(*self).map(|_| ())
    }
}

/// Writes its input to `out`, passes it to the walk, and notes whose rows it has come to.
struct Walking<'a> {
    walk: Walk<'a>,
    out: Box<dyn Finish>,
    sizes: &'a Sizes,
    /// So many entries are noted on the board.
    noted: usize,
}

impl Write for Walking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.walk.take(bytes)?;
        let (begun, count) = self.walk.begun(self.noted);
        board::converted(begun.map(|entry| self.sizes.of_entry(entry)), bytes.len());
        self.noted = count;
        self.out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
