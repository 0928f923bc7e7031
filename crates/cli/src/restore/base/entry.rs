//! Executes the entries of a dump, whatever its format.
//!
//! The text of an entry is sent as one message: only a parser of SQL could divide it (a function body may contain `;`
//! without any quotes), and nothing is gained, since the table of contents already says where it begins and ends, and a
//! message knows no meta-commands and no variables. If one of its statements fails, none of them has an effect.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use archive::dump::{Listed, STAND_INS_END_SQL, STAND_INS_SQL};
use archive::storage;
use tokio_postgres::error::ErrorPosition;
use tokio_postgres::types::Type;

use super::beside;
use super::checks::Checks;
use super::turns::kept;
use super::Loading;
use crate::connection::{Raw, Session};
use crate::error::{Error, Result};
use crate::quote::shown;
use crate::restore::counts::Counts;
use crate::restore::deferred::Deferred;
use crate::restore::part::Wanted;
use crate::restore::progress::{self, Progress, Stage};
use crate::restore::rights::keys::Noted;
use crate::restore::rights::Rights;

/// Executes entries in the session.
pub struct Entries<'a> {
    pub(super) session: &'a Session,
    pub(super) is_utf8: bool,
    /// The dump, for messages.
    pub(super) place: String,
    pub(super) checks: Checks,
    /// Checks that are skipped are off.
    pub(super) is_quiet: bool,
    pub(super) stand_ins: Option<StandIns>,
    /// OIDs of materialized views.
    pub to_refresh: Vec<u32>,
    /// The entry that comes, and how many an earlier run has done.
    pub(super) next: u64,
    pub(super) done: u64,
    /// Entries behind those that are done, too.
    pub(super) loaded: BTreeSet<u64>,
    /// The entries are those of a session beside the restore's: each is noted by itself.
    pub(super) is_beside: bool,
    /// The session's settings are not those of the last commit.
    pub(super) has_set: bool,
    pub(super) rights: Rc<Rights>,
    /// Nothing is committed, and no rows are loaded: it is only asked what would be refused.
    pub(super) is_rehearsal: bool,
    /// In a scratch database, which no other run goes on with.
    pub(super) is_part: bool,
    /// Foreign keys will be set aside.
    pub(super) sets_keys_aside: bool,
    pub(super) keys: Vec<Noted>,
    pub(super) deferred: Deferred,
    pub(super) counts: Counts,
    /// Only a part of it is wanted.
    pub(super) part: Option<&'a Wanted>,
}

/// Functions that replace those of pg_incrbackup, in defaults and checks, while the tables are created.
pub(super) struct StandIns {
    /// The entry before which they are made.
    pub(super) first: i32,
    pub(super) make: Vec<u8>,
    pub(super) drop: Vec<u8>,
    pub(super) is_made: bool,
}

impl<'a> Entries<'a> {
    /// Prepares the session.
    pub async fn begin(
        loading: &Loading<'a>,
        session: &'a Session,
        progress: Option<&Progress>,
    ) -> Result<Entries<'a>> {
        let functions = include_str!("functions.sql");
        session.client.batch_execute(functions).await?;
        let entries = Entries {
            session,
            is_utf8: loading.base.metadata.source.encoding == "UTF8",
            place: loading
                .storage
                .place(&loading.file(&loading.base.metadata.dump)),
            checks: Checks::prepare(session, loading.skip_checks.to_vec()).await?,
            is_quiet: false,
            stand_ins: StandIns::read(loading)?,
            to_refresh: Vec::new(),
            next: 0,
            done: progress.map_or(0, |progress| progress.pieces),
            loaded: match progress.filter(|progress| progress.is_resumed) {
                Some(_) => beside::loaded(session).await?,
                None => BTreeSet::new(),
            },
            is_beside: false,
            has_set: false,
            rights: Rc::clone(&loading.rights),
            is_rehearsal: loading.is_rehearsal,
            is_part: loading.part.is_some(),
            sets_keys_aside: loading.sets_keys_aside,
            keys: kept(progress, "noted_keys")?,
            counts: Counts::new(kept(progress, "uncounted")?),
            deferred: Deferred::new(loading.on_error, kept(progress, "deferred")?),
            part: loading.part,
        };
        if let Some(progress) = progress {
            progress.set(session).await?;
            session.client.batch_execute("BEGIN").await?;
        }
        Ok(entries)
    }

    pub fn session(&self) -> &'a Session {
        self.session
    }

    /// What client_encoding is.
    pub fn is_utf8(&self) -> bool {
        self.is_utf8
    }

    /// What must happen between the previous entry and this one.
    pub async fn before(&mut self, entry: &Listed) -> Result<()> {
        let stand_ins = self.stand_ins.as_ref();
        if stand_ins.is_some_and(|it| !it.is_made && it.first == entry.dump_id) {
            self.make_stand_ins().await?;
        }
        if is_rows(entry) && self.stand_ins.as_ref().is_some_and(|it| it.is_made) {
            self.drop_stand_ins().await?;
        }
        // All tables are made before the first rows are loaded.
        let loads_rows = entry.is_data && !self.is_rehearsal;
        if loads_rows && !self.is_quiet && self.checks.skips_any() {
            self.checks.quiet(self.session).await?;
            self.is_quiet = true;
            self.has_set = true;
        }
        Ok(())
    }

    /// So many rows of the entry are in the table now.
    pub async fn count(&mut self, table: &[u8], rows: u64) -> Result<()> {
        self.counts
            .add(table, i64::try_from(rows).unwrap_or(i64::MAX));
        self.counts.flush(self.session).await
    }

    /// Executes a whole entry that is text, and commits. `line`: see [`Self::sql`].
    pub async fn entry(&mut self, entry: &Listed, line: u64, text: &[u8]) -> Result<()> {
        self.before(entry).await?;
        if entry.kind == b"MATERIALIZED VIEW DATA" || !self.rights.is_unlimited() {
            self.sql(entry, line, text).await?;
            return self.commit().await;
        }
        self.next += 1;
        self.has_set |= sets(text);
        let end = self.end_of_entry();
        self.has_set = false;
        // Each is one message, and sent when it is first polled: the answers to both come together.
        let committing = self.session.client.batch_execute(&end);
        let (done, committed) = futures_util::join!(self.by_one_message(entry, text), committing);
        let Err(error) = done else {
            return Ok(committed?);
        };
        if !self.deferred.takes_entry(&entry.kind, &error) {
            return Err(self.at(entry, line, text, error));
        }
        let client = &self.session.client;
        client.batch_execute("ROLLBACK; BEGIN").await?;
        self.defer(entry, line, text, &error).await?;
        let end = self.end_of_entry();
        Ok(self.session.client.batch_execute(&end).await?)
    }

    /// Executes the text of an entry; `line` is the number of its first line, 0 if it is not text in a file.
    pub async fn sql(&mut self, entry: &Listed, line: u64, text: &[u8]) -> Result<()> {
        self.has_set |= sets(text);
        if !self.rights.is_unlimited() {
            return self.by_parts(entry, line, text).await;
        }
        let done = self.execute_entry(entry, text).await;
        done.map_err(|error| self.at(entry, line, text, error))
    }

    /// Executes the text of an entry of this kind.
    pub(super) async fn execute_entry(&mut self, entry: &Listed, text: &[u8]) -> Result<()> {
        match entry.kind.as_slice() {
            b"MATERIALIZED VIEW DATA" => self.note_view(text).await,
            _ => self.by_one_message(entry, text).await,
        }
    }

    /// Executes statements.
    pub(super) async fn execute(&self, text: &[u8]) -> Result<()> {
        execute(self.session, self.is_utf8, text).await
    }

    pub(super) async fn by_one_message(&self, entry: &Listed, text: &[u8]) -> Result<()> {
        match entry.kind.as_slice() {
            b"EVENT TRIGGER" | b"FOREIGN DATA WRAPPER" | b"PUBLICATION" | b"SUBSCRIPTION" => {
                self.pass("SELECT pg_temp.incr_own($1)", text).await
            }
            b"FK CONSTRAINT" => self.pass("SELECT pg_temp.incr_foreign_key($1)", text).await,
            _ => self.execute(text).await,
        }
    }

    /// After the last entry; commits that the base is there.
    pub async fn end(&mut self) -> Result<()> {
        if self.stand_ins.as_ref().is_some_and(|it| it.is_made) {
            self.drop_stand_ins().await?;
        }
        if self.is_quiet {
            self.checks.loud(self.session).await?;
        }
        if self.is_rehearsal {
            return Ok(());
        }
        let stage = progress::sql::stage(Stage::Changes);
        let views = progress::sql::keep("views", &self.to_refresh);
        let settings = progress::sql::KEEP_SETTINGS;
        let keys = progress::sql::keep("noted_keys", &self.keys);
        let end = format!("{settings}; {views}; {keys}; {stage}; COMMIT");
        Ok(self.session.client.batch_execute(&end).await?)
    }

    /// Adds file, line and object to an error of the server.
    pub fn at(&self, entry: &Listed, line: u64, text: &[u8], error: Error) -> Error {
        let Error::Server(server) = &error else {
            return error;
        };
        let position = server.as_db_error().and_then(|error| error.position());
        let place = match (line, position) {
            (0, _) => self.place.clone(),
            (line, Some(ErrorPosition::Original(at))) => {
                let line = line + lines_before(text, *at as usize);
                format!("{}:{line}", self.place)
            }
            (line, _) => format!("{}:{line}", self.place),
        };
        let message = format!("{place}: {}: {error}", described(entry));
        error.with_message(message)
    }

    /// The dump contradicts its table of contents.
    pub fn misfit(&self, entry: Option<&Listed>, why: &str) -> Error {
        let where_ = entry.map_or(String::new(), |entry| format!(" at {}", described(entry)));
        Error::Damaged {
            message: format!(
                "{}: the dump does not match its table of contents{where_}: {why}",
                self.place
            ),
            hint: "Take the base from another copy of the archive, or use an older base."
                .to_owned(),
        }
    }

    async fn pass(&self, call: &str, text: &[u8]) -> Result<()> {
        let text = (
            &Raw(text) as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::TEXT,
        );
        self.session.client.query_typed(call, &[text]).await?;
        Ok(())
    }

    /// Materialized views get their rows at the end, when all that they may read is there.
    pub(super) async fn note_view(&mut self, text: &[u8]) -> Result<()> {
        let name = text.trim_ascii();
        let name = name.strip_prefix(b"REFRESH MATERIALIZED VIEW ");
        let Some(name) = name.and_then(|name| name.strip_suffix(b";")) else {
            return Err(self.misfit(None, "a materialized view is not refreshed"));
        };
        let find = "SELECT pg_catalog.to_regclass($1)::pg_catalog.oid";
        let name = (
            &Raw(name) as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::TEXT,
        );
        let rows = self.session.client.query_typed(find, &[name]).await?;
        self.to_refresh.extend(rows[0].get::<_, Option<u32>>(0));
        Ok(())
    }

    async fn make_stand_ins(&mut self) -> Result<()> {
        if let Some(it) = &mut self.stand_ins {
            it.is_made = true;
            execute(self.session, self.is_utf8, &it.make).await?;
        }
        Ok(())
    }

    async fn drop_stand_ins(&mut self) -> Result<()> {
        match self.stand_ins.take() {
            Some(it) => execute(self.session, self.is_utf8, &it.drop).await,
            None => Ok(()),
        }
    }
}

impl StandIns {
    fn read(loading: &Loading<'_>) -> Result<Option<StandIns>> {
        let read = |name: &str| storage::read(&*loading.storage, &loading.file(name));
        let (Some(make), Some(drop)) = (read(STAND_INS_SQL)?, read(STAND_INS_END_SQL)?) else {
            return Ok(None);
        };
        let first = first_entry(&make).ok_or_else(|| {
            let place = loading.storage.place(&loading.file(STAND_INS_SQL));
            archive::Error::damaged(Path::new(&place), 0, "it does not name an entry")
        })?;
        Ok(Some(StandIns {
            first,
            make,
            drop,
            is_made: false,
        }))
    }
}

/// Of `-- Before entry 215 of dump.toc or dump.list`.
fn first_entry(text: &[u8]) -> Option<i32> {
    let line = text.split(|byte| *byte == b'\n').next()?;
    let words = std::str::from_utf8(line).ok()?;
    let number = words.strip_prefix("-- Before entry ")?.split(' ').next()?;
    number.parse().ok()
}

/// Rows, or the position of a sequence.
pub(super) fn is_rows(entry: &Listed) -> bool {
    entry.is_data || entry.kind == b"SEQUENCE SET"
}

/// Whether a text may set what the next entries are made with.
fn sets(text: &[u8]) -> bool {
    memchr::memmem::find(text, b"default_table").is_some()
}

/// Sends text of one or more statements, in the session's client_encoding.
pub async fn execute(session: &Session, is_utf8: bool, text: &[u8]) -> Result<()> {
    match std::str::from_utf8(text) {
        Ok(text) if is_utf8 || text.is_ascii() => Ok(session.client.batch_execute(text).await?),
        // EXECUTE of PL/pgSQL takes several, too.
        _ => session.statement(text).await.map(|_| ()),
    }
}

/// A position in a statement is that of a character, from 1.
fn lines_before(text: &[u8], position: usize) -> u64 {
    let text = String::from_utf8_lossy(text);
    let before = text.chars().take(position.saturating_sub(1));
    before.filter(|c| *c == '\n').count() as u64
}

/// As pg_dump's comment calls it.
pub(super) fn described(entry: &Listed) -> String {
    let kind = shown(&entry.kind);
    let name = shown(&entry.name);
    match &entry.schema {
        Some(schema) => format!("{kind} {}.{name}", shown(schema)),
        None => format!("{kind} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_an_error_is_that_of_its_character() {
        let text = "SELECT 'ä\n',\nb".as_bytes();
        assert_eq!(lines_before(text, 1), 0);
        assert_eq!(lines_before(text, 11), 1);
        assert_eq!(lines_before(text, 14), 2);
        assert_eq!(lines_before(text, 1000), 2);
    }

    #[test]
    fn the_entry_before_which_stand_ins_are_made_is_read() {
        let text = b"-- Before entry 215 of dump.toc or dump.list\nDO $$BEGIN END$$;\n";
        assert_eq!(first_entry(text), Some(215));
        assert_eq!(first_entry(b"DO 1"), None);
    }
}
