//! Rows per table, as the files say: those of the base, and what each change adds and takes away. At the end every table
//! must have as many.
//!
//! The numbers are kept in the target by the table's OID, in the transaction of the rows: a rename changes nothing, and of
//! a table that is dropped nobody asks.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::iter;

use archive_query::history::statement::truncated;
use futures_util::future::try_join_all;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::Client;

use crate::connection::{Raw, Session};
use crate::error::{Error, Result};
use crate::quote::{array, readable, shown};
use crate::restore::part::Wanted;
use crate::restore::progress::sql;

/// Adds to the numbers of tables.
const ADD: &str = "INSERT INTO incr_restore.counts AS c \
    SELECT to_regclass(name)::oid, $3, sum(more) FROM unnest($1, $2) AS n (name, more) \
    WHERE to_regclass(name) IS NOT NULL GROUP BY 1 \
    ON CONFLICT (relation, lane) DO UPDATE SET rows = c.rows + EXCLUDED.rows";

/// Tables, and their partitions, have no rows.
const CLEAR: &str = "UPDATE incr_restore.counts SET rows = 0 WHERE relation IN (\
        SELECT to_regclass(name)::oid FROM unnest($1) AS n (name) \
        UNION ALL SELECT relid FROM unnest($1) AS n (name), pg_partition_tree(to_regclass(name)))";

/// Tables with their numbers: the name in SQL and for a message, what they must have. Where rows came by the root of
/// partitions, nobody knows in which they are: the root is one table with them.
const EXPECTED: &str = "WITH roots AS (SELECT relation FROM incr_restore.counts JOIN pg_class AS c ON c.oid = relation \
        WHERE relkind = 'p' AND rows <> 0), \
    places AS (SELECT c.oid, coalesce((SELECT relation FROM roots, pg_partition_ancestors(c.oid) AS a (relid) \
            WHERE relation = a.relid LIMIT 1), c.oid) AS place FROM pg_class AS c \
        WHERE relkind IN ('r', 'p') AND relpersistence <> 't' AND relnamespace <> 'incr_restore'::regnamespace \
            AND relnamespace <> 'pg_catalog'::regnamespace AND relnamespace <> 'information_schema'::regnamespace \
            AND relnamespace <> 'pg_toast'::regnamespace \
            AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')) \
    SELECT convert_to(format(CASE relkind WHEN 'p' THEN '%I.%I' ELSE 'ONLY %I.%I' END, nspname, relname), \
            current_setting('client_encoding')), \
        textsend(format('%I.%I', nspname, relname)), coalesce(sum(rows), 0)::bigint \
    FROM places AS p LEFT JOIN incr_restore.counts ON relation = p.oid \
    JOIN pg_class AS c ON c.oid = place JOIN pg_namespace AS n ON n.oid = relnamespace \
    WHERE relkind = 'r' OR place IN (SELECT relation FROM roots) \
    GROUP BY place, relkind, nspname, relname ORDER BY nspname, relname";

/// The comparison at the end.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Compared {
    pub tables: u64,
    pub rows: u64,
    /// A sentence for each table with another number of rows.
    pub differences: Vec<String>,
    /// Why nothing is compared.
    pub not_compared: Option<String>,
}

/// The numbers that are not in the target yet.
#[derive(Debug, Default)]
pub struct Counts {
    changes: HashMap<Vec<u8>, i64>,
    /// The table of the last change, and its number: most changes are of the same.
    last: Vec<u8>,
    last_change: i64,
    /// Why the files do not say it.
    unknown: Option<String>,
    has_new_reason: bool,
    /// Whose rows they are: sessions that work at the same time have numbers of their own, so that none waits for
    /// another.
    lane: i32,
}

impl Counts {
    /// `unknown`: why an earlier run could not count; [`Some`] for `--no-count`.
    pub fn new(unknown: Option<String>) -> Counts {
        Counts {
            unknown,
            ..Counts::default()
        }
    }

    /// Those of the session with this number, beside these; 0 is the restore's own.
    pub fn beside(&self, lane: i32) -> Counts {
        Counts {
            unknown: self.unknown.clone(),
            lane,
            ..Counts::default()
        }
    }

    /// Of the session that they are of.
    pub fn lane(&self) -> i32 {
        self.lane
    }

    /// What follows is not in the files row by row.
    pub fn give_up(&mut self, why: &str) {
        if self.unknown.is_none() {
            self.unknown = Some(why.to_owned());
            self.has_new_reason = true;
            self.changes.clear();
            (self.last_change, self.last) = (0, Vec::new());
        }
    }

    /// Keeps the reason if it is new.
    pub fn keep(&mut self) -> Option<String> {
        std::mem::take(&mut self.has_new_reason).then(|| sql::keep("uncounted", &self.unknown))
    }

    /// A change of one row.
    pub fn note(&mut self, text: &[u8]) {
        if let Some(rest) = text.strip_prefix(b"INSERT INTO ") {
            self.add(name(rest), 1);
        } else if let Some(rest) = text.strip_prefix(b"DELETE FROM ") {
            let rest = rest.strip_prefix(b"ONLY ").unwrap_or(rest);
            self.add(name(rest), -1);
        }
    }

    /// So many rows of a COPY block.
    pub fn add_copied(&mut self, copy: &[u8], rows: u64) {
        if let Some(rest) = copy.strip_prefix(b"COPY ") {
            self.add(name(rest), i64::try_from(rows).unwrap_or(i64::MAX));
        }
    }

    /// So many rows more in a table.
    pub fn add(&mut self, table: &[u8], rows: i64) {
        if self.unknown.is_some() {
            return;
        }
        if self.last != table {
            self.store_last();
            self.last = table.to_vec();
        }
        self.last_change += rows;
    }

    fn store_last(&mut self) {
        let change = std::mem::take(&mut self.last_change);
        if change != 0 {
            let last = std::mem::take(&mut self.last);
            *self.changes.entry(last).or_default() += change;
        }
    }

    /// Puts the numbers into the target, in the transaction of the rows, and before names change.
    pub async fn flush(&mut self, session: &Session) -> Result<()> {
        Ok(self.flush_by(&session.client).await?)
    }

    /// The same, by a client alone.
    pub async fn flush_by(
        &mut self,
        client: &Client,
    ) -> std::result::Result<(), tokio_postgres::Error> {
        self.store_last();
        if self.changes.is_empty() {
            return Ok(());
        }
        let (tables, rows): (Vec<Vec<u8>>, Vec<i64>) = self.changes.drain().unzip();
        let tables: Vec<_> = tables.iter().map(|table| readable(table)).collect();
        let tables = array(&tables);
        let values: [(&(dyn ToSql + Sync), Type); 3] = [
            (&Raw(&tables), Type::TEXT_ARRAY),
            (&rows, Type::INT8_ARRAY),
            (&self.lane, Type::INT4),
        ];
        client.query_typed(ADD, &values).await?;
        Ok(())
    }

    /// A TRUNCATE statement is executed; that of a REWRITE has one table.
    pub async fn clear(&mut self, session: &Session, statement: &[u8]) -> Result<()> {
        self.flush(session).await?;
        let tables = truncated(statement).unwrap_or_default();
        let tables: Vec<_> = tables.iter().map(|table| readable(table)).collect();
        let tables = array(&tables);
        let tables = (&Raw(&tables) as &(dyn ToSql + Sync), Type::TEXT_ARRAY);
        session.client.query_typed(CLEAR, &[tables]).await?;
        Ok(())
    }

    /// Counts what is there: one scan of each table, or of each of a part, by `session` and those beside it.
    pub async fn compare(
        &self,
        session: &Session,
        beside: &[Session],
        part: Option<&Wanted>,
    ) -> Result<Compared> {
        let mut compared = Compared {
            not_compared: self.unknown.clone(),
            ..Compared::default()
        };
        if self.unknown.is_some() {
            return Ok(compared);
        }
        let mut tables = session.client.query_typed(EXPECTED, &[]).await?;
        tables.retain(|row| part.is_none_or(|part| part.has_at_end(row.get(1))));
        let next = Cell::new(0);
        // Of a session that was idle for too long, and is gone.
        let left = RefCell::new(Vec::new());
        let all = iter::once(session).chain(beside);
        let counted = try_join_all(all.map(|own| async {
            let mut counted = Vec::new();
            while let Some(row) = tables.get(next.replace(next.get() + 1)) {
                match rows_of(own, row.get(0)).await {
                    Err(_) if own.client.is_closed() && !std::ptr::eq(own, session) => {
                        left.borrow_mut().push(row);
                        break;
                    }
                    count => counted.push((row, count?)),
                }
            }
            Ok::<_, Error>(counted)
        }));
        let mut counted = counted.await?.concat();
        for row in left.into_inner() {
            counted.push((row, rows_of(session, row.get(0)).await?));
        }
        counted.sort_by_key(|(row, _)| row.get::<_, &[u8]>(1));
        for (row, count) in counted {
            let (name, expected): (&[u8], i64) = (row.get(1), row.get(2));
            compared.tables += 1;
            compared.rows += u64::try_from(count).unwrap_or(0);
            if count != expected {
                let table = shown(name);
                compared.differences.push(format!(
                    "{table} has {count} rows, and {expected} by the files"
                ));
            }
        }
        Ok(compared)
    }
}

/// How many rows a table has.
async fn rows_of(session: &Session, table: &[u8]) -> Result<i64> {
    let query = [b"SELECT * FROM (SELECT count(*) FROM ", table, b") AS c"].concat();
    count(session, &query).await
}

/// The number that a query in any encoding gives.
async fn count(session: &Session, query: &[u8]) -> Result<i64> {
    // The client sends no other text than UTF-8 as a statement.
    let plain = std::str::from_utf8(query).ok();
    if let Some(query) = plain.filter(|query| session.is_utf8() || query.is_ascii()) {
        return Ok(session.client.query_typed(query, &[]).await?[0].get(0));
    }
    let cursor = [b"DECLARE pg_incrbackup_count CURSOR WITH HOLD FOR ", query].concat();
    session.statement(&cursor).await?;
    let fetch = "FETCH FROM pg_incrbackup_count";
    let rows = session.client.simple_query(fetch).await?;
    session
        .client
        .batch_execute("CLOSE pg_incrbackup_count")
        .await?;
    let count = rows.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    });
    Ok(count.unwrap_or(-1))
}

/// The name at the beginning, up to a space outside of quotes.
fn name(text: &[u8]) -> &[u8] {
    let mut is_quoted = false;
    let end = text.iter().position(|byte| {
        is_quoted ^= *byte == b'"';
        matches!(byte, b' ' | b';') && !is_quoted
    });
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(lines: &[&str]) -> Vec<(String, i64)> {
        let mut counts = Counts::new(None);
        lines.iter().for_each(|line| counts.note(line.as_bytes()));
        counts.store_last();
        let changes = counts.changes.into_iter();
        let mut changes: Vec<_> = changes
            .map(|(table, rows)| (String::from_utf8_lossy(&table).into_owned(), rows))
            .collect();
        changes.sort();
        changes
    }

    #[test]
    fn every_change_of_a_row_counts_for_its_table() {
        let changes = noted(&[
            "INSERT INTO public.a (id) VALUES (1);",
            "INSERT INTO public.\"b (\" DEFAULT VALUES;",
            "INSERT INTO public.a (id) VALUES (2);",
            "UPDATE public.a SET id = 3 WHERE id = 2;",
            "DELETE FROM ONLY public.\"b (\" WHERE true;",
            "DELETE FROM public.c WHERE ctid = (SELECT ctid FROM public.c LIMIT 1);",
            "INSERT INTO public.a (id) VALUES (4);",
            "SELECT pg_catalog.setval('public.s', 33, true);",
        ]);
        let expected = [("public.\"b (\"", 0), ("public.a", 3), ("public.c", -1)];
        let expected = expected.map(|(table, rows)| (table.to_owned(), rows));
        assert_eq!(changes, expected);
    }

    #[test]
    fn all_tables_of_a_truncate_are_found() {
        let tables = truncated(b"TRUNCATE ONLY public.a, \"x, y\".\"b;\", public.c CASCADE;")
            .unwrap_or_default();
        assert_eq!(tables, [&b"public.a"[..], b"\"x, y\".\"b;\"", b"public.c"]);
        assert_eq!(
            truncated(b"TRUNCATE ONLY t; EXCEPTION WHEN").unwrap_or_default(),
            [b"t"]
        );
    }
}
