//! One pass through the files, with the keys searched for, and the effect of each row change on them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::found::{Hit, What};
use super::lines::{Lines, Transaction};
use super::literal::Value;
use super::names::Place;
use super::sessions::Sessions;
use super::statement::{self, Operation, Statement};

/// Maximum number of keys of one row.
pub const MOST_KEYS: usize = 100;

/// Values of the columns in question.
pub type RowKey = Vec<Value<'static>>;

/// One pass through the files with its keys.
pub struct Pass {
    pub keys: Vec<RowKey>,
    /// The first key is searched everywhere, the others while their row exists.
    pub is_first: bool,
    /// Not after this position.
    pub end: Place,
    pub hits: BTreeMap<Place, Hit>,
    /// Where a row got one of the keys by an UPDATE, and its previous key.
    pub arrivals: Vec<(Place, RowKey)>,
    /// The start of the last row with the key, for a backward pass.
    pub birth: Option<Place>,
    pub unfollowed: u64,
    pub undecided: u64,
    /// Those that made the transactions of the hits.
    pub sessions: Sessions,
}

/// The open COPY block, if it is one of our tables.
pub struct CopyBlock {
    pub head: u32,
    /// The position of each column in question.
    pub positions: Vec<Option<usize>>,
}

impl Pass {
    pub fn new(key: RowKey, is_first: bool, end: Place, sessions: Sessions) -> Pass {
        Pass {
            keys: vec![key],
            is_first,
            end,
            hits: BTreeMap::new(),
            arrivals: Vec::new(),
            birth: None,
            unfollowed: 0,
            undecided: 0,
            sessions,
        }
    }

    pub fn hit(
        &mut self,
        lines: &Lines<&[u8]>,
        place: Place,
        transaction: Transaction,
        what: What,
    ) {
        let who = lines.open().who.as_ref();
        let hit = Hit {
            who: who.map(|who| self.sessions.number_of(who)),
            transaction,
            line: lines.number(),
            length: lines.next_start() - lines.start(),
            what,
        };
        self.hits.insert(place, hit);
    }

    pub fn takes_copy(&mut self, copy: &CopyBlock, row: &[u8], place: Place) -> bool {
        let values: Vec<Value<'_>> = statement::copy_values(row).collect();
        let key: Option<Vec<&Value<'_>>> = copy
            .positions
            .iter()
            .map(|position| values.get((*position)?))
            .collect();
        let Some(key) = key else {
            self.undecided += 1;
            return false;
        };
        let is_ours = self.position(&key).is_some();
        if is_ours {
            self.birth = Some(place);
        }
        is_ours
    }

    /// Which of the keys it is.
    fn position(&self, values: &[&Value<'_>]) -> Option<usize> {
        let is = |key: &RowKey| key.iter().zip(values).all(|(a, b)| a.is_same(b));
        self.keys.iter().position(is)
    }

    /// Breaks if the statement concerns the row.
    pub fn takes(
        &mut self,
        operation: Operation,
        statement: &Statement<'_>,
        columns: &[Vec<u8>],
        place: Place,
        follows: bool,
    ) -> ControlFlow<()> {
        let of = |find: &dyn Fn(&[u8]) -> Option<RowValue>| -> Option<RowKey> {
            columns.iter().map(|column| find(column)).collect()
        };
        let owned = |value: Option<&Value<'_>>| value.cloned().map(Value::into_owned);
        let old = match operation {
            Operation::Insert => None,
            _ => of(&|column| owned(statement.before(column))),
        };
        let new = match operation {
            Operation::Delete => None,
            _ => of(&|column| owned(statement.after(column))),
        };
        let find = |key: &Option<RowKey>| {
            let key = key.as_ref()?;
            self.position(&key.iter().collect::<Vec<_>>())
        };
        let (is_old, is_new) = (find(&old), find(&new));
        match (is_old, is_new) {
            (None, None) => {
                // A line without the columns does not identify the row.
                let told = match operation {
                    Operation::Insert => &new,
                    Operation::Update | Operation::Delete => &old,
                };
                if told.is_none() {
                    self.undecided += 1;
                }
                return ControlFlow::Continue(());
            }
            // The row no longer has the key, or no longer exists.
            (Some(nth), None) => {
                if let Some(next) = new.filter(|_| follows && self.is_first) {
                    if self.keys.len() < MOST_KEYS {
                        self.keys.push(next)
                    } else {
                        self.unfollowed += 1
                    }
                }
                if nth > 0 {
                    self.keys.remove(nth);
                }
            }
            (None, Some(_)) => {
                self.birth = Some(place);
                if let Some(before) = old.filter(|_| follows) {
                    self.arrivals.push((place, before));
                }
            }
            (Some(_), Some(_)) => {}
        }
        ControlFlow::Break(())
    }
}

type RowValue = Value<'static>;
