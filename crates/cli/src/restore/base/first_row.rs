//! The first indexes and constraints behind the rows, which need not wait for all of them: a session that finds no more rows
//! to load makes those whose tables are loaded, as pg_restore -j does it (pg_backup_archiver.c, repoint_table_dependencies).

use std::collections::BTreeSet;

use archive::dump::{Entry, Listed, Toc};

use super::beside::is_beside;
use super::directory::listed;
use super::entry::{is_rows, Entries};
use super::pieces::{is_index, locks_of, Piece, Settings, Work};
use super::plain::is_own;
use super::words::Wording;
use super::Loading;
use crate::error::Result;
use crate::restore::target::statements::split;

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
        row.settings = Settings::of(entries.session()).await?;
        let rows: Vec<(u64, &Entry)> = (entries.next..)
            .zip(order.iter().copied())
            .filter(|(_, entry)| is_beside(&listed(entry)))
            .collect();
        for (number, entry) in (entries.next..).zip(order) {
            let listed = listed(entry);
            let text = wording.of(toc, entry);
            let text = text.map_err(|why| entries.misfit(Some(&listed), why))?;
            row.take(number, &listed, &text, || needs(&rows, entry));
            if row.is_over {
                break;
            }
        }
        Ok(row)
    }

    fn take(
        &mut self,
        number: u64,
        entry: &Listed,
        text: &[u8],
        needs: impl Fn() -> BTreeSet<u64>,
    ) {
        let is_of_row = is_rows(entry)
            || is_index(entry)
            || matches!(entry.kind.as_slice(), b"COMMENT" | b"INDEX ATTACH");
        let parts = split(text).ok().filter(|_| is_of_row);
        let Some(parts) = parts.filter(|parts| parts.iter().all(|part| part.is_plain)) else {
            self.is_over = true;
            return;
        };
        let before = self.settings.clone();
        for part in parts.iter().filter(|part| is_own(&part.text)) {
            self.settings.take(&part.text);
        }
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

/// The entries whose rows are in the table of an index; all of them if it has none of its own (that of partitions).
fn needs(rows: &[(u64, &Entry)], index: &Entry) -> BTreeSet<u64> {
    let is_of_table = |(_, entry): &&(u64, &Entry)| {
        let tables = &index.dependencies;
        entry.dependencies.iter().any(|id| tables.contains(id))
    };
    let own: BTreeSet<u64> = rows
        .iter()
        .filter(is_of_table)
        .map(|(number, _)| *number)
        .collect();
    if own.is_empty() {
        return rows.iter().map(|(number, _)| *number).collect();
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: &str, dependencies: &[i32]) -> Entry {
        Entry {
            kind: kind.into(),
            dependencies: dependencies.to_vec(),
            ..Entry::default()
        }
    }

    #[test]
    fn an_index_needs_the_rows_of_its_table_and_one_of_partitions_all() {
        let (a, b) = (entry("TABLE DATA", &[10]), entry("TABLE DATA", &[11, 12]));
        let rows = [(5, &a), (6, &b)];
        let of = |dependencies: &[i32]| {
            let found = needs(&rows, &entry("INDEX", dependencies));
            found.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(of(&[10]), [5]);
        assert_eq!(of(&[3, 12]), [6]);
        assert_eq!(of(&[13]), [5, 6]);
    }

    #[test]
    fn the_row_ends_with_what_is_something_else() {
        let mut row = FirstRow::default();
        let listed = |kind: &str| Listed {
            kind: kind.into(),
            ..Listed::default()
        };
        let set = b"SET default_tablespace = s;\n\nCREATE INDEX i ON t (a);\n";
        row.take(1, &listed("SEQUENCE SET"), b"SELECT 1;\n", BTreeSet::new);
        row.take(2, &listed("INDEX"), set, BTreeSet::new);
        row.take(
            3,
            &listed("COMMENT"),
            b"COMMENT ON INDEX i IS 'x';\n",
            BTreeSet::new,
        );
        row.take(
            4,
            &listed("CONSTRAINT"),
            b"ALTER TABLE t ADD UNIQUE (a);\n",
            BTreeSet::new,
        );
        assert!(!row.is_over);
        row.take(5, &listed("TRIGGER"), b"CREATE TRIGGER x;\n", BTreeSet::new);
        assert!(row.is_over);
        let numbers: Vec<u64> = row.pieces.iter().map(|piece| piece.number).collect();
        assert_eq!(numbers, [2, 4]);
        assert_eq!(row.pieces[0].before, Settings::default());
        assert_ne!(row.pieces[1].before, row.pieces[0].before);
    }
}
