//! The first indexes and constraints behind the rows, which need not wait for all of them: a session that finds no more rows
//! to load makes those whose tables are loaded, as pg_restore -j does it (pg_backup_archiver.c, repoint_table_dependencies).
//!
//! Unlike there, an index that needs anything but its table waits for all rows: a function that it calls may read others.

use std::collections::{BTreeSet, HashMap, HashSet};

use archive::dump::{Entry, Listed, Toc};
use memchr::memmem;

use super::beside::is_beside;
use super::directory::listed;
use super::entry::{is_rows, Entries};
use super::pieces::{is_index, locks_of, Needs, Piece, Settings, Work};
use super::words::Wording;
use super::Loading;
use crate::error::Result;
use crate::restore::target::statements::split;

/// What may stand among the rows and the first indexes, and has its turn later: no index is made with it.
const AMONG: [&str; 5] = [
    "BLOB METADATA",
    "COMMENT",
    "INDEX ATTACH",
    "SECURITY LABEL",
    "STATISTICS DATA",
];

/// The first row ([`super::pieces`]), as far as it is known before the rows are there.
#[derive(Default)]
pub(super) struct FirstRow {
    settings: Settings,
    pieces: Vec<Piece>,
    is_over: bool,
}

impl FirstRow {
    /// Of what is in `order`, from the first rows on, which are the next entry. Nothing where pieces have no rows.
    pub async fn of(
        loading: &Loading<'_>,
        entries: &Entries<'_>,
        (toc, order): (&Toc, &[&Entry]),
        mut wording: Wording,
    ) -> Result<FirstRow> {
        let mut row = FirstRow::default();
        if !entries.has_pieces(loading) || loading.part.is_some() {
            return Ok(row);
        }
        let rows = Rows::of(toc, (entries.next..).zip(order.iter().copied()));
        let is_missing = |number: &u64| *number >= entries.done && !entries.loaded.contains(number);
        if !rows.all.iter().any(is_missing) {
            return Ok(row);
        }
        row.settings = Settings::of(entries.session()).await?;
        for (number, entry) in (entries.next..).zip(order) {
            let listed = listed(entry);
            let text = wording.of(toc, entry);
            let text = text.map_err(|why| entries.misfit(Some(&listed), why))?;
            row.take(number, &listed, &text, || rows.needs(entry, &text));
            if row.is_over {
                break;
            }
        }
        Ok(row)
    }

    fn take(&mut self, number: u64, entry: &Listed, text: &[u8], needs: impl Fn() -> Needs) {
        let is_of_row = is_rows(entry)
            || is_index(entry)
            || AMONG.iter().any(|kind| kind.as_bytes() == entry.kind);
        let parts = split(text).ok().filter(|_| is_of_row);
        let Some(parts) = parts.filter(|parts| parts.iter().all(|part| part.is_plain)) else {
            self.is_over = true;
            return;
        };
        let before = self.settings.pass(&parts);
        if is_index(entry) {
            self.pieces.push(Piece {
                number,
                entry: entry.clone(),
                line: 0,
                text: text.to_vec(),
                before,
                locks: locks_of(entry, text),
                needs: needs(),
                is_last: false,
            });
        }
    }

    /// What no earlier run has made of it, while the rows of these entries are missing.
    pub fn work(&self, entries: &Entries<'_>, missing: BTreeSet<u64>) -> Work<'_> {
        let is_to_make = |piece: &&Piece| {
            piece.number >= entries.done && !entries.loaded.contains(&piece.number)
        };
        Work::new(self.pieces.iter().filter(is_to_make).collect(), missing)
    }
}

/// The rows of a dump.
struct Rows {
    all: Vec<u64>,
    /// By what they depend on: their tables.
    by_table: HashMap<i32, Vec<u64>>,
    tables: HashSet<i32>,
    /// Those of one table may get into another.
    are_routed: bool,
}

impl Rows {
    fn of<'e>(toc: &Toc, order: impl Iterator<Item = (u64, &'e Entry)>) -> Rows {
        let is_table = |entry: &&Entry| entry.kind == b"TABLE";
        let tables = toc.entries.iter().filter(is_table);
        let mut rows = Rows {
            all: Vec::new(),
            by_table: HashMap::new(),
            tables: tables.map(|entry| entry.dump_id).collect(),
            are_routed: false,
        };
        for (number, entry) in order.filter(|(_, entry)| is_beside(&listed(entry))) {
            rows.all.push(number);
            rows.are_routed |= entry.copy_statement.starts_with(b"--");
            for id in &entry.dependencies {
                rows.by_table.entry(*id).or_default().push(number);
            }
        }
        rows
    }

    /// Those that an index needs: its table's, if it needs nothing else. A function, or what an extension brings, may read other
    /// tables; of an exclusion constraint it is not known which functions it calls.
    fn needs(&self, index: &Entry, text: &[u8]) -> Needs {
        let ids = &index.dependencies;
        let is_of_tables = ids.iter().all(|id| self.tables.contains(id));
        if !is_of_tables || self.are_routed || memmem::find(text, b" EXCLUDE ").is_some() {
            return Needs::All;
        }
        let own = ids.iter().filter_map(|id| self.by_table.get(id));
        let own: Vec<u64> = own.flatten().copied().collect();
        if own.is_empty() {
            // That of partitions.
            Needs::All
        } else {
            Needs::These(own)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(dump_id: i32, kind: &str, dependencies: &[i32]) -> Entry {
        Entry {
            dump_id,
            kind: kind.into(),
            dependencies: dependencies.to_vec(),
            has_data: kind == "TABLE DATA",
            ..Entry::default()
        }
    }

    #[test]
    fn an_index_needs_the_rows_of_its_table_and_one_of_anything_else_all() {
        let mut toc = Toc {
            entries: vec![
                entry(10, "TABLE", &[]),
                entry(11, "TABLE", &[]),
                entry(12, "TABLE", &[]),
                entry(13, "FUNCTION", &[]),
                entry(20, "TABLE DATA", &[10]),
                entry(21, "TABLE DATA", &[11]),
            ],
        };
        let of = |toc: &Toc, dependencies: &[i32], text: &str| {
            let order = (5..).zip(&toc.entries[4..]);
            let index = entry(30, "INDEX", dependencies);
            Rows::of(toc, order).needs(&index, text.as_bytes())
        };
        assert_eq!(of(&toc, &[10], "CREATE INDEX"), Needs::These(vec![5]));
        assert_eq!(of(&toc, &[11], "CREATE INDEX"), Needs::These(vec![6]));
        assert_eq!(of(&toc, &[11], "ADD EXCLUDE USING"), Needs::All);
        assert_eq!(of(&toc, &[10, 13], "CREATE INDEX"), Needs::All);
        assert_eq!(of(&toc, &[12], "CREATE INDEX"), Needs::All);
        toc.entries[5].copy_statement = b"-- load via partition root public.p\nCOPY".to_vec();
        assert_eq!(of(&toc, &[10], "CREATE INDEX"), Needs::All);
    }

    #[test]
    fn the_row_ends_with_what_is_something_else() {
        let mut row = FirstRow::default();
        let listed = |kind: &str| Listed {
            kind: kind.into(),
            ..Listed::default()
        };
        let set = b"SET default_tablespace = s;\n\nCREATE INDEX i ON t (a);\n";
        row.take(1, &listed("SEQUENCE SET"), b"SELECT 1;\n", || Needs::All);
        row.take(2, &listed("INDEX"), set, || Needs::All);
        row.take(
            3,
            &listed("COMMENT"),
            b"COMMENT ON INDEX i IS 'x';\n",
            || Needs::All,
        );
        row.take(
            4,
            &listed("CONSTRAINT"),
            b"ALTER TABLE t ADD UNIQUE (a);\n",
            || Needs::All,
        );
        assert!(!row.is_over);
        row.take(5, &listed("TRIGGER"), b"CREATE TRIGGER x;\n", || Needs::All);
        assert!(row.is_over);
        let numbers: Vec<u64> = row.pieces.iter().map(|piece| piece.number).collect();
        assert_eq!(numbers, [2, 4]);
        assert_eq!(row.pieces[0].before, Settings::default());
        assert_ne!(row.pieces[1].before, row.pieces[0].before);
    }
}
