//! Reads the table of contents of a pg_dump archive: a file in custom format, or the `toc.dat` of a
//! directory.
//!
//! The format is that of PostgreSQL's pg_backup_archiver.c (ReadHead, ReadToc), versions 1.14 (PostgreSQL 12
//! to 15), 1.15 (16) and 1.16 (17, 18).

use std::io::{self, Read};

/// Archive formats, as numbered in pg_backup.h. A directory's `toc.dat` claims to be a tar archive: they are
/// the same.
const CUSTOM: u8 = 1;
const TAR: u8 = 3;
/// Maximum length of a string in a table of contents: that of a text in PostgreSQL.
const LONGEST: i64 = 1 << 30;

/// The entries of an archive, in the order in which they are restored.
#[derive(Debug, Clone, Default)]
pub struct Toc {
    pub entries: Vec<Entry>,
}

/// One entry. Texts are in the encoding of the database.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    pub dump_id: i32,
    /// True if the archive contains rows (or large objects) for it.
    pub has_data: bool,
    /// OIDs of the object's catalog and of the object; 0 for entries that are not separate objects.
    pub table_oid: u32,
    pub oid: u32,
    pub tag: Vec<u8>,
    /// Its kind: `TABLE`, `TABLE DATA`, `ACL`, …
    pub kind: Vec<u8>,
    pub definition: Vec<u8>,
    pub drop_statement: Vec<u8>,
    pub copy_statement: Vec<u8>,
    pub namespace: Option<Vec<u8>>,
    /// That the entry asks for; empty for the database's own, `None` if the object is in none.
    pub tablespace: Option<Vec<u8>>,
    /// The same of the table access method.
    pub access_method: Option<Vec<u8>>,
    /// As in pg_class, from version 1.16 on.
    pub relkind: Option<u8>,
    pub owner: Option<Vec<u8>>,
    /// Of a directory: the file of the rows, or of the list of large objects.
    pub file: Option<Vec<u8>>,
    /// Dump ids of its dependencies; not all of them are entries.
    pub dependencies: Vec<i32>,
}

impl Toc {
    /// Reads up to the end of the table of contents, and no further where `input` is not buffered.
    pub fn read(input: impl Read) -> io::Result<Toc> {
        let mut reader = Reader::begin(input)?;
        let count = reader.int()?;
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(reader.entry()?);
        }
        Ok(Toc { entries })
    }
}

struct Reader<R> {
    input: R,
    version: (u8, u8),
    int_size: usize,
    offset_size: usize,
    format: u8,
}

impl<R: Read> Reader<R> {
    /// Reads the head.
    fn begin(mut input: R) -> io::Result<Reader<R>> {
        let mut head = [0; 11];
        input.read_exact(&mut head)?;
        let (version, [int_size, offset_size, format]) =
            ((head[5], head[6]), [head[8], head[9], head[10]]);
        if &head[..5] != b"PGDMP" || !matches!(format, CUSTOM | TAR) {
            return Err(damaged("it is not a pg_dump archive"));
        }
        if !((1, 14)..=(1, 16)).contains(&version) {
            let (major, minor) = version;
            return Err(damaged(format!(
                "archive version {major}.{minor} is not supported, only 1.14 to 1.16 are"
            )));
        }
        if !(1..=8).contains(&int_size) || offset_size > 8 {
            return Err(damaged("invalid integer size"));
        }
        let mut reader = Reader {
            input,
            version,
            int_size: usize::from(int_size),
            offset_size: usize::from(offset_size),
            format,
        };
        // Compression, the time in seven numbers, and three names.
        match version {
            (1, 14) => drop(reader.int()?),
            _ => drop(reader.bytes(1)?),
        }
        for _ in 0..7 {
            reader.int()?;
        }
        for _ in 0..3 {
            reader.string()?;
        }
        Ok(reader)
    }

    fn entry(&mut self) -> io::Result<Entry> {
        let (dump_id, has_data) = (self.id()?, self.int()? != 0);
        let (table_oid, oid) = (self.number()?, self.number()?);
        let (tag, kind) = (self.text()?, self.text()?);
        let _section = self.int()?;
        let (definition, drop_statement) = (self.text()?, self.text()?);
        let (copy_statement, namespace) = (self.text()?, self.string()?);
        let (tablespace, access_method) = (self.string()?, self.string()?);
        let relkind = if self.version >= (1, 16) {
            u8::try_from(self.int()?).ok().filter(|kind| *kind != 0)
        } else {
            None
        };
        let (owner, _with_oids) = (self.string()?, self.text()?);
        let mut dependencies = Vec::new();
        while let Some(id) = self.string()? {
            dependencies.push(parsed(&id)?);
        }
        let file = match self.format {
            // A flag and an offset.
            CUSTOM => self.bytes(1 + self.offset_size).map(|_| None)?,
            _ => self.string()?.filter(|file| !file.is_empty()),
        };
        Ok(Entry {
            dump_id,
            has_data,
            table_oid,
            oid,
            tag,
            kind,
            definition,
            drop_statement,
            copy_statement,
            namespace,
            tablespace,
            access_method,
            relkind,
            owner,
            file,
            dependencies,
        })
    }

    fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = (&mut self.input)
            .take(count as u64)
            .read_to_end(&mut bytes)?;
        if read < count {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }

    /// A sign, then the bytes of the number, the lowest first.
    fn int(&mut self) -> io::Result<i64> {
        let bytes = self.bytes(1 + self.int_size)?;
        let (sign, digits) = (bytes[0], &bytes[1..]);
        if digits.iter().skip(7).any(|byte| *byte != 0) {
            return Err(damaged("a number is too large"));
        }
        let value = digits
            .iter()
            .rev()
            .fold(0, |value, byte| (value << 8 | i64::from(*byte)) & i64::MAX);
        Ok(if sign == 0 { value } else { -value })
    }

    fn id(&mut self) -> io::Result<i32> {
        i32::try_from(self.int()?).map_err(damaged)
    }

    fn string(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.int()? {
            ..0 => Ok(None),
            length if length <= LONGEST => Ok(Some(self.bytes(length as usize)?)),
            _ => Err(damaged("a string is too long")),
        }
    }

    fn text(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.string()?.unwrap_or_default())
    }

    fn number(&mut self) -> io::Result<u32> {
        parsed(&self.text()?)
    }
}

fn parsed<T: std::str::FromStr>(digits: &[u8]) -> io::Result<T> {
    let number = std::str::from_utf8(digits)
        .ok()
        .and_then(|d| d.parse().ok());
    number.ok_or_else(|| damaged("a number contains characters other than digits"))
}

fn damaged(why: impl ToString) -> io::Error {
    let text = format!(
        "could not read the table of contents of the dump: {}",
        why.to_string()
    );
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;

    /// An archive in pg_dump's format of this version, with one table.
    fn archive(minor: u8, format: u8) -> Vec<u8> {
        let mut out = [b"PGDMP".as_slice(), &[1, minor, 0, 4, 8, format]].concat();
        match minor {
            14 => int(&mut out, 0),
            _ => out.push(0),
        }
        (0..7).for_each(|number| int(&mut out, number));
        for text in ["shop", "15.20", "15.20"] {
            string(&mut out, Some(text));
        }
        int(&mut out, 1);
        int(&mut out, 215);
        int(&mut out, 1);
        for text in ["1259", "16597", "t; Type: \n", "TABLE"] {
            string(&mut out, Some(text));
        }
        int(&mut out, 2);
        for text in [Some("CREATE"), None, Some("COPY"), Some("public"), Some("")] {
            string(&mut out, text);
        }
        string(&mut out, Some("heap"));
        if minor > 15 {
            int(&mut out, 114);
        }
        for text in [Some("bob"), Some("false"), Some("7"), Some("3"), None] {
            string(&mut out, text);
        }
        match format {
            CUSTOM => out.extend([0; 9]),
            _ => string(&mut out, Some("215.dat")),
        }
        out
    }

    fn int(out: &mut Vec<u8>, number: i64) {
        out.push(u8::from(number < 0));
        out.extend(&number.unsigned_abs().to_le_bytes()[..4]);
    }

    fn string(out: &mut Vec<u8>, text: Option<&str>) {
        int(out, text.map_or(-1, |text| text.len() as i64));
        out.extend(text.unwrap_or_default().bytes());
    }

    #[test]
    fn every_version_and_both_formats_are_read_to_the_byte() {
        for (minor, format) in [(14, CUSTOM), (15, CUSTOM), (16, CUSTOM), (14, TAR)] {
            let bytes = [archive(minor, format), b"rest".to_vec()].concat();
            let mut rest = bytes.as_slice();
            let toc = Toc::read(&mut rest).unwrap();
            assert_eq!(rest, b"rest");
            let entry = &toc.entries[0];
            assert_eq!((entry.table_oid, entry.oid), (1259, 16597));
            assert_eq!(entry.tag, b"t; Type: \n");
            assert_eq!(entry.definition, b"CREATE");
            assert_eq!(entry.copy_statement, b"COPY");
            assert_eq!(entry.access_method.as_deref(), Some(b"heap".as_slice()));
            assert_eq!(entry.relkind, (minor > 15).then_some(b'r'));
            let file = (format == TAR).then_some(b"215.dat".as_slice());
            assert_eq!(entry.file.as_deref(), file);
            assert_eq!(entry.namespace.as_deref(), Some(b"public".as_slice()));
            assert_eq!(entry.owner.as_deref(), Some(b"bob".as_slice()));
            assert_eq!(entry.dependencies, [7, 3]);
        }
    }

    #[test]
    fn what_is_cut_off_or_of_an_unknown_version_is_refused() {
        let whole = archive(16, CUSTOM);
        for length in 0..whole.len() {
            assert!(Toc::read(&whole[..length]).is_err(), "{length}");
        }
        for minor in [13, 17] {
            let error = Toc::read(archive(minor, CUSTOM).as_slice()).unwrap_err();
            assert!(error.to_string().contains("is not supported"), "{error}");
        }
    }
}
