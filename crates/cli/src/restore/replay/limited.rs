//! What is done in another way for a role that is not a superuser, and what is not wanted.

use std::sync::Arc;

use archive::segment::{DdlBlock, Effect};

use super::permitted::{attempt, About};
use super::{shape, Replay};
use crate::error::Result;
use crate::restore::part;
use crate::restore::progress::{self, Progress};
use crate::restore::rights::filter::Change;
use crate::restore::rights::keys::{Keys, Noted};
use crate::restore::rights::still::Still;
use crate::restore::rights::wording;

/// Statements of lines that say something about a large object.
const ABOUT_LARGE_OBJECTS: [&[u8]; 6] = [
    b"ALTER LARGE OBJECT ",
    b"GRANT ",
    b"REVOKE ",
    b"COMMENT ON LARGE OBJECT ",
    b"SECURITY LABEL ",
    b"SET LOCAL ROLE ",
];

impl Replay<'_> {
    /// Before the first change, or where an earlier run has ended.
    pub(super) async fn begin_limited(&mut self, begun: &Progress) -> Result<()> {
        if !self.rights.is_limited() {
            return self.quiet.hush(self.session).await;
        }
        let is_no_replica = self.rights.is_no_replica();
        if !is_no_replica {
            self.quiet.hush(self.session).await?;
        }
        let client = Arc::clone(&self.session.client);
        client.batch_execute("BEGIN").await?;
        // A base alone: its keys are there for good.
        if is_no_replica && (self.is_followed || !self.plan.segments.is_empty()) {
            // None is set aside again when an earlier run has made them again, but for a copy whose promotion did not finish.
            let keys = match begun.kept::<Option<Keys>>("keys")? {
                Some(mut keys) => {
                    if self.is_followed {
                        keys.take_again(self.session, begun.kept("made_keys")?)
                            .await?;
                    }
                    keys
                }
                None => {
                    let mut keys = Keys::new(begun.kept("noted_keys")?);
                    keys.take(self.session, None).await?;
                    keys
                }
            };
            self.keys = Some(keys);
        }
        let mut still = Still::new(is_no_replica);
        still.take_up(begun.kept("still")?);
        still.hush(self.session).await?;
        self.still = Some(still);
        client
            .batch_execute(&format!("{}COMMIT", self.limited_state()))
            .await?;
        Ok(())
    }

    /// The statements that keep what a run that goes on must know.
    pub(super) fn limited_state(&self) -> String {
        let mut text = String::new();
        if let Some(keys) = &self.keys {
            text.push_str(&progress::sql::keep("keys", keys));
            text.push(';');
        }
        if let Some(still) = &self.still {
            text.push_str(&progress::sql::keep("still", &still.kept()));
            text.push(';');
        }
        text
    }

    /// After the last change, in the transaction that is open: foreign keys, triggers and rules are there again.
    pub(super) async fn end_limited(&mut self) -> Result<()> {
        if let Some(keys) = self.keys.replace(Keys::default()) {
            if self.is_followed {
                let kept = progress::sql::keep("made_keys", &keys);
                self.session.client.batch_execute(&kept).await?;
            }
            for odd in keys.make(self.session).await? {
                let part = self.plan.part.as_ref();
                let key = (&odd.sql[..], odd.is_there);
                part::tell_of_key(part, &self.rights, key, odd.sentence);
            }
        }
        self.is_dirty = true;
        match &mut self.still {
            Some(still) => still.end(self.session, false).await,
            None => Ok(()),
        }
    }

    /// When materialized views are filled, too.
    pub(super) async fn end_still(&mut self) -> Result<()> {
        match &mut self.still {
            Some(still) => still.end(self.session, true).await,
            None => Ok(()),
        }
    }

    /// Deferrable constraints were checked by statement at the source, and rows come one by one.
    pub(super) async fn defer_constraints(&self) -> Result<()> {
        if self.rights.is_no_replica() {
            let set = "SET CONSTRAINTS ALL DEFERRED";
            self.session.client.batch_execute(set).await?;
        }
        Ok(())
    }

    /// Before a schema change: no check is pending, and what it may depend on is as it was.
    pub(super) async fn before_limited(&mut self, text: &[u8], is_typed: bool) -> Result<bool> {
        if self.rights.is_no_replica() && self.is_open {
            let set = "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED";
            self.session.client.batch_execute(set).await?;
        }
        self.missing.clear();
        match &mut self.still {
            Some(still) => still.before(self.session, text, is_typed).await,
            None => Ok(false),
        }
    }

    /// After it. `noted`: the foreign key that it may have made.
    pub(super) async fn after_limited(
        &mut self,
        text: &[u8],
        is_typed: bool,
        was_set_back: bool,
        noted: Option<Noted>,
    ) -> Result<()> {
        if let Some(still) = &mut self.still {
            still
                .after(self.session, text, is_typed, was_set_back)
                .await?;
        }
        let may_make = is_typed || super::effects::mentions(text, &["foreign key", "partition"]);
        if let Some(keys) = self.keys.as_mut().filter(|_| may_make) {
            let statement = DdlBlock::read(text).statement;
            keys.detached(self.session, statement).await?;
            keys.take(self.session, noted).await?;
        }
        Ok(())
    }

    /// A change of a foreign key that is set aside.
    pub(super) async fn is_of_key(&mut self, effect: &Effect, change: &Change<'_>) -> Result<bool> {
        let is_of_constraint = effect.class == "constraint";
        match self.keys.as_mut().filter(|_| is_of_constraint) {
            Some(keys) => {
                let (verb, statement) = (effect.verb.as_str(), &change.statement);
                keys.change(self.session, effect.oid, verb, statement).await
            }
            None => Ok(false),
        }
    }

    /// A change that may be refused.
    pub(super) async fn change_if_permitted(
        &mut self,
        line: u64,
        about: &About,
        change: &Change<'_>,
    ) -> Result<()> {
        let rights = std::rc::Rc::clone(&self.rights);
        let done = attempt(self.session, &rights, about, change, false).await;
        match done {
            Err(error) if self.lenient.is_some() => self.forgive(line, &about.what, error),
            done => done,
        }
    }

    /// A line that needs care: true if it is done, or is not wanted.
    pub(super) async fn is_done_with_care(&mut self, line: u64, text: &[u8]) -> Result<bool> {
        if self.rights.is_unlimited() {
            return Ok(false);
        }
        if !ABOUT_LARGE_OBJECTS
            .iter()
            .any(|start| text.starts_with(start))
        {
            return self.has_no_table(text).await;
        }
        let rights = std::rc::Rc::clone(&self.rights);
        let Some(said) = rights.line(text) else {
            return Ok(true);
        };
        self.settle().await?;
        if said.starts_with(b"SET LOCAL ROLE ") {
            let named = wording::roles_in(&said).pop();
            let is_possible =
                named.is_none_or(|(name, _)| name == b"none" || rights.may_give_to(&name));
            if is_possible {
                self.session.statement(&said).await?;
            }
            return Ok(true);
        }
        let statement = said.strip_suffix(b";").unwrap_or(&said);
        if !rights.is_guarded() {
            self.session.statement(statement).await?;
            return Ok(true);
        }
        let about = About::large_object(statement);
        let change = Change::alone(statement);
        self.change_if_permitted(line, &about, &change).await?;
        Ok(true)
    }

    /// Rows of a table that was left out are, too. A TRUNCATE may name others as well.
    async fn has_no_table(&mut self, text: &[u8]) -> Result<bool> {
        if !self.rights.left_out().lacks_tables() {
            return Ok(false);
        }
        if let Some(list) = text.strip_prefix(b"TRUNCATE ") {
            return self.truncate_those_there(list).await;
        }
        let starts: [&[u8]; 5] = [
            b"INSERT INTO ",
            b"UPDATE ONLY ",
            b"UPDATE ",
            b"DELETE FROM ONLY ",
            b"DELETE FROM ",
        ];
        let rest = starts.iter().find_map(|start| text.strip_prefix(*start));
        let Some(name) = rest.and_then(|rest| rest.get(..shape::find_outside(rest, b" ")?)) else {
            return Ok(false);
        };
        let is_missing = self.is_missing(name).await?;
        if is_missing {
            self.rights.left_out().add_rows(1);
        }
        Ok(is_missing)
    }

    /// Whether a COPY block is for such a table; `head` is its name, with columns.
    pub(super) async fn copies_into_nothing(&mut self, text: &[u8]) -> Result<bool> {
        if !self.rights.left_out().lacks_tables() {
            return Ok(false);
        }
        let rest = text.strip_prefix(b"COPY ").unwrap_or(text);
        match shape::find_outside(rest, b" ") {
            Some(end) => self.is_missing(&rest[..end]).await,
            None => Ok(false),
        }
    }

    async fn truncate_those_there(&mut self, list: &[u8]) -> Result<bool> {
        let mut there: Vec<&[u8]> = Vec::new();
        let list = list.strip_suffix(b";").unwrap_or(list);
        // RESTART IDENTITY, and in a part CASCADE.
        let tails: [&[u8]; 2] = [b" RESTART IDENTITY", b" CASCADE"];
        let tail = tails
            .iter()
            .find_map(|tail| shape::find_outside(list, tail));
        let (mut rest, tail) = list.split_at(tail.unwrap_or(list.len()));
        let mut is_one_missing = false;
        while !rest.is_empty() {
            let end = shape::find_outside(rest, b", ");
            let item = &rest[..end.unwrap_or(rest.len())];
            rest = end.map_or(&[], |end| &rest[end + 2..]);
            if self
                .is_missing(item.strip_prefix(b"ONLY ").unwrap_or(item))
                .await?
            {
                is_one_missing = true;
            } else {
                there.push(item);
            }
        }
        if is_one_missing && !there.is_empty() {
            let truncate = [b"TRUNCATE ", &there.join(&b", "[..])[..], tail].concat();
            self.settle().await?;
            self.counts.clear(self.session, &truncate).await?;
            self.session.statement(&truncate).await?;
        }
        Ok(is_one_missing)
    }

    async fn is_missing(&mut self, name: &[u8]) -> Result<bool> {
        if let Some(is_missing) = self.missing.get(name) {
            return Ok(*is_missing);
        }
        self.settle().await?;
        let is_missing = self.session.oid_of_relation(name).await?.is_none();
        self.missing.insert(name.to_vec(), is_missing);
        Ok(is_missing)
    }
}
