//! The appender: writes transactions to the open segment of a chain and closes it.
//!
//! It guarantees that a transaction is in the files once, in commit order; that nothing is written that the
//! parser would not accept; and that memory is bounded whatever the size of a transaction. After a failed
//! write or fsync the appender cannot be used any more: drop it and open the chain again, which truncates the
//! torn tail. Opening is in `resume`, closing in `rotate`, bytes and fsync in `file`.

use std::fs::File;
use std::path::PathBuf;

use memchr::{memchr, memchr2};

use super::cluster_fact::ClusterFact;
use super::ddl_block::DdlBlock;
use super::effect::{EffectNote, Words};
use super::file::SegmentFile;
use super::flag::{self, Lost};
use super::grammar::{
    CommentWriter, Key, BEGIN, COMMIT, COPY_END, COPY_PREFIX, COPY_SUFFIX, SETVAL_PREFIX,
};
use super::header::Header;
use super::mark::Mark;
use super::resume::{SegmentIdentity, TornTail};
use super::summary::Tally;
use super::who::Who;
use crate::error::{Error, Result};
use crate::layout::ChainDir;
use crate::lsn::Lsn;
use crate::time::Time;

/// Maximum length of the name and the definition of an object that is left out, so that the comment remains
/// readable and below its limit.
const LONGEST_OBJECT: usize = 200;
const LONGEST_DEFINITION: usize = 1000;

/// What an appender wrote since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub transactions: u64,
    pub statements: u64,
    pub bytes: u64,
    pub flags: u64,
}

/// The state of the appender between two calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// `begin` was called; its lines are written with the first content, so that an empty transaction writes
    /// nothing.
    Begun(Transaction),
    Inside(Transaction),
    Copying(Transaction),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Transaction {
    xid: u64,
    commit_lsn: Lsn,
    commit_time: Option<Time>,
    statements: u64,
}

/// Writes to one chain. Holds a lock on the chain's directory as long as it exists.
pub struct Appender {
    pub(super) chain: ChainDir,
    pub(super) identity: SegmentIdentity,
    pub(super) file: SegmentFile,
    pub(super) header: Header,
    pub(super) key: Key,
    pub(super) tally: Tally,
    pub(super) durable_lsn: Lsn,
    /// The last commit in the segments that this closed.
    pub(super) closed_commit: Option<Lsn>,
    pub(super) torn: Option<TornTail>,
    state: State,
    /// Who made the transaction that was begun.
    who: Option<Who>,
    counters: Counters,
    _lock: File,
}

impl Appender {
    /// For a file that `resume` opened; everything in it is durable.
    pub(super) fn around(
        chain: ChainDir,
        identity: SegmentIdentity,
        (file, header, key): (SegmentFile, Header, Key),
        tally: Tally,
        lock: File,
    ) -> Appender {
        let durable_lsn = tally.end_lsn;
        let (state, counters) = (State::Idle, Counters::default());
        let torn = None;
        Appender {
            chain,
            identity,
            file,
            header,
            key,
            tally,
            durable_lsn,
            closed_commit: None,
            torn,
            state,
            who: None,
            counters,
            _lock: lock,
        }
    }

    /// The last commit or position in the files, or the slot's start: commits at or below it are in the files
    /// already and must be skipped. Durable right after opening.
    pub fn last_lsn(&self) -> Lsn {
        self.tally.end_lsn
    }

    /// The last commit in the current segment, or in one that was closed since the chain was opened, or then.
    pub fn last_commit_lsn(&self) -> Option<Lsn> {
        self.tally.last_commit_lsn.or(self.closed_commit)
    }

    /// The same as [`Appender::last_lsn`]: the end of what was written, durable or not.
    pub fn written_lsn(&self) -> Lsn {
        self.tally.end_lsn
    }

    /// The end of what is on disk, which may be confirmed to the slot.
    pub fn durable_lsn(&self) -> Lsn {
        self.durable_lsn
    }

    /// The open segment.
    pub fn current_file(&self) -> PathBuf {
        self.file.path().to_owned()
    }

    /// Size of the open segment, buffered bytes included.
    pub fn bytes_in_segment(&self) -> u64 {
        self.file.bytes()
    }

    /// What was written since opening.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// When the open segment was opened.
    pub fn opened_at(&self) -> Time {
        self.header.opened_at
    }

    /// What was truncated from the open segment when it was opened, if anything.
    pub fn torn_tail(&self) -> Option<&TornTail> {
        self.torn.as_ref()
    }

    /// Begins a transaction; `commit_lsn` is the end of its commit record. Nothing is written before its
    /// first content. Without a commit time (a foreign plugin on a server that does not track them) the
    /// segment cannot be restored to a time.
    pub fn begin(
        &mut self,
        xid: u64,
        commit_lsn: Lsn,
        commit_time: impl Into<Option<Time>>,
    ) -> Result<()> {
        let commit_time = commit_time.into();
        self.ensure_idle("begin")?;
        if commit_lsn <= self.last_lsn() {
            return Err(self.out_of_order(commit_lsn));
        }
        self.state = State::Begun(Transaction {
            xid,
            commit_lsn,
            commit_time,
            statements: 0,
        });
        self.who = None;
        Ok(())
    }

    /// Who made the transaction: called between [`Appender::begin`] and its first content.
    pub fn made_by(&mut self, who: Who) -> Result<()> {
        if !matches!(self.state, State::Begun(_)) {
            return Err(self.refused("who made a transaction, without its beginning"));
        }
        self.who = Some(who);
        Ok(())
    }

    /// Writes one statement, which is on one line and ends with a semicolon.
    pub fn statement(&mut self, text: &[u8]) -> Result<()> {
        let poses = text == BEGIN.as_bytes() || text == COMMIT.as_bytes() || is_copy_start(text);
        if poses || text.starts_with(SETVAL_PREFIX.as_bytes()) || text.starts_with(b"--") {
            return Err(self.refused("a statement that looks like a structural comment"));
        }
        self.one_line(text)?;
        self.inside("statement")?.statements += 1;
        self.put_line(text)
    }

    /// Writes one `SELECT pg_catalog.setval(…);`, which does not count as a statement.
    pub fn setval(&mut self, text: &[u8]) -> Result<()> {
        self.ensure_setval(text)?;
        self.inside("setval")?;
        self.put_line(text)
    }

    /// Begins a COPY block with its `COPY … FROM stdin;` line.
    pub fn copy_start(&mut self, text: &[u8]) -> Result<()> {
        if !is_copy_start(text) {
            return Err(self.refused("a COPY block that does not begin with COPY … FROM stdin;"));
        }
        self.one_line(text)?;
        let transaction = self.inside("copy_start")?;
        transaction.statements += 1;
        let transaction = *transaction;
        self.put_line(text)?;
        self.state = State::Copying(transaction);
        Ok(())
    }

    /// Writes one row of a COPY block, in COPY's text format, without its newline.
    pub fn copy_row(&mut self, row: &[u8]) -> Result<()> {
        if !matches!(self.state, State::Copying(_)) {
            return Err(self.refused("a COPY row outside a COPY block"));
        }
        if memchr2(b'\n', 0, row).is_some() || row == COPY_END.as_bytes() {
            return Err(self.refused("a COPY row that would end its line or its block"));
        }
        self.put_line(row)
    }

    /// Ends the COPY block.
    pub fn copy_end(&mut self) -> Result<()> {
        let State::Copying(transaction) = self.state else {
            return Err(self.refused("the end of a COPY block outside of one"));
        };
        self.put_line(COPY_END.as_bytes())?;
        self.state = State::Inside(transaction);
        Ok(())
    }

    /// Writes a DDL block. `role` is the role that it needs at restore.
    pub fn ddl(
        &mut self,
        command: &str,
        role: impl AsRef<[u8]>,
        block: &DdlBlock<'_>,
    ) -> Result<()> {
        let (text, lines) = self.block(block)?;
        let comment = CommentWriter::new(self.key, "ddl")
            .field("lines", lines)
            .field("command", command)
            .bytes("role", role.as_ref())
            .finish();
        self.inside("ddl")?.statements += 1;
        self.put(comment.as_bytes())?;
        self.put_line(&text)
    }

    /// Writes an effect: the change of a statement, as a statement of our own. `block` needs neither a role
    /// nor settings; `before` and `after` are for privileges not granted by the owner.
    pub fn effect(&mut self, note: &EffectNote<'_>, block: &DdlBlock<'_>) -> Result<()> {
        let (text, lines) = self.block(block)?;
        let comment = note.line(self.key, lines);
        self.inside("effect")?.statements += 1;
        self.put(comment.as_bytes())?;
        self.put_line(&text)
    }

    /// Writes the original statement above its effects; a restore does not read it. Long texts are truncated.
    pub fn words(&mut self, words: &Words<'_>) -> Result<()> {
        let line = words.line(self.key);
        self.inside("words")?;
        self.put(line.as_bytes())
    }

    /// A block's text, and its number of lines.
    fn block(&self, block: &DdlBlock<'_>) -> Result<(Vec<u8>, usize)> {
        if block.statement.is_empty() || block.before.contains(&b'\n') {
            return Err(
                self.refused("a DDL block without a statement, or with several lines before")
            );
        }
        let text = block.write(self.key.as_str());
        if memchr(0, &text).is_some() {
            return Err(self.refused("a DDL text that holds a NUL byte"));
        }
        let lines = memchr::memchr_iter(b'\n', &text).count() + 1;
        Ok((text, lines))
    }

    /// Writes facts about roles and tablespaces that a restore needs.
    pub fn fact(&mut self, fact: &ClusterFact) -> Result<()> {
        self.inside("fact")?;
        self.put(fact.line(self.key).as_bytes())
    }

    /// Flags a change that could not be captured exactly; it is counted. `lost`: what no restore has before
    /// the next base.
    pub fn flag(&mut self, reason: &[u8], lost: Option<&Lost>) -> Result<()> {
        let comment = flag::line(self.key, reason, lost);
        self.inside("flag")?;
        self.counters.flags += 1;
        self.put(comment.as_bytes())
    }

    /// Records an object that a restore omits: kind and name, a line end, its definition, which is truncated
    /// if it is long.
    pub fn left_out(&mut self, note: &[u8]) -> Result<()> {
        let end = memchr(b'\n', note).unwrap_or(note.len());
        let (object, definition) = (&note[..end], note.get(end + 1..).unwrap_or_default());
        let comment = CommentWriter::new(self.key, "left_out")
            .bytes("object", &object[..object.len().min(LONGEST_OBJECT)])
            .bytes(
                "definition",
                &definition[..definition.len().min(LONGEST_DEFINITION)],
            )
            .finish();
        self.inside("left_out")?;
        self.put(comment.as_bytes())
    }

    /// Gives the transaction a name.
    pub fn mark(&mut self, mark: &Mark) -> Result<()> {
        let comment = mark.line(self.key);
        self.inside("a mark")?;
        self.put(comment.as_bytes())
    }

    /// Ends the transaction. It is durable only after [`Appender::sync`].
    pub fn commit(&mut self) -> Result<()> {
        match self.state {
            State::Begun(_) => self.state = State::Idle,
            State::Inside(t) => {
                self.put_line(COMMIT.as_bytes())?;
                self.tally
                    .add(t.xid, t.commit_lsn, t.commit_time, t.statements);
                self.counters.transactions += 1;
                self.counters.statements += t.statements;
                self.state = State::Idle;
            }
            State::Idle | State::Copying(_) => {
                return Err(self.refused("a commit outside a transaction or inside a COPY block"));
            }
        }
        Ok(())
    }

    /// Records that everything up to `lsn` was read and contained no changes. Nothing is written if the files
    /// are already at that position.
    pub fn position(&mut self, lsn: Lsn, at: Time) -> Result<()> {
        self.ensure_idle("position")?;
        if lsn < self.last_lsn() {
            return Err(self.out_of_order(lsn));
        }
        if lsn == self.last_lsn() {
            return Ok(());
        }
        let comment = CommentWriter::new(self.key, "position")
            .field("lsn", lsn)
            .time("at", at)
            .finish();
        self.put(comment.as_bytes())?;
        self.tally.end_lsn = lsn;
        Ok(())
    }

    /// Writes sequence positions as a separate block. `lsn` is the server's position when they were read, not
    /// below the last commit; it changes neither [`Appender::last_lsn`] nor any count.
    pub fn sequences(&mut self, lsn: Lsn, at: Time, setvals: &[Vec<u8>]) -> Result<()> {
        self.ensure_idle("sequences")?;
        if lsn < self.last_lsn() {
            return Err(self.out_of_order(lsn));
        }
        if setvals.is_empty() {
            return Ok(());
        }
        setvals
            .iter()
            .try_for_each(|text| self.ensure_setval(text))?;
        let comment = CommentWriter::new(self.key, "sequences")
            .field("lsn", lsn)
            .time("at", at)
            .finish();
        self.put(comment.as_bytes())?;
        self.put_line(BEGIN.as_bytes())?;
        setvals.iter().try_for_each(|text| self.put_line(text))?;
        self.put_line(COMMIT.as_bytes())
    }

    /// Makes everything written durable; returns its end.
    pub fn sync(&mut self) -> Result<Lsn> {
        self.file.sync()?;
        self.durable_lsn = self.tally.end_lsn;
        Ok(self.durable_lsn)
    }

    /// The open transaction, whose opening lines have been written.
    fn inside(&mut self, what: &str) -> Result<&mut Transaction> {
        if let State::Begun(transaction) = self.state {
            let comment = CommentWriter::new(self.key, "transaction")
                .field("xid", transaction.xid)
                .field("commit_lsn", transaction.commit_lsn)
                .time_or_none("commit_time", transaction.commit_time);
            let comment = match self.who.take() {
                Some(who) => who.add_to(comment),
                None => comment,
            };
            self.put(comment.finish().as_bytes())?;
            self.put_line(BEGIN.as_bytes())?;
            self.state = State::Inside(transaction);
        }
        if let State::Inside(transaction) = &mut self.state {
            return Ok(transaction);
        }
        Err(Error::refused(
            self.file.path(),
            format!("{what} outside a transaction"),
        ))
    }

    fn put_line(&mut self, text: &[u8]) -> Result<()> {
        self.put(text)?;
        self.put(b"\n")
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.put(bytes)?;
        self.counters.bytes += bytes.len() as u64;
        Ok(())
    }

    fn one_line(&self, text: &[u8]) -> Result<()> {
        if memchr2(b'\n', 0, text).is_some() || !text.ends_with(b";") {
            return Err(
                self.refused("a statement that is not one line with a semicolon at its end")
            );
        }
        Ok(())
    }

    fn ensure_setval(&self, text: &[u8]) -> Result<()> {
        if !text.starts_with(SETVAL_PREFIX.as_bytes()) {
            return Err(self.refused("a sequence position that is not a pg_catalog.setval call"));
        }
        self.one_line(text)
    }

    pub(super) fn ensure_idle(&self, what: &str) -> Result<()> {
        if self.state == State::Idle {
            return Ok(());
        }
        Err(self.refused(&format!("{what} inside a transaction")))
    }

    fn refused(&self, why: &str) -> Error {
        Error::refused(self.file.path(), why)
    }

    fn out_of_order(&self, lsn: Lsn) -> Error {
        Error::OutOfOrder {
            path: self.file.path().to_owned(),
            lsn,
            last: self.last_lsn(),
        }
    }
}

fn is_copy_start(text: &[u8]) -> bool {
    text.starts_with(COPY_PREFIX.as_bytes()) && text.ends_with(COPY_SUFFIX.as_bytes())
}
