//! Entries of a dump, part by part: where something of them is not wanted, or the role may be refused something.

use archive::dump::Listed;

use super::entry::{described, Entries};
use crate::connection::guarded;
use crate::error::Result;
use crate::quote::ident;
use crate::restore::part;
use crate::restore::rights::filter::{as_role, Step};
use crate::restore::rights::keys::Noted;
use crate::restore::rights::left_out::Piece;
use crate::restore::rights::refusal::{self, Subject};
use crate::restore::rights::wording::{self, Part};

impl Entries<'_> {
    /// Executes what is wanted of an entry. What the role is refused is left out.
    pub(super) async fn by_parts(&mut self, entry: &Listed, line: u64, text: &[u8]) -> Result<()> {
        // Their statements commit.
        if self.is_rehearsal && entry.kind == b"BLOBS" {
            return Ok(());
        }
        for step in self.rights.steps(&entry.kind, &entry.name, text) {
            let lines = memchr::memchr_iter(b'\n', &text[..step.at]).count() as u64;
            let line = if line == 0 { 0 } else { line + lines };
            let done = if self.rights.is_guarded() {
                self.attempt(entry, &step).await
            } else {
                self.apart(entry, &step).await
            };
            match done {
                Ok(()) => {}
                Err(error) if self.may_defer(entry, &error) => {
                    self.defer(entry, line, &step.text, &error).await?;
                }
                Err(error) => return Err(self.at(entry, line, &step.text, error)),
            }
        }
        Ok(())
    }

    /// As a superuser, so that the transaction goes on if it fails.
    async fn apart(&mut self, entry: &Listed, step: &Step) -> Result<()> {
        let client = std::sync::Arc::clone(&self.session().client);
        guarded(&client, self.permitted(entry, step)).await
    }

    async fn permitted(&mut self, entry: &Listed, step: &Step) -> Result<()> {
        if step.part != Part::Definition && step.part != Part::Owner {
            return self.execute(&step.text).await;
        }
        let names_roles = matches!(entry.kind.as_slice(), b"POLICY" | b"USER MAPPING");
        if names_roles && self.rights.needs_no_roles() {
            self.rights.make_roles(self.session(), &step.text).await?;
        }
        self.execute_entry(entry, &step.text).await
    }

    /// As a role that may be refused it.
    async fn attempt(&mut self, entry: &Listed, step: &Step) -> Result<()> {
        let names_roles = matches!(entry.kind.as_slice(), b"POLICY" | b"USER MAPPING");
        match step.part {
            Part::Tablespace | Part::Setting => self.execute(&step.text).await,
            Part::Owner | Part::Definition
                if names_roles && self.rights.needs_no_roles() && !self.rights.is_limited() =>
            {
                self.apart(entry, step).await
            }
            Part::Owner => self.give(entry, &step.text).await,
            Part::Definition if matches!(entry.kind.as_slice(), b"ACL" | b"DEFAULT ACL") => {
                self.grant(entry, &step.text).await
            }
            Part::Definition => self.try_to(entry, &step.text, &step.text).await,
        }
    }

    /// Gives the object to its owner, if the role can.
    async fn give(&mut self, entry: &Listed, text: &[u8]) -> Result<()> {
        let owner = wording::owner_of(text).unwrap_or_default();
        if self.rights.may_give_to(&owner) {
            return self.try_to(entry, text, text).await;
        }
        let reason = self.rights.cannot_give(&owner);
        self.leave_out(
            entry,
            format!("owner of {}", described(entry)),
            text,
            reason,
            true,
        );
        Ok(())
    }

    /// Privileges, each grantor's by themselves.
    async fn grant(&mut self, entry: &Listed, text: &[u8]) -> Result<()> {
        let (mut group, mut said) = (Vec::new(), Vec::new());
        let mut is_open = false;
        for place in wording::statements(text) {
            let statement = &text[place];
            is_open |= statement.starts_with(b"SET SESSION AUTHORIZATION ");
            is_open &= statement != b"RESET SESSION AUTHORIZATION";
            let executed = if self.rights.is_limited() {
                as_role(statement)
            } else {
                statement.to_vec()
            };
            for (text, part) in [(&mut group, &executed[..]), (&mut said, statement)] {
                text.extend_from_slice(part);
                text.extend_from_slice(b";\n");
            }
            if !is_open {
                self.try_to(entry, &group, &said).await?;
                (group, said) = (Vec::new(), Vec::new());
            }
        }
        Ok(())
    }

    /// Executes `text`; if the role is refused it, `said` is left out.
    async fn try_to(&mut self, entry: &Listed, text: &[u8], said: &[u8]) -> Result<()> {
        let error = match self.guarded(entry, text).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let subject = Subject::of_kind(&entry.kind);
        if refusal::is_there(&error, subject) {
            return Ok(());
        }
        let is_owner = wording::owner_of(text).is_some();
        let subject = if is_owner { Subject::OfRoles } else { subject };
        let Some(reason) = self.rights.reason(&error, subject) else {
            if self.is_rehearsal {
                self.rights.pass_over(&error);
                return Ok(());
            }
            return Err(error);
        };
        if is_owner && self.rights.is_limited() {
            let rights = std::rc::Rc::clone(&self.rights);
            if rights.lend(self.session(), text).await? {
                return Ok(());
            }
        }
        if let Some(without) = wording::without_leakproof(text) {
            if self.guarded(entry, &without).await.is_ok() {
                let what = format!("LEAKPROOF of {}", described(entry));
                self.leave_out(entry, what, &wording::replacing(said), reason, true);
                return Ok(());
            }
        }
        let is_leaf = is_owner
            || matches!(
                entry.kind.as_slice(),
                b"ACL" | b"DEFAULT ACL" | b"COMMENT" | b"SECURITY LABEL" | b"SEQUENCE SET"
            );
        let of = if is_owner { "owner of " } else { "" };
        self.leave_out(
            entry,
            format!("{of}{}", described(entry)),
            said,
            reason,
            is_leaf,
        );
        Ok(())
    }

    /// Executes an entry so that the transaction goes on whatever becomes of it.
    async fn guarded(&mut self, entry: &Listed, text: &[u8]) -> Result<()> {
        let client = std::sync::Arc::clone(&self.session().client);
        let work = async {
            match entry.kind.as_slice() {
                b"FK CONSTRAINT" if !self.is_rehearsal && self.rights.is_limited() => {
                    self.foreign_key(entry, text).await
                }
                _ => self.execute_entry(entry, text).await,
            }
        };
        guarded(&client, work).await
    }

    /// One that rows contradict is made for new rows only: who may not change catalogs cannot make it as at the source.
    async fn foreign_key(&mut self, entry: &Listed, text: &[u8]) -> Result<()> {
        const NOT_VALID: &[u8] = b" NOT VALID";
        let statement = text.trim_ascii();
        let statement = statement
            .strip_suffix(b";")
            .unwrap_or(statement)
            .trim_ascii_end();
        let was_valid = !statement.ends_with(NOT_VALID);
        // Of a partitioned table it cannot be (before 18).
        let can_wait = was_valid && statement.starts_with(b"ALTER TABLE ONLY ");
        let later = [statement, NOT_VALID].concat();
        let lacks_rows = self
            .part
            .is_some_and(|part| !part::is_key_of_part(part, statement));
        if lacks_rows && !can_wait {
            return self.key_without_rows(entry, statement).await;
        }
        if self.sets_keys_aside {
            let text = if can_wait { &later } else { statement };
            self.execute(text).await?;
            self.keys.extend(Noted::of(statement, entry.oid, was_valid));
            self.rights.touch();
            return Ok(());
        }
        let client = std::sync::Arc::clone(&self.session().client);
        client.batch_execute("SAVEPOINT pg_incrbackup_key").await?;
        match self.execute(statement).await {
            Err(error) if can_wait && refusal::is_orphan(&error) => {
                let back = "ROLLBACK TO SAVEPOINT pg_incrbackup_key";
                client.batch_execute(back).await?;
                self.execute(&later).await?;
                let sentence = format!("{}, which is NOT VALID: {error}", described(entry));
                part::tell_of_key(self.part, &self.rights, (statement, true), sentence);
                Ok(())
            }
            done => done,
        }
    }

    /// One of a partitioned table of a part, to a table that is not in it: rows may contradict it, and it is not made then.
    async fn key_without_rows(&self, entry: &Listed, statement: &[u8]) -> Result<()> {
        let client = std::sync::Arc::clone(&self.session().client);
        client.batch_execute("SAVEPOINT pg_incrbackup_key").await?;
        match self.execute(statement).await {
            Err(error) if refusal::is_orphan(&error) => {
                let back = "ROLLBACK TO SAVEPOINT pg_incrbackup_key";
                client.batch_execute(back).await?;
                let sentence = format!("{}: {error}", described(entry));
                part::tell_of_key(self.part, &self.rights, (statement, false), sentence);
                Ok(())
            }
            done => done,
        }
    }

    /// Whether the rows of an entry have no table here.
    pub(super) async fn lacks_table(&self, entry: &Listed) -> Result<bool> {
        if self.is_rehearsal {
            return Ok(true);
        }
        let is_possible = entry.kind == b"TABLE DATA" && self.rights.left_out().lacks_tables();
        let Some(schema) = entry.schema.as_deref().filter(|_| is_possible) else {
            return Ok(false);
        };
        let name = [&ident(schema)[..], b".", &ident(&entry.name)].concat();
        Ok(self.session().oid_of_relation(&name).await?.is_none())
    }

    /// Rows of a table that was left out.
    pub(super) fn leave_out_rows(&self, rows: u64) {
        if !self.is_rehearsal && rows > 0 {
            self.rights.left_out().add_rows(rows);
        }
    }

    fn leave_out(&self, entry: &Listed, what: String, sql: &[u8], reason: String, is_leaf: bool) {
        self.rights.left_out().add(Piece {
            key: (entry.oid != 0).then_some((entry.table_oid, entry.oid)),
            is_leaf,
            is_table: !is_leaf && entry.kind == b"TABLE",
            ..Piece::new(what, sql, reason)
        });
    }
}
