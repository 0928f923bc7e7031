//! How large the tables of a base are, so that its progress can be compared with something.
//!
//! The sizes are those of the files, by their names in the data directory: pg_table_size() would wait behind whoever
//! waits for an exclusive lock of a table, and with it the base. What a dump makes of a table is larger or smaller; as a
//! share of all of them it is good enough for a rate and the time that is left, in every format alike.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use archive::dump::Entry;
use pgrx::prelude::*;

use super::dump::Progress;
use crate::pg::failure::Failure;

/// Tables whose rows pg_dump writes, with the name by which it announces them, in the database's encoding. All large
/// objects are one table, under its own name.
const TABLES: &str = "SELECT pg_catalog.convert_to(n.nspname || '.' || c.relname, pg_catalog.getdatabaseencoding()), \
      pg_catalog.pg_relation_filepath(c.oid), pg_catalog.pg_relation_filepath(c.reltoastrelid), \
      c.oid \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' \
      AND (n.nspname <> ALL ('{pg_catalog,information_schema}') \
        OR c.oid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass)";

/// Under which the large objects are found.
const LARGE_OBJECTS: &[u8] = b"pg_catalog.pg_largeobject";

/// Bytes of each table of this database, with its TOAST table and without indexes.
#[derive(Clone, Default)]
pub struct Sizes {
    tables: Rc<HashMap<Vec<u8>, u64>>,
    by_oid: Rc<HashMap<u32, u64>>,
    /// Of all of them.
    pub total: u64,
}

impl Sizes {
    /// In a transaction. Takes no lock of a table.
    pub fn collect() -> Result<Sizes, Failure> {
        let (tables, by_oid) = Spi::connect(|client| {
            let (mut found, mut by_oid) = (HashMap::new(), HashMap::new());
            let mut rows = client.select(TABLES, None, &[])?;
            while rows.next().is_some() {
                let paths = [rows.get::<String>(2)?, rows.get::<String>(3)?];
                let bytes = paths.into_iter().flatten().map(|path| size_of(&path)).sum();
                found.insert(rows.get::<Vec<u8>>(1)?.unwrap_or_default(), bytes);
                let oid = rows.get::<pg_sys::Oid>(4)?.map_or(0, |oid| oid.to_u32());
                by_oid.insert(oid, bytes);
            }
            Ok::<_, pgrx::spi::Error>((found, by_oid))
        })?;
        Ok(Sizes {
            total: tables.values().sum(),
            tables: Rc::new(tables),
            by_oid: Rc::new(by_oid),
        })
    }

    /// Of the table with this OID; for 0 of all large objects.
    pub fn of_table(&self, oid: u32) -> u64 {
        match oid {
            0 => self.of(LARGE_OBJECTS),
            _ => self.by_oid.get(&oid).copied().unwrap_or(0),
        }
    }

    /// Which table pg_dump says in a line of its messages (`--verbose`) that it reads from now on.
    pub fn announced_in(&self, line: &[u8]) -> Option<Progress> {
        let behind = |words: &[u8]| {
            let at = line.windows(words.len()).position(|it| it == words)?;
            Some(&line[at + words.len()..])
        };
        if behind(b"saving large objects").is_some() {
            return Some(Progress::LargeObjects(self.of(LARGE_OBJECTS)));
        }
        let name = behind(b"dumping contents of table ")?;
        // dumpTableData_copy (pg_dump.c) writes `"schema.table"`, without doubling what is quoted inside.
        let name = name.strip_prefix(b"\"").unwrap_or(name);
        let name = name.strip_suffix(b"\"").unwrap_or(name);
        Some(Progress::Table(self.of(name)))
    }

    /// Of what an entry of an archive of pg_dump has the rows of.
    pub fn of_entry(&self, entry: &Entry) -> u64 {
        if entry.kind.starts_with(b"BLOB") {
            return self.of(LARGE_OBJECTS);
        }
        let schema = entry.namespace.as_deref().unwrap_or_default();
        self.of(&[schema, b".", &entry.tag].concat())
    }

    /// 0 for one that was created since.
    fn of(&self, name: &[u8]) -> u64 {
        self.tables.get(name).copied().unwrap_or(0)
    }
}

/// Bytes of a relation's main fork, by its path in the data directory, which is every process's own directory. Its
/// segments after the first have a number (md.c); one that is missing, or was dropped meanwhile, has none.
pub fn size_of(path: &str) -> u64 {
    let file = |number: u32| match number {
        0 => PathBuf::from(path),
        _ => PathBuf::from(format!("{path}.{number}")),
    };
    let sizes = (0..).map_while(|number| std::fs::metadata(file(number)).ok());
    sizes.map(|facts| facts.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_known_by_the_line_that_announces_it() {
        let tables = [
            (&b"public.t"[..], 10),
            (b"a\"b.c d", 20),
            (LARGE_OBJECTS, 30),
        ];
        let tables: HashMap<Vec<u8>, u64> = tables.map(|(name, size)| (name.into(), size)).into();
        let sizes = Sizes {
            total: 60,
            tables: Rc::new(tables),
            by_oid: Rc::default(),
        };
        let announced = |line: &[u8]| match sizes.announced_in(line) {
            Some(Progress::Table(bytes)) => bytes as i64,
            Some(Progress::LargeObjects(bytes)) => -(bytes as i64),
            _ => -1,
        };
        let line = b"pg_dump: dumping contents of table \"public.t\"";
        assert_eq!(announced(line), 10);
        assert_eq!(
            announced(b"pg_dump: dumping contents of table \"a\"b.c d\""),
            20
        );
        assert_eq!(
            announced(b"pg_dump: dumping contents of table \"new.one\""),
            0
        );
        assert_eq!(announced(b"pg_dump: saving large objects"), -30);
        assert_eq!(announced(b"pg_dump: reading large objects"), -1);
    }
}
