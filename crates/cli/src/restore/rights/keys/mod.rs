//! Foreign keys, set aside while rows are made: their triggers cannot be disabled by a role that is not a superuser.
//!
//! A key is read from the catalogs as soon as it is there, and dropped. It is kept by the OIDs and numbers of its tables and
//! columns, so that it follows whatever becomes of their names; changes of the key itself are applied to what is kept.
//! At the end it is made again, the keys of partitions before those of the partitioned tables, which take them over.

mod change;
mod kept;

use serde::{Deserialize, Serialize};
use tokio_postgres::types::{ToSql, Type};

use super::refusal::is_orphan;
use crate::connection::{Raw, Session};
use crate::error::Result;
use crate::quote::shown;
use crate::restore::deferred::is_of_statement;
use change::{detached_in, subject, Change, What};
use kept::{kept, Kept, FOUND};

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

/// The numbers of the columns of the same names in another table.
const SAME_COLUMNS: &str = "SELECT coalesce(array_agg(o.attnum ORDER BY n), '{}') FROM unnest($3::int2[]) WITH ORDINALITY AS u (number, n) \
    JOIN pg_attribute AS a ON a.attrelid = $1 AND a.attnum = number \
    JOIN pg_attribute AS o ON o.attrelid = $2 AND o.attname = a.attname AND NOT o.attisdropped";

/// A key that is not as at the source.
pub struct Odd {
    pub sentence: String,
    /// The statement that failed.
    pub sql: Vec<u8>,
    /// It is NOT VALID.
    pub is_there: bool,
}

/// What is set aside.
#[derive(Debug, Default, Serialize, Deserialize)]
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

    /// Those that were made at an end which was none: they are set aside once more. `made` were kept before that.
    pub async fn take_again(&mut self, session: &Session, made: Keys) -> Result<()> {
        let before = self.kept.len();
        self.take(session, None).await?;
        for again in &mut self.kept[before..] {
            let is_it = |kept: &&Kept| (kept.table, &kept.name) == (again.table, &again.name);
            if let Some(kept) = made.kept.iter().find(is_it) {
                again.source = kept.source;
                again.is_valid |= kept.is_valid;
            }
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

    /// Makes them again, in the transaction that is open; those that are not as at the source.
    pub async fn make(self, session: &Session) -> Result<Vec<Odd>> {
        let mut worded = Vec::new();
        for kept in &self.kept {
            worded.extend(kept.words(session).await?);
        }
        worded.sort_by_key(|words| std::cmp::Reverse(words.depth));
        let mut odd = Vec::new();
        for words in worded {
            let made = session.attempt(&words.add).await;
            let odd_one = match made {
                Ok(_) => None,
                Err(error) if is_orphan(&error) && words.can_wait => {
                    session
                        .statement(&[&words.add[..], b" NOT VALID"].concat())
                        .await?;
                    Some((format!("{}, which is NOT VALID: {error}", words.what), true))
                }
                Err(error) if is_of_statement(&error) => {
                    let sql = shown(&words.add);
                    let what = &words.what;
                    let sentence = format!("{what}, which is not there: {error}: {sql};");
                    Some((sentence, false))
                }
                // The same command line makes it again.
                Err(error) => return Err(error),
            };
            if let Some(comment) = &words.comment {
                // The key may not be there.
                let _ = session.attempt(comment).await;
            }
            odd.extend(odd_one.map(|(sentence, is_there)| Odd {
                sentence,
                sql: words.add,
                is_there,
            }));
        }
        for sql in self.late {
            if let Err(error) = session.attempt(&sql).await {
                let sentence = format!("{}: {error}", shown(&sql));
                odd.push(Odd {
                    sentence,
                    sql,
                    is_there: true,
                });
            }
        }
        Ok(odd)
    }
}
