//! Foreign keys, set aside while rows are made: their triggers cannot be disabled by a role that is not a superuser.
//!
//! A key is read from the catalogs as soon as it is there, and dropped. It is kept by the OIDs and numbers of its tables and
//! columns, so that it follows whatever becomes of their names; changes of the key itself are applied to what is kept.
//! At the end it is made again, the keys of partitions before those of the partitioned tables, which take them over.

use serde::{Deserialize, Serialize};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::Row;

use super::refusal::is_orphan;
use super::tokens::{tokens, Token};
use crate::connection::{Raw, Session};
use crate::error::Result;
use crate::quote::{ident, shown};

/// A key that was just made, with what the catalogs do not say of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// As in SQL, and the name.
    table: Vec<u8>,
    name: Vec<u8>,
    /// OID at the source; 0 if it is not known.
    source: u32,
    /// It is NOT VALID here, but not at the source.
    is_valid: bool,
}

impl Noted {
    /// Of `ALTER TABLE [ONLY] a.b ADD CONSTRAINT c FOREIGN KEY …`.
    pub fn of(statement: &[u8], source: u32, is_valid: bool) -> Option<Noted> {
        let (table, words, at) = subject(statement)?;
        let is = |at: usize, word: &str| words.get(at).is_some_and(|it| it.is(statement, word));
        let is_it = is(at, "ADD") && is(at + 1, "CONSTRAINT");
        let name = words.get(at + 2)?.name(statement)?;
        is_it.then_some(Noted {
            table,
            name,
            source,
            is_valid,
        })
    }
}

/// The table of `ALTER TABLE [IF EXISTS] [ONLY] a.b …`, all tokens, and where the rest begins.
fn subject(statement: &[u8]) -> Option<(Vec<u8>, Vec<Token>, usize)> {
    let words = tokens(statement)?;
    let is = |at: usize, word: &str| words.get(at).is_some_and(|it| it.is(statement, word));
    if !is(0, "ALTER") || !is(1, "TABLE") {
        return None;
    }
    let first = if is(2, "ONLY") { 3 } else { 2 };
    let mut last = first;
    while words.get(last + 1)?.is_mark(b'.') {
        last += 2;
    }
    let place = words.get(first)?.place.start..words.get(last)?.place.end;
    Some((statement[place].to_vec(), words, last + 1))
}

/// All that pg_constraint says of a key.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    source: u32,
    table: u32,
    refers_to: u32,
    columns: Vec<i16>,
    refers_columns: Vec<i16>,
    matches: String,
    on_update: String,
    on_delete: String,
    deleted_columns: Vec<i16>,
    is_deferrable: bool,
    is_deferred: bool,
    is_valid: bool,
    is_enforced: bool,
    is_period: bool,
    name: Vec<u8>,
    comment: Option<Vec<u8>>,
}

const FOUND: &str = "SELECT conrelid, confrelid, conkey, confkey, confmatchtype::text, confupdtype::text, confdeltype::text, \
    coalesce(confdelsetcols, '{}'), condeferrable, condeferred, convalidated, \
    coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true), coalesce((to_jsonb(c) ->> 'conperiod')::boolean, false), \
    textsend(conname::text), textsend(obj_description(oid, 'pg_constraint')), \
    convert_to(format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname), current_setting('client_encoding')) \
    FROM pg_constraint AS c WHERE contype = 'f' AND conparentid = 0 ORDER BY oid";

/// Its tables and columns by their names of now, as far as they are there; how deep its table is among partitions.
const WORDS: &str = "WITH names AS (SELECT t.what, \
        string_agg(quote_ident(attname), ', ' ORDER BY n) AS list, count(attname) AS count \
    FROM (VALUES ('a', $1::oid, $2::int2[]), ('b', $3, $4), ('c', $1, $5)) AS t (what, relation, numbers) \
    CROSS JOIN unnest(numbers) WITH ORDINALITY AS u (number, n) \
    LEFT JOIN pg_attribute ON attrelid = relation AND attnum = number AND NOT attisdropped GROUP BY what) \
    SELECT r.relkind = 'p', format('%I.%I', rn.nspname, r.relname), format('%I.%I', fn.nspname, f.relname), \
        (SELECT list FROM names WHERE what = 'a' AND count = cardinality($2)), \
        (SELECT list FROM names WHERE what = 'b' AND count = cardinality($4)), \
        (SELECT list FROM names WHERE what = 'c'), (SELECT count(*) FROM pg_partition_ancestors(r.oid)) \
    FROM pg_class AS r JOIN pg_namespace AS rn ON rn.oid = r.relnamespace, \
        pg_class AS f JOIN pg_namespace AS fn ON fn.oid = f.relnamespace WHERE r.oid = $1 AND f.oid = $3";

/// The numbers of the columns of the same names in another table.
const SAME_COLUMNS: &str = "SELECT coalesce(array_agg(o.attnum ORDER BY n), '{}') FROM unnest($3::int2[]) WITH ORDINALITY AS u (number, n) \
    JOIN pg_attribute AS a ON a.attrelid = $1 AND a.attnum = number \
    JOIN pg_attribute AS o ON o.attrelid = $2 AND o.attname = a.attname AND NOT o.attisdropped";

/// What is set aside.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Keys {
    kept: Vec<Kept>,
    noted: Vec<Noted>,
    /// Changes of keys that partitions get from partitioned tables: for the end.
    late: Vec<Vec<u8>>,
}

impl Keys {
    /// `noted` were made with the base.
    pub fn new(noted: Vec<Noted>) -> Keys {
        Keys {
            noted,
            ..Keys::default()
        }
    }

    /// Sets all aside that are there. `made` is what was just executed, and the OID of the key at the source if it made
    /// one.
    pub async fn take(&mut self, session: &Session, made: Option<Noted>) -> Result<()> {
        self.noted.extend(made);
        let rows = session.client.query_typed(FOUND, &[]).await?;
        let noted = std::mem::take(&mut self.noted);
        let mut known = Vec::new();
        for noted in noted {
            let table = session.oid_of_relation(&noted.table).await?;
            known.extend(table.map(|table| ((table, noted.name.clone()), noted)));
        }
        for row in rows {
            let mut kept = kept(&row);
            let is_it =
                |(key, _): &&((u32, Vec<u8>), Noted)| *key == (kept.table, kept.name.clone());
            if let Some((_, noted)) = known.iter().find(is_it) {
                kept.source = noted.source;
                kept.is_valid |= noted.is_valid;
            }
            let drop: &[u8] = row.get(15);
            session.statement(drop).await?;
            self.kept.push(kept);
        }
        Ok(())
    }

    /// Applies a change to what is kept: true if it was about a key that is. Others are executed as they are, now or, where
    /// a key is made with that of a partitioned table, at the end.
    pub async fn change(
        &mut self,
        session: &Session,
        oid: u32,
        verb: &str,
        statement: &[u8],
    ) -> Result<bool> {
        if statement.starts_with(b"DO ") {
            self.late.push(statement.to_vec());
            return Ok(true);
        }
        if verb == "create" {
            return Ok(false);
        }
        let Some(change) = Change::of(verb, statement) else {
            return Ok(false);
        };
        let at = self
            .kept
            .iter()
            .position(|kept| oid != 0 && kept.source == oid);
        let at = match at {
            Some(at) => Some(at),
            None => {
                let table = session.oid_of_relation(&change.table).await?;
                let is_it = |kept: &Kept| Some(kept.table) == table && kept.name == change.name;
                self.kept.iter().position(is_it)
            }
        };
        let Some(at) = at else {
            return self.is_late(session, &change, statement).await;
        };
        if change.what == What::Dropped {
            self.kept.remove(at);
        } else {
            change.what.apply(&mut self.kept[at]);
        }
        Ok(true)
    }

    /// Whether a constraint is not there yet.
    async fn is_late(
        &mut self,
        session: &Session,
        change: &Change,
        statement: &[u8],
    ) -> Result<bool> {
        const IS_THERE: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint \
            WHERE conrelid = pg_catalog.to_regclass($1)::pg_catalog.oid AND conname = $2)";
        let values: [(&(dyn ToSql + Sync), Type); 2] = [
            (&Raw(&change.table), Type::TEXT),
            (&Raw(&change.name), Type::NAME),
        ];
        let rows = session.client.query_typed(IS_THERE, &values).await?;
        let is_there: bool = rows[0].get(0);
        if !is_there {
            self.late.push(statement.to_vec());
        }
        Ok(!is_there)
    }

    /// A partition that was detached keeps the keys that its parents have.
    pub async fn detached(&mut self, session: &Session, statement: &[u8]) -> Result<()> {
        const ANCESTORS: &str = "SELECT relid::pg_catalog.oid FROM pg_catalog.pg_partition_ancestors(pg_catalog.to_regclass($1))";
        let Some((parent, child)) = detached_in(statement) else {
            return Ok(());
        };
        let Some(child) = session.oid_of_relation(&child).await? else {
            return Ok(());
        };
        let value: (&(dyn ToSql + Sync), Type) = (&Raw(&parent), Type::TEXT);
        let rows = session.client.query_typed(ANCESTORS, &[value]).await?;
        let parents: Vec<u32> = rows.iter().map(|row| row.get(0)).collect();
        let of_parents = self
            .kept
            .iter()
            .filter(|kept| parents.contains(&kept.table));
        let mut copies: Vec<Kept> = of_parents.cloned().collect();
        for copy in &mut copies {
            for numbers in [&mut copy.columns, &mut copy.deleted_columns] {
                let values: [(&(dyn ToSql + Sync), Type); 3] = [
                    (&copy.table, Type::OID),
                    (&child, Type::OID),
                    (&*numbers, Type::INT2_ARRAY),
                ];
                let rows = session.client.query_typed(SAME_COLUMNS, &values).await?;
                *numbers = rows[0].get(0);
            }
            (copy.table, copy.source, copy.comment) = (child, 0, None);
        }
        self.kept.extend(copies);
        Ok(())
    }

    /// Makes them again, in the transaction that is open; sentences about those that are not as at the source.
    pub async fn make(self, session: &Session) -> Result<Vec<String>> {
        let mut worded = Vec::new();
        for kept in &self.kept {
            worded.extend(kept.words(session).await?);
        }
        worded.sort_by_key(|words| std::cmp::Reverse(words.depth));
        let mut odd = Vec::new();
        for words in &worded {
            let made = session.attempt(&words.add).await;
            match made {
                Ok(_) => {}
                Err(error) if is_orphan(&error) && words.can_wait => {
                    session
                        .statement(&[&words.add[..], b" NOT VALID"].concat())
                        .await?;
                    odd.push(format!("{}, which is NOT VALID: {error}", words.what));
                }
                Err(error) => odd.push(format!("{}, which is not there: {error}", words.what)),
            }
            if let Some(comment) = &words.comment {
                let _ = session.attempt(comment).await;
            }
        }
        for statement in &self.late {
            if let Err(error) = session.attempt(statement).await {
                odd.push(format!("{}: {error}", shown(statement)));
            }
        }
        Ok(odd)
    }
}

fn kept(row: &Row) -> Kept {
    Kept {
        source: 0,
        table: row.get(0),
        refers_to: row.get(1),
        columns: row.get(2),
        refers_columns: row.get(3),
        matches: row.get(4),
        on_update: row.get(5),
        on_delete: row.get(6),
        deleted_columns: row.get(7),
        is_deferrable: row.get(8),
        is_deferred: row.get(9),
        is_valid: row.get(10),
        is_enforced: row.get(11),
        is_period: row.get(12),
        name: row.get(13),
        comment: row.get(14),
    }
}

/// A key in words.
struct Words {
    what: String,
    add: Vec<u8>,
    comment: Option<Vec<u8>>,
    /// It can be NOT VALID, and is not.
    can_wait: bool,
    depth: i64,
}

impl Kept {
    /// `None` if a table or a column is not there any more: the source has dropped the key with it.
    async fn words(&self, session: &Session) -> Result<Option<Words>> {
        let values: [(&(dyn ToSql + Sync), Type); 5] = [
            (&self.table, Type::OID),
            (&self.columns, Type::INT2_ARRAY),
            (&self.refers_to, Type::OID),
            (&self.refers_columns, Type::INT2_ARRAY),
            (&self.deleted_columns, Type::INT2_ARRAY),
        ];
        let query = format!(
            "SELECT is_p, textsend(t), textsend(f), textsend(a), textsend(b), textsend(c), depth \
            FROM ({WORDS}) AS w (is_p, t, f, a, b, c, depth)"
        );
        let rows = session.client.query_typed(&query, &values).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let text = |at: usize| row.get::<_, Option<Vec<u8>>>(at);
        let (Some(table), Some(refers_to), Some(columns), Some(refers_columns)) =
            (text(1), text(2), text(3), text(4))
        else {
            return Ok(None);
        };
        let is_partitioned: bool = row.get(0);
        let period = |list: Vec<u8>| match list.windows(2).rposition(|two| two == b", ") {
            Some(at) if self.is_period => [&list[..at + 2], b"PERIOD ", &list[at + 2..]].concat(),
            _ => list,
        };
        let name = ident(&self.name);
        let only: &[u8] = if is_partitioned { b"" } else { b"ONLY " };
        let of = [only, &table[..]].concat();
        let mut add = [
            b"ALTER TABLE ",
            &of[..],
            b" ADD CONSTRAINT ",
            &name,
            b" FOREIGN KEY (",
        ]
        .concat();
        add.extend(period(columns));
        add.extend([b") REFERENCES ", &refers_to[..], b" ("].concat());
        add.extend(period(refers_columns));
        add.extend_from_slice(b")");
        add.extend(self.actions(text(5)));
        let is_waiting = self.is_enforced && !self.is_valid;
        if is_waiting {
            add.extend_from_slice(b" NOT VALID");
        }
        let comment = self.comment.as_ref().map(|comment| {
            let on = [
                b"COMMENT ON CONSTRAINT ",
                &name[..],
                b" ON ",
                &table,
                b" IS ",
            ]
            .concat();
            [&on[..], &crate::quote::literal(comment)].concat()
        });
        Ok(Some(Words {
            what: format!("FK CONSTRAINT {} {}", shown(&table), shown(&self.name)),
            can_wait: !is_partitioned && !is_waiting && self.is_enforced,
            add,
            comment,
            depth: row.get(6),
        }))
    }

    /// What follows the columns.
    fn actions(&self, deleted_columns: Option<Vec<u8>>) -> Vec<u8> {
        let mut text = Vec::new();
        if self.matches == "f" {
            text.extend_from_slice(b" MATCH FULL");
        }
        for (on, action) in [("UPDATE", &self.on_update), ("DELETE", &self.on_delete)] {
            let action = match action.as_str() {
                "r" => "RESTRICT",
                "c" => "CASCADE",
                "n" => "SET NULL",
                "d" => "SET DEFAULT",
                _ => continue,
            };
            text.extend(format!(" ON {on} {action}").into_bytes());
        }
        if let Some(columns) = deleted_columns {
            text.extend([b" (", &columns[..], b")"].concat());
        }
        if self.is_deferrable {
            text.extend_from_slice(b" DEFERRABLE");
        }
        if self.is_deferred {
            text.extend_from_slice(b" INITIALLY DEFERRED");
        }
        if !self.is_enforced {
            text.extend_from_slice(b" NOT ENFORCED");
        }
        text
    }
}

/// A change of a constraint.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    /// As in SQL, and the constraint's name before.
    table: Vec<u8>,
    name: Vec<u8>,
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Dropped,
    Renamed(Vec<u8>),
    Validated,
    /// DEFERRABLE, INITIALLY DEFERRED.
    Deferrable(bool, bool),
    Enforced(bool),
    Commented(Option<Vec<u8>>),
}

impl What {
    fn apply(self, kept: &mut Kept) {
        match self {
            What::Dropped => {}
            What::Renamed(name) => kept.name = name,
            What::Validated => kept.is_valid = true,
            What::Deferrable(deferrable, deferred) => {
                (kept.is_deferrable, kept.is_deferred) = (deferrable, deferred);
            }
            What::Enforced(is_enforced) => {
                (kept.is_enforced, kept.is_valid) = (is_enforced, is_enforced);
            }
            What::Commented(comment) => kept.comment = comment,
        }
    }
}

impl Change {
    fn of(verb: &str, text: &[u8]) -> Option<Change> {
        if verb == "comment" {
            return Change::comment(text);
        }
        let (table, words, at) = subject(text)?;
        let is = |at: usize, word: &str| words.get(at).is_some_and(|it| it.is(text, word));
        let last = words.last()?;
        let has = |word: &str| words[at..].iter().any(|it| it.is(text, word));
        let is_drop = is(at, "DROP");
        let name_at = if is_drop && is(at + 2, "IF") {
            at + 4
        } else {
            at + 2
        };
        let what = if is_drop {
            What::Dropped
        } else if is(at, "RENAME") {
            What::Renamed(last.name(text)?)
        } else if is(at, "VALIDATE") {
            What::Validated
        } else if is(at, "ALTER") && has("ENFORCED") {
            What::Enforced(!has("NOT"))
        } else if is(at, "ALTER") && has("DEFERRABLE") {
            What::Deferrable(!has("NOT"), has("DEFERRED"))
        } else {
            return None;
        };
        let name = words.get(name_at)?.name(text)?;
        is(at + 1, "CONSTRAINT").then_some(Change { table, name, what })
    }

    /// `COMMENT ON CONSTRAINT a ON b.c IS …`
    fn comment(text: &[u8]) -> Option<Change> {
        let words = tokens(text)?;
        let is = |at: usize, word: &str| words.get(at).is_some_and(|it| it.is(text, word));
        let is_it = is(0, "COMMENT") && is(2, "CONSTRAINT") && is(4, "ON");
        let said = words
            .iter()
            .position(|it| it.is(text, "IS"))
            .filter(|_| is_it)?;
        let table = text[words.get(5)?.place.start..words[said - 1].place.end].to_vec();
        let value = words.get(said + 1)?;
        Some(Change {
            table,
            name: words.get(3)?.name(text)?,
            what: What::Commented(value.constant(text)),
        })
    }
}

/// The parent and the partition of `ALTER TABLE a DETACH PARTITION b`.
fn detached_in(statement: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (parent, words, at) = subject(statement)?;
    let is = |at: usize, word: &str| words.get(at).is_some_and(|it| it.is(statement, word));
    if !is(at, "DETACH") || !is(at + 1, "PARTITION") {
        return None;
    }
    let mut last = at + 2;
    while words.get(last + 1).is_some_and(|it| it.is_mark(b'.')) {
        last += 2;
    }
    let child = words.get(at + 2)?.place.start..words.get(last)?.place.end;
    Some((parent, statement[child].to_vec()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_a_constraint_is_found_out() {
        for (verb, text, what) in [
            (
                "drop",
                "ALTER TABLE s.\"t t\" DROP CONSTRAINT \"k;\"",
                What::Dropped,
            ),
            (
                "drop",
                "ALTER TABLE s.\"t t\" DROP CONSTRAINT IF EXISTS \"k;\"",
                What::Dropped,
            ),
            (
                "rename",
                "ALTER TABLE s.\"t t\" RENAME CONSTRAINT \"k;\" TO \"n\"",
                What::Renamed(b"n".to_vec()),
            ),
            (
                "alter",
                "ALTER TABLE s.\"t t\" VALIDATE CONSTRAINT \"k;\"",
                What::Validated,
            ),
            (
                "alter",
                "ALTER TABLE s.\"t t\" ALTER CONSTRAINT \"k;\" DEFERRABLE INITIALLY DEFERRED",
                What::Deferrable(true, true),
            ),
            (
                "alter",
                "ALTER TABLE s.\"t t\" ALTER CONSTRAINT \"k;\" NOT DEFERRABLE",
                What::Deferrable(false, false),
            ),
            (
                "alter",
                "ALTER TABLE s.\"t t\" ALTER CONSTRAINT \"k;\" NOT ENFORCED",
                What::Enforced(false),
            ),
            (
                "comment",
                "COMMENT ON CONSTRAINT \"k;\" ON s.\"t t\" IS 'it''s'",
                What::Commented(Some(b"it's".to_vec())),
            ),
            (
                "comment",
                "COMMENT ON CONSTRAINT \"k;\" ON s.\"t t\" IS NULL",
                What::Commented(None),
            ),
        ] {
            let change = Change::of(verb, text.as_bytes()).unwrap();
            let expected = Change {
                table: b"s.\"t t\"".to_vec(),
                name: b"k;".to_vec(),
                what,
            };
            assert_eq!(change, expected, "{text}");
        }
        assert_eq!(Change::of("alter", b"ALTER TABLE a ENABLE TRIGGER b"), None);
    }

    #[test]
    fn a_key_is_known_by_its_table_and_its_name() {
        let text =
            b"ALTER TABLE ONLY a.b\n    ADD CONSTRAINT \"c c\" FOREIGN KEY (d) REFERENCES e(f)";
        let noted = Noted::of(text, 7, true).unwrap();
        assert_eq!(
            (&noted.table[..], &noted.name[..]),
            (&b"a.b"[..], &b"c c"[..])
        );
        assert_eq!(Noted::of(b"ALTER TABLE a.b ALTER c", 7, true), None);
        let detached = detached_in(b"ALTER TABLE a.b DETACH PARTITION \"c\".d").unwrap();
        assert_eq!(detached, (b"a.b".to_vec(), b"\"c\".d".to_vec()));
    }
}
