//! The entries of a base, one by one in the progress of a restore: what an earlier run has done of them, and what could not
//! be made when its turn came.

use archive::dump::Listed;
use serde::de::DeserializeOwned;

use super::entry::{described, is_rows, Entries};
use crate::error::{Error, Result};
use crate::restore::deferred::Said;
use crate::restore::progress::{self, Progress};
use crate::restore::rights::wording;
use crate::restore::target::statements::split;

impl Entries<'_> {
    /// Whether an earlier run has begun with the entries.
    pub fn is_resumed(&self) -> bool {
        self.done > 0
    }

    /// Whether an earlier run has done what comes now.
    pub fn is_passing(&self) -> bool {
        self.next < self.done || self.loaded.contains(&self.next)
    }

    /// Whether an earlier run has done the entry that comes, which is passed over then: what this run would have in
    /// memory by it, it has.
    pub async fn passes(&mut self, entry: &Listed, text: &[u8]) -> Result<bool> {
        if !self.is_passing() {
            return Ok(false);
        }
        self.next += 1;
        if let Some(it) = &mut self.stand_ins {
            it.is_made |= it.first == entry.dump_id;
        }
        if is_rows(entry) && self.stand_ins.as_ref().is_some_and(|it| it.is_made) {
            self.stand_ins = None;
        }
        self.is_quiet |= entry.is_data && self.checks.skips_any();
        if entry.kind == b"MATERIALIZED VIEW DATA" {
            self.note_view(text).await?;
        }
        Ok(true)
    }

    /// Commits what is done, which is all up to and with the entry that is next, and begins with the one behind it.
    pub async fn commit(&mut self) -> Result<()> {
        self.next += 1;
        if self.is_rehearsal {
            return Ok(());
        }
        let text = self.end_of_entry();
        self.has_set = false;
        Ok(self.session.client.batch_execute(&text).await?)
    }

    pub(super) fn end_of_entry(&mut self) -> String {
        let mut text = String::new();
        if self.is_beside {
            return format!("{}; COMMIT; BEGIN", progress::sql::piece(self.next - 1));
        }
        if self.has_set && !self.is_part {
            text.push_str(progress::sql::KEEP_SETTINGS);
            text.push(';');
        }
        if let Some(changed) = self.rights.changed() {
            text.push_str(&progress::sql::keep("rights", &changed));
            text.push(';');
            text.push_str(&progress::sql::keep("noted_keys", &self.keys));
            text.push(';');
        }
        if let Some(deferred) = self.deferred.keep() {
            text.push_str(&deferred);
            text.push(';');
        }
        if !self.is_part {
            text.push_str(&progress::sql::pieces(self.next));
            text.push(';');
        }
        text.push_str("COMMIT; BEGIN");
        text
    }

    /// Whether an entry that failed is made at the end.
    pub(super) fn may_defer(&self, entry: &Listed, error: &Error) -> bool {
        !self.is_rehearsal && self.deferred.takes_entry(&entry.kind, error)
    }

    /// The entry could not be made, and will be at the end.
    pub(super) async fn defer(
        &mut self,
        entry: &Listed,
        line: u64,
        text: &[u8],
        error: &Error,
    ) -> Result<()> {
        let place = match line {
            0 => self.place.clone(),
            line => format!("{}:{line}", self.place),
        };
        let mut makes = entry.kind != b"COMMENT";
        for (part, range) in wording::parts(text) {
            let said = &text[range];
            // What the next entries are made with holds, whatever becomes of this one.
            if matches!(part, wording::Part::Tablespace | wording::Part::Setting) {
                self.execute(said).await?;
                self.has_set = true;
                continue;
            }
            let space = self.tablespace().await?;
            let statements = match split(said) {
                Ok(parts) if parts.iter().all(|part| part.is_plain) => {
                    parts.into_iter().map(|part| part.text).collect()
                }
                _ => vec![said.to_vec()],
            };
            for sql in statements {
                let said = Said {
                    what: described(entry),
                    place: place.clone(),
                    sql: &sql,
                    key: (entry.table_oid, entry.oid),
                    needs: &[],
                    makes: std::mem::take(&mut makes),
                    space: space.clone(),
                };
                self.deferred
                    .add(self.session, said, error.to_string())
                    .await?;
            }
        }
        Ok(())
    }

    /// In which the next object is made.
    async fn tablespace(&self) -> Result<String> {
        let show =
            "SELECT pg_catalog.quote_literal(pg_catalog.current_setting('default_tablespace'))";
        Ok(self.session.client.query_typed(show, &[]).await?[0].get(0))
    }
}

/// What an earlier run has kept; nothing in a rehearsal.
pub(super) fn kept<T: DeserializeOwned + Default>(
    progress: Option<&Progress>,
    name: &str,
) -> Result<T> {
    match progress {
        Some(progress) => progress.kept(name),
        None => Ok(T::default()),
    }
}
