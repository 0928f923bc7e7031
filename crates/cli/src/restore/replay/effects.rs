//! Schema changes.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use archive::segment::{ClusterFact, DdlBlock, Effect};
use memchr::memmem;

use super::permitted::About;
use super::quiet::Kinds;
use super::Replay;
use crate::connection::{Session, RELEASE, ROLLBACK, SAVEPOINT};
use crate::error::{Error, Result};
use crate::restore::deferred::{key_of, Said};
use crate::restore::part;
use crate::restore::rights::filter::Change;
use crate::restore::rights::keys::Noted;

/// Classes whose owner must be a superuser.
const OF_SUPERUSERS: [&str; 4] = [
    "event trigger",
    "foreign-data wrapper",
    "publication",
    "subscription",
];

/// What may depend on the state of a table's triggers and rules.
const OF_TABLES: [&str; 3] = ["trigger", "rule", "partition"];

/// A future of a trait's method.
pub type Boxed<'f, T> = Pin<Box<dyn Future<Output = Result<T>> + 'f>>;

/// What a restore makes of roles, tablespaces, and of the database itself.
pub trait Globals {
    /// Brings what was made to the state of the first `count` of the plan's later sets, outside of a transaction.
    fn apply<'f>(&'f mut self, session: &'f Session, count: usize) -> Boxed<'f, ()>;

    /// What became of a role or a tablespace at the source, inside of a transaction.
    fn follow<'f>(&'f mut self, session: &'f Session, fact: &'f ClusterFact) -> Boxed<'f, ()>;

    /// Executes a change of owner that only a superuser may be given.
    fn own<'f>(&'f mut self, session: &'f Session, statement: &'f [u8]) -> Boxed<'f, ()>;
}

impl Replay<'_> {
    /// A change of the catalogs, in canonical SQL of our own.
    pub(super) async fn effect(&mut self, line: u64, effect: &Effect, text: &[u8]) -> Result<()> {
        let block = DdlBlock::read(text);
        if effect.verb == "refresh" {
            self.settle().await?;
            self.views.note(self.session, block.statement).await?;
            self.is_dirty = true;
            return self.refresh_now(block.statement).await;
        }
        let rights = Rc::clone(&self.rights);
        let Some(change) = rights.effect(effect, &block) else {
            return Ok(());
        };
        let block = change.block();
        if self.lenient.is_none() && self.deferred.waits(effect) {
            return self.keep_waiting(line, effect, block.statement).await;
        }
        let was_set_back = self.before_change(text).await?;
        let was_stilled = self.before_limited(text, false).await?;
        if self.is_of_key(effect, &change).await? {
            self.after_limited(text, false, was_stilled, None).await?;
            return self.after_change(text, false, was_set_back).await;
        }
        let names_roles = matches!(
            effect.class.as_str(),
            "policy" | "user mapping" | "database"
        );
        if names_roles && rights.needs_no_roles() && !rights.is_limited() {
            rights.make_roles(self.session, block.statement).await?;
        }
        let is_own = effect.verb == "owner" && OF_SUPERUSERS.contains(&effect.class.as_str());
        let is_attempted = rights.is_limited() || rights.is_guarded() && !is_own;
        let is_of_part = self.plan.part.is_some() && effect.class == "constraint";
        let changed = if is_of_part && is_attempted {
            self.constraint_of_part(line, effect, &change).await
        } else if is_attempted {
            self.make_permitted(line, effect, &change).await
        } else if self.lenient.is_some() {
            let what = name_of(effect);
            self.change_leniently(line, &what, &block, is_own).await
        } else if is_own {
            self.globals.own(self.session, block.statement).await
        } else if is_of_part {
            part::constraint(self.session, block.statement).await
        } else if self.deferred.may_take(effect) {
            self.run_or_defer(line, effect, &block).await
        } else {
            run(self.session, &block).await
        };
        changed.map_err(|error| self.in_effect(line, effect, error))?;
        if effect.verb == "rewrite" {
            self.emptied(block.statement).await?;
        }
        // One of a part may be NOT VALID only because rows of other tables are not there.
        let is_valid = is_of_part && !block.statement.ends_with(b" NOT VALID");
        let noted = Noted::of(block.statement, effect.oid, is_valid);
        self.after_limited(text, false, was_stilled, noted).await?;
        self.after_change(text, false, was_set_back).await
    }

    /// A constraint in a scratch database, of another version, which may not know it, or by a role that may not change
    /// catalogs.
    async fn constraint_of_part(
        &mut self,
        line: u64,
        effect: &Effect,
        change: &Change<'_>,
    ) -> Result<()> {
        let client = std::sync::Arc::clone(&self.session.client);
        if self.rights.is_limited() {
            let (session, plan, rights) = (&*self.session, &self.plan, &self.rights);
            if part::key_without_rows(session, plan, rights, &change.statement).await? {
                return Ok(());
            }
        }
        client.batch_execute(SAVEPOINT).await?;
        let done = part::constraint(self.session, &change.statement).await;
        if done.is_ok() {
            return Ok(client.batch_execute(RELEASE).await?);
        }
        client.batch_execute(ROLLBACK).await?;
        self.make_permitted(line, effect, change).await
    }

    /// A change that may be refused; one that fails for another reason may wait.
    async fn make_permitted(
        &mut self,
        line: u64,
        effect: &Effect,
        change: &Change<'_>,
    ) -> Result<()> {
        let about = About::effect(effect);
        match self.change_if_permitted(line, &about, change).await {
            Err(error) if self.deferred.takes_effect(effect, &error) => {
                let statement = change.block().statement;
                self.defer(line, effect, statement, error.to_string()).await
            }
            done => done,
        }
    }

    /// A table was emptied by a block of ours; its rows follow.
    async fn emptied(&mut self, block: &[u8]) -> Result<()> {
        match memmem::find(block, b"TRUNCATE ONLY ") {
            Some(at) => self.counts.clear(self.session, &block[at..]).await,
            None => Ok(()),
        }
    }

    /// A change that may fail: it is made at the end then.
    async fn run_or_defer(
        &mut self,
        line: u64,
        effect: &Effect,
        block: &DdlBlock<'_>,
    ) -> Result<()> {
        let client = &self.session.client;
        client.batch_execute(SAVEPOINT).await?;
        let Err(error) = run(self.session, block).await else {
            return Ok(client.batch_execute(RELEASE).await?);
        };
        if !self.deferred.takes_effect(effect, &error) {
            return Err(error);
        }
        client.batch_execute(ROLLBACK).await?;
        self.defer(line, effect, block.statement, error.to_string())
            .await
    }

    /// A change of what waits, waits itself.
    async fn keep_waiting(&mut self, line: u64, effect: &Effect, statement: &[u8]) -> Result<()> {
        self.settle().await?;
        self.is_alone = true;
        if effect.verb == "drop" {
            return Ok(());
        }
        let why = "it waits for what could not be made before it".to_owned();
        self.defer(line, effect, statement, why).await
    }

    async fn defer(
        &mut self,
        line: u64,
        effect: &Effect,
        statement: &[u8],
        error: String,
    ) -> Result<()> {
        let said = Said {
            what: name_of(effect),
            place: format!("{}:{line}", self.storage.place(&self.file)),
            sql: statement,
            key: key_of(effect),
            needs: &effect.needs,
            makes: effect.verb == "create",
            // Effects name theirs.
            space: "''".to_owned(),
        };
        self.deferred.add(self.session, said, error).await
    }

    /// A role ran what follows: it is there under this name by now, if the restore has made it.
    pub(super) async fn acts(&mut self, name: Vec<u8>) -> Result<()> {
        if name.is_empty() {
            return Ok(());
        }
        self.settle().await?;
        self.is_dirty = true;
        let fact = ClusterFact::Role {
            name,
            superuser: false,
        };
        self.globals.follow(self.session, &fact).await
    }

    /// A statement of the user's, in its canonical form.
    pub(super) async fn ddl(&mut self, line: u64, command: &str, text: &[u8]) -> Result<()> {
        let block = DdlBlock::read(text);
        let rights = Rc::clone(&self.rights);
        let Some(change) = rights.typed(command, &block) else {
            return Ok(());
        };
        let block = change.block();
        // It may read a materialized view.
        let reads = !matches!(
            command,
            "REWRITE"
                | "CREATE EXTENSION"
                | "ALTER EXTENSION"
                | "DROP EXTENSION"
                | "CREATE SUBSCRIPTION"
                | "ALTER SUBSCRIPTION"
                | "DROP SUBSCRIPTION"
                | "CREATE ROLE"
        );
        if reads {
            self.settle().await?;
            self.views.fill(self.session, false).await?;
        }
        self.before_change(text).await?;
        let was_stilled = self.before_limited(text, true).await?;
        let changed = if rights.is_guarded() {
            self.change_if_permitted(line, &About::command(command), &change)
                .await
        } else if self.lenient.is_some() {
            self.change_leniently(line, command, &block, false).await
        } else {
            run(self.session, &block).await
        };
        changed.map_err(|error| self.at(line, error))?;
        if command == "REWRITE" {
            self.emptied(block.statement).await?;
        } else if reads {
            let why = format!("{command} was captured as the text of a statement");
            self.counts.give_up(&why);
        }
        self.after_limited(text, true, was_stilled, None).await?;
        self.after_change(text, true, true).await
    }

    /// A change that may depend on the state of triggers and rules finds the original one: whether any was set back.
    async fn before_change(&mut self, text: &[u8]) -> Result<bool> {
        self.settle().await?;
        // Tables are counted by the names that they have here.
        self.counts.flush(self.session).await?;
        self.rows.forget();
        if let Some(lanes) = &mut self.lanes {
            lanes.forget(self.session.is_utf8());
        }
        self.is_alone = true;
        self.help.end(self.session).await?;
        self.checks_on().await?;
        if self.quiet.is_empty() {
            return Ok(false);
        }
        let (events, others) = (is_of_event_trigger(text), mentions(text, &OF_TABLES));
        // In this order: event triggers fire at what sets the others back.
        if others {
            self.quiet.restore(self.session, Kinds::OfTables).await?;
        }
        if events {
            self.quiet.restore(self.session, Kinds::Event).await?;
        }
        Ok(events || others)
    }

    /// Sets those to origin mode that the change has made, or that were set back for it.
    async fn after_change(
        &mut self,
        text: &[u8],
        is_typed: bool,
        was_set_back: bool,
    ) -> Result<()> {
        // Constraints that hold for new rows only, and those of domains, whose functions may answer otherwise now.
        let may_check = is_typed || self.checks.skips_any();
        self.may_check |= may_check || mentions(text, &["not valid", "domain"]);
        let may_fire = is_typed || was_set_back;
        // Of a role that cannot be a replica, others see to that.
        let may_fire = may_fire && !self.rights.is_no_replica();
        let has_quiet = !self.rights.is_no_replica();
        if may_fire || has_quiet && mentions(text, &["enable always", "enable replica"]) {
            self.quiet.hush(self.session).await?;
        }
        Ok(())
    }

    fn in_effect(&self, line: u64, effect: &Effect, error: Error) -> Error {
        let what = name_of(effect);
        let place = self.storage.place(&self.file);
        let message = format!("{place}:{line}: {what}: {error}");
        error.with_message(message)
    }
}

/// `create table public.t`
pub(super) fn name_of(effect: &Effect) -> String {
    let identity = String::from_utf8_lossy(&effect.identity);
    let identity: String = identity
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    format!("{} {} {identity}", effect.verb, effect.class)
}

/// The statement, in its environment.
pub(super) async fn run(session: &Session, block: &DdlBlock<'_>) -> Result<()> {
    let is_plain = |text: &[u8]| text.is_ascii() || session.is_utf8();
    let is_sendable = is_plain(block.statement) && is_plain(block.before);
    if !block.before.is_empty() && !is_sendable {
        // The role of `before` may not call our function.
        let parts = [block.before, block.statement, b";", block.after];
        return session.script(&parts.join(&b"\n"[..])).await;
    }
    if !block.before.is_empty() {
        session.script(block.before).await?;
    }
    // In segments of versions before 0.3.0 statements of ours may follow that of the user.
    if memmem::find(block.statement, b"\n; ").is_some() {
        session.script(block.statement).await?;
    } else {
        session.statement(block.statement).await?;
    }
    if !block.after.is_empty() {
        session.script(block.after).await?;
    }
    Ok(())
}

/// Whether a statement is about an event trigger. Only its first words say so: names and comments may contain these, too,
/// and an event trigger that is set back for a change of a table would fire at it.
fn is_of_event_trigger(text: &[u8]) -> bool {
    let lower = text.to_ascii_lowercase();
    let mut words = lower
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let verb = words.next().unwrap_or_default();
    if verb == b"comment" {
        words.next(); // ON
    }
    words.next() == Some(b"event") && words.next() == Some(b"trigger")
}

/// Whether a text contains one of these, which are in lower case.
pub(super) fn mentions(text: &[u8], words: &[&str]) -> bool {
    let lower = text.to_ascii_lowercase();
    words
        .iter()
        .any(|word| memmem::find(&lower, word.as_bytes()).is_some())
}

#[cfg(test)]
mod tests {
    use super::is_of_event_trigger;

    #[test]
    fn only_the_first_words_say_what_a_statement_is_about() {
        assert!(is_of_event_trigger(b"ALTER EVENT TRIGGER e ENABLE ALWAYS"));
        assert!(is_of_event_trigger(b"comment on  event\ntrigger e IS 'x'"));
        let table = b"ALTER TABLE p ATTACH PARTITION \"x EVENT TRIGGER y\" DEFAULT";
        assert!(!is_of_event_trigger(table));
    }
}
