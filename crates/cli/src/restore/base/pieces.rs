//! Indexes and constraints, made by several sessions at once.
//!
//! pg_dump writes them in a row: indexes, unique and other constraints first, foreign keys last. None of a row needs another
//! one, so each is made as soon as a session is free and no other holds its locks, as pg_restore -j does it
//! (pg_backup_archiver.c, has_lock_conflicts). A comment, and what joins an index to that of a partitioned table, is made
//! behind the row by the restore's own session; that also makes what failed once more, in its turn, and knows what to do
//! if it fails again.
//!
//! Those of the first row are made while rows are still loaded, where the dump says which rows they need ([`super::first_row`]).

use std::cell::RefCell;
use std::collections::BTreeSet;

use archive::dump::Listed;
use futures_util::future::try_join_all;
use memchr::memmem;
use tokio::sync::Notify;

use super::entry::Entries;
use super::plain::is_own;
use super::Loading;
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::restore::target::statements::{split, Statement};

/// What the next objects are made with, as statements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settings {
    tablespace: Vec<u8>,
    method: Vec<u8>,
}

impl Settings {
    /// Those of the session. The values are in its client_encoding.
    pub async fn of(session: &Session) -> Result<Settings> {
        let show = "SELECT convert_to(format('SET %s = %L', name, current_setting(name)), current_setting('client_encoding')) \
            FROM unnest('{default_tablespace,default_table_access_method}'::text[]) WITH ORDINALITY AS n (name, nth) ORDER BY nth";
        let rows = session.client.query_typed(show, &[]).await?;
        Ok(Settings {
            tablespace: rows[0].get(0),
            method: rows[1].get(0),
        })
    }

    fn take(&mut self, statement: &[u8]) {
        let place = if statement.starts_with(b"SET default_tablespace") {
            &mut self.tablespace
        } else {
            &mut self.method
        };
        *place = statement.to_vec();
    }

    /// Takes what a text sets for itself and what follows; the settings before it.
    pub fn pass(&mut self, text: &[Statement]) -> Settings {
        let before = self.clone();
        for part in text.iter().filter(|part| is_own(&part.text)) {
            self.take(&part.text);
        }
        before
    }

    fn to_sql(&self) -> Vec<u8> {
        [&self.tablespace[..], b"; ", &self.method].concat()
    }
}

/// An entry of a row.
pub(super) struct Piece {
    pub number: u64,
    pub entry: Listed,
    /// Of its text in the dump; 0 if it is not text in a file.
    pub line: u64,
    pub text: Vec<u8>,
    pub before: Settings,
    /// The tables that it locks, by their names in SQL.
    pub locks: Vec<Vec<u8>>,
    pub needs: Needs,
    /// It has its turn behind the row.
    pub is_last: bool,
}

/// The entries whose rows must be there before a piece is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Needs {
    All,
    These(Vec<u64>),
}

impl Needs {
    fn has(&self, missing: &BTreeSet<u64>) -> bool {
        match self {
            Needs::All => missing.is_empty(),
            Needs::These(rows) => !rows.iter().any(|row| missing.contains(row)),
        }
    }
}

/// Whether an entry is an index or a constraint, without foreign keys.
pub(super) fn is_index(entry: &Listed) -> bool {
    matches!(entry.kind.as_slice(), b"INDEX" | b"CONSTRAINT")
}

/// Entries that are made at the same time.
#[derive(Default)]
pub(super) struct Row {
    pieces: Vec<Piece>,
    /// They are foreign keys.
    is_of_keys: bool,
    /// At its beginning, and at its end.
    first: Settings,
    settings: Settings,
}

impl<'a> Entries<'a> {
    /// A definition has its turn: it joins a row, or ends it.
    pub(super) async fn definition(
        &mut self,
        loading: &Loading<'a>,
        row: &mut Row,
        (entry, line): (&Listed, u64),
        text: &[u8],
    ) -> Result<()> {
        let is_beside = self.next >= self.done && self.makes_beside(loading, entry, row);
        let parts = is_beside.then(|| split(text).ok()).flatten();
        let parts = parts.filter(|parts| parts.iter().all(|part| part.is_plain));
        let Some(parts) = parts else {
            self.end_row(loading, row).await?;
            let is_made = self.is_loaded();
            if self.passes(entry, text).await? {
                // The session beside that has made it is gone; what follows is made with the same settings.
                if is_made {
                    self.set_as(text).await?;
                }
                return Ok(());
            }
            return self.entry(entry, line, text).await;
        };
        let is_key = entry.kind == b"FK CONSTRAINT";
        let is_first = is_index(entry) || is_key;
        if is_first && row.is_of_keys != is_key {
            self.end_row(loading, row).await?;
        }
        if row.pieces.is_empty() {
            row.first = Settings::of(self.session).await?;
            row.settings = row.first.clone();
            row.is_of_keys = is_key;
        }
        let before = row.settings.pass(&parts);
        row.pieces.push(Piece {
            number: self.next,
            entry: entry.clone(),
            line,
            text: text.to_vec(),
            before,
            locks: locks_of(entry, text),
            needs: Needs::All,
            is_last: !is_first,
        });
        self.next += 1;
        Ok(())
    }

    /// Executes what a text sets for the entries that follow.
    async fn set_as(&mut self, text: &[u8]) -> Result<()> {
        let parts = split(text).unwrap_or_default();
        for part in parts
            .iter()
            .filter(|part| part.is_plain && is_own(&part.text))
        {
            self.execute(&part.text).await?;
            self.has_set = true;
        }
        Ok(())
    }

    /// Whether there are rows of pieces.
    pub(super) fn has_pieces(&self, loading: &Loading<'_>) -> bool {
        !loading.sessions.is_empty() && !self.is_rehearsal && self.rights.is_unlimited()
    }

    fn makes_beside(&self, loading: &Loading<'_>, entry: &Listed, row: &Row) -> bool {
        if !self.has_pieces(loading) {
            return false;
        }
        match entry.kind.as_slice() {
            b"INDEX" | b"CONSTRAINT" | b"FK CONSTRAINT" => true,
            b"COMMENT" | b"INDEX ATTACH" => !row.pieces.is_empty(),
            _ => false,
        }
    }

    /// Makes what is in the row.
    pub(super) async fn end_row(&mut self, loading: &Loading<'a>, row: &mut Row) -> Result<()> {
        let Row {
            pieces,
            first,
            settings,
            ..
        } = std::mem::take(row);
        if pieces.is_empty() {
            return Ok(());
        }
        let next = self.next;
        let is_to_make = |piece: &&Piece| !piece.is_last && !self.loaded.contains(&piece.number);
        let work = Work::new(pieces.iter().filter(is_to_make).collect(), BTreeSet::new());
        let sessions = loading.sessions.iter().zip(1..);
        let (this, all) = (&*self, &work);
        try_join_all(sessions.map(|(session, number)| async move {
            let mut entries = this.beside(session, number).await?;
            all.by(this, &mut entries).await?;
            entries.leave().await
        }))
        .await?;
        self.loaded.extend(work.into_made());
        // What failed has an order: an index before what joins it.
        for piece in pieces {
            self.next = piece.number;
            if self.passes(&piece.entry, &piece.text).await? {
                continue;
            }
            self.execute(&piece.before.to_sql()).await?;
            self.has_set = true;
            let (entry, line) = (&piece.entry, piece.line);
            self.entry(entry, line, &piece.text).await?;
        }
        self.next = next;
        if settings != first {
            self.execute(&settings.to_sql()).await?;
            self.has_set = true;
        }
        Ok(())
    }
}

/// What several sessions make.
pub(super) struct Work<'p> {
    waiting: RefCell<Vec<&'p Piece>>,
    /// Entries whose rows are not all there yet.
    missing: RefCell<BTreeSet<u64>>,
    /// Tables that are locked now.
    locked: RefCell<Vec<Vec<u8>>>,
    made: RefCell<BTreeSet<u64>>,
    freed: Notify,
}

impl<'p> Work<'p> {
    /// `missing`: the entries whose rows are not all there yet.
    pub fn new(waiting: Vec<&'p Piece>, missing: BTreeSet<u64>) -> Work<'p> {
        Work {
            waiting: RefCell::new(waiting),
            missing: RefCell::new(missing),
            locked: RefCell::default(),
            made: RefCell::default(),
            freed: Notify::new(),
        }
    }

    /// The first one that nothing is in the way of.
    fn take(&self) -> Option<&'p Piece> {
        let (mut waiting, mut locked) = (self.waiting.borrow_mut(), self.locked.borrow_mut());
        let missing = self.missing.borrow();
        let is_free = |piece: &&Piece| {
            piece.needs.has(&missing) && !piece.locks.iter().any(|table| locked.contains(table))
        };
        let at = waiting.iter().position(is_free)?;
        let piece = waiting.remove(at);
        locked.extend_from_slice(&piece.locks);
        Some(piece)
    }

    fn give_back(&self, piece: &Piece) {
        let mut locked = self.locked.borrow_mut();
        locked.retain(|table| !piece.locks.contains(table));
        self.freed.notify_waiters();
    }

    /// The rows of an entry are there.
    pub fn has_rows(&self, number: u64) {
        self.missing.borrow_mut().remove(&number);
        self.freed.notify_waiters();
    }

    /// Makes them by a session, whose entries these are, beside `own`, until none is left.
    pub async fn by(&self, own: &Entries<'_>, entries: &mut Entries<'_>) -> Result<()> {
        loop {
            let Some(piece) = self.take() else {
                if self.waiting.borrow().is_empty() {
                    return Ok(());
                }
                self.freed.notified().await;
                continue;
            };
            if make(entries, piece).await? {
                self.made.borrow_mut().insert(piece.number);
            }
            own.session.add_warnings(entries.session.warnings());
            self.give_back(piece);
        }
    }

    /// All that are made and committed.
    pub fn into_made(self) -> BTreeSet<u64> {
        self.made.into_inner()
    }
}

/// Whether it is made and committed; one that the server has refused is made in its turn.
async fn make(entries: &mut Entries<'_>, piece: &Piece) -> Result<bool> {
    entries.next = piece.number + 1;
    let end = entries.end_of_entry();
    let client = &entries.session.client;
    let before = piece.before.to_sql();
    // Each is one message, and sent when it is first polled: the answers come together.
    let (set, made, ended) = futures_util::join!(
        entries.execute(&before),
        entries.by_one_message(&piece.entry, &piece.text),
        client.batch_execute(&end)
    );
    let refused = match set.and(made) {
        Ok(()) => return ended.map(|()| true).map_err(Error::from),
        Err(error) => error,
    };
    match &refused {
        Error::Server(error) if error.as_db_error().is_some() && !client.is_closed() => {
            // Of another session's warnings none is about what was not made.
            drop(entries.session.warnings());
            client.batch_execute("ROLLBACK; BEGIN").await?;
            Ok(false)
        }
        _ => Err(refused),
    }
}

/// The tables that an entry locks against others of its row. CREATE INDEX lets other indexes of its table be made; what
/// is set with it (CLUSTER ON, REPLICA IDENTITY) does not.
pub(super) fn locks_of(entry: &Listed, text: &[u8]) -> Vec<Vec<u8>> {
    let name = |start: &[u8]| {
        let at = memmem::find(text, start)? + start.len();
        let mut is_quoted = false;
        let length = text[at..].iter().position(|byte| {
            is_quoted ^= *byte == b'"';
            !is_quoted && matches!(byte, b' ' | b'\n' | b'(' | b';')
        })?;
        Some(text[at..at + length].to_vec())
    };
    let altered = name(b"ALTER TABLE ONLY ").or_else(|| name(b"ALTER TABLE "));
    let referenced = match entry.kind.as_slice() {
        b"FK CONSTRAINT" => name(b" REFERENCES "),
        _ => None,
    };
    altered.into_iter().chain(referenced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locks(kind: &str, text: &str) -> Vec<String> {
        let entry = Listed {
            kind: kind.into(),
            ..Listed::default()
        };
        let locks = locks_of(&entry, text.as_bytes()).into_iter();
        locks
            .map(|table| String::from_utf8_lossy(&table).into_owned())
            .collect()
    }

    #[test]
    fn a_constraint_locks_its_table_and_a_foreign_key_both() {
        let none: [&str; 0] = [];
        assert_eq!(
            locks("INDEX", "CREATE INDEX i ON public.t USING btree (a);\n"),
            none
        );
        let unique = "ALTER TABLE ONLY public.t\n    ADD CONSTRAINT t_pkey PRIMARY KEY (a);\n";
        assert_eq!(locks("CONSTRAINT", unique), ["public.t"]);
        let index = "CREATE INDEX i ON public.\"a b\" USING btree (a);\n\nALTER TABLE public.\"a b\" CLUSTER ON i;\n";
        assert_eq!(locks("INDEX", index), ["public.\"a b\""]);
        let key = "ALTER TABLE ONLY public.\"a b\"\n    ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES public.t(a);\n";
        assert_eq!(locks("FK CONSTRAINT", key), ["public.\"a b\"", "public.t"]);
    }

    #[test]
    fn an_entry_waits_until_its_locks_are_free_and_its_rows_there() {
        let piece = |number, lock: &str, needs: &[u64]| Piece {
            number,
            entry: Listed::default(),
            line: 0,
            text: Vec::new(),
            before: Settings::default(),
            locks: vec![lock.as_bytes().to_vec()],
            needs: Needs::These(needs.to_vec()),
            is_last: false,
        };
        let pieces = [
            piece(1, "a", &[]),
            piece(2, "a", &[]),
            piece(3, "b", &[8]),
            piece(4, "c", &[8, 9]),
        ];
        let work = Work::new(pieces.iter().collect(), [9].into());
        let mut taken = Vec::new();
        while let Some(piece) = work.take() {
            taken.push(piece.number);
        }
        assert_eq!(taken, [1, 3]);
        work.give_back(&pieces[0]);
        assert_eq!(work.take().map(|piece| piece.number), Some(2));
        assert!(work.take().is_none());
        work.has_rows(9);
        assert_eq!(work.take().map(|piece| piece.number), Some(4));
    }
}
