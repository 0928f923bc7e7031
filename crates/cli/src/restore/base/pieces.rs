//! Indexes and constraints, made by several sessions at once.
//!
//! pg_dump writes them in a row: indexes, unique and other constraints first, foreign keys last. None of a row needs another
//! one, so each is made as soon as a session is free and no other holds its locks, as pg_restore -j does it
//! (pg_backup_archiver.c, has_lock_conflicts). A comment, and what joins an index to that of a partitioned table, is made
//! behind the row by the restore's own session; that also makes what failed once more, in its turn, and knows what to do
//! if it fails again.

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
use crate::restore::target::statements::split;

/// What the next objects are made with, as statements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Settings {
    tablespace: Vec<u8>,
    method: Vec<u8>,
}

impl Settings {
    /// Those of the session. The values are in its client_encoding.
    async fn of(session: &Session) -> Result<Settings> {
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

    fn to_sql(&self) -> Vec<u8> {
        [&self.tablespace[..], b"; ", &self.method].concat()
    }
}

/// An entry of a row.
struct Piece {
    number: u64,
    entry: Listed,
    /// Of its text in the dump; 0 if it is not text in a file.
    line: u64,
    text: Vec<u8>,
    before: Settings,
    /// The tables that it locks, by their names in SQL.
    locks: Vec<Vec<u8>>,
    /// It has its turn behind the row.
    is_last: bool,
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
            if self.passes(entry, text).await? {
                return Ok(());
            }
            return self.entry(entry, line, text).await;
        };
        let is_key = entry.kind == b"FK CONSTRAINT";
        let is_first = matches!(entry.kind.as_slice(), b"INDEX" | b"CONSTRAINT") || is_key;
        if is_first && row.is_of_keys != is_key {
            self.end_row(loading, row).await?;
        }
        if row.pieces.is_empty() {
            row.first = Settings::of(self.session).await?;
            row.settings = row.first.clone();
            row.is_of_keys = is_key;
        }
        let before = row.settings.clone();
        for part in parts.iter().filter(|part| is_own(&part.text)) {
            row.settings.take(&part.text);
        }
        row.pieces.push(Piece {
            number: self.next,
            entry: entry.clone(),
            line,
            text: text.to_vec(),
            before,
            locks: locks_of(entry, text),
            is_last: !is_first,
        });
        self.next += 1;
        Ok(())
    }

    fn makes_beside(&self, loading: &Loading<'_>, entry: &Listed, row: &Row) -> bool {
        if loading.sessions.is_empty() || self.is_rehearsal || !self.rights.is_unlimited() {
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
        let work = Work {
            waiting: RefCell::new(pieces.iter().filter(is_to_make).collect()),
            locked: RefCell::default(),
            made: RefCell::default(),
            freed: Notify::new(),
        };
        let sessions = loading.sessions.iter().zip(1..);
        let this = &*self;
        try_join_all(sessions.map(|(session, number)| work.by(this, session, number))).await?;
        self.loaded.extend(work.made.into_inner());
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
struct Work<'p> {
    waiting: RefCell<Vec<&'p Piece>>,
    /// Tables that are locked now.
    locked: RefCell<Vec<Vec<u8>>>,
    made: RefCell<BTreeSet<u64>>,
    freed: Notify,
}

impl<'p> Work<'p> {
    /// The first one that no other is in the way of.
    fn take(&self) -> Option<&'p Piece> {
        let (mut waiting, mut locked) = (self.waiting.borrow_mut(), self.locked.borrow_mut());
        let is_free = |piece: &&Piece| !piece.locks.iter().any(|table| locked.contains(table));
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

    async fn by<'a>(&self, own: &Entries<'a>, session: &'a Session, number: i32) -> Result<()> {
        let mut entries = own.beside(session, number).await?;
        loop {
            let Some(piece) = self.take() else {
                if self.waiting.borrow().is_empty() {
                    break;
                }
                self.freed.notified().await;
                continue;
            };
            if make(&mut entries, piece).await? {
                self.made.borrow_mut().insert(piece.number);
            }
            own.session.add_warnings(session.warnings());
            self.give_back(piece);
        }
        entries.leave().await
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
fn locks_of(entry: &Listed, text: &[u8]) -> Vec<Vec<u8>> {
    let name = |start: &[u8], end: &[u8]| {
        let at = memmem::find(text, start)? + start.len();
        let length = text[at..].iter().position(|byte| end.contains(byte))?;
        Some(text[at..at + length].trim_ascii().to_vec())
    };
    let altered = name(b"ALTER TABLE ONLY ", b"\n").or_else(|| name(b"ALTER TABLE ", b"\n"));
    let referenced = match entry.kind.as_slice() {
        b"FK CONSTRAINT" => name(b" REFERENCES ", b"("),
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
        let key = "ALTER TABLE ONLY public.\"a b\"\n    ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES public.t(a);\n";
        assert_eq!(locks("FK CONSTRAINT", key), ["public.\"a b\"", "public.t"]);
    }

    #[test]
    fn an_entry_waits_until_its_locks_are_free() {
        let piece = |number, lock: &str| Piece {
            number,
            entry: Listed::default(),
            line: 0,
            text: Vec::new(),
            before: Settings::default(),
            locks: vec![lock.as_bytes().to_vec()],
            is_last: false,
        };
        let pieces = [piece(1, "a"), piece(2, "a"), piece(3, "b")];
        let work = Work {
            waiting: RefCell::new(pieces.iter().collect()),
            locked: RefCell::default(),
            made: RefCell::default(),
            freed: Notify::new(),
        };
        let mut taken = Vec::new();
        while let Some(piece) = work.take() {
            taken.push(piece.number);
        }
        assert_eq!(taken, [1, 3]);
        work.give_back(&pieces[0]);
        assert_eq!(work.take().map(|piece| piece.number), Some(2));
    }
}
