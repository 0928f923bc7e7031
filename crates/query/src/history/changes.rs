//! What happened to a table: every change of its rows and of its definition, in the order of the files.
//!
//! Changes are read one after the other, from a block of about a megabyte at a time: memory is that of a block, or of the
//! longest line. Blocks without the table, as the index shows, are not read.

use std::collections::{HashMap, VecDeque};
use std::io::Cursor;
use std::path::PathBuf;

use super::changed_row::{of_row, Change, Copy, Wanted};
use super::ddl::{is_about_tables, is_effect_about_tables, Ddl};
use super::files::{first_commit, Files};
use super::filter;
use super::found::NOT_SHOWN;
use super::index::{Asked, Block, BlockFilter, BlockReader, Indexed};
use super::lines::{Item, Lines, Session, Transaction};
use super::names::{table_of, Names, Place, Table};
use super::search::{is_of_other_time, is_of_time, past, written, Written};
use super::statement::{self, Operation};
use archive::error::Error;
use archive::layout::{DatabaseDir, Stored};
use archive::lock::Lock;
use archive::segment::Key;
use archive::time::Time;

/// The query.
pub struct Question {
    /// The table, first, with its partitions or its ancestors; their columns are those of the key.
    pub tables: Vec<Table>,
    /// Commit times, inclusive.
    pub since: Option<Time>,
    pub until: Option<Time>,
    pub wanted: Wanted,
    /// Whether new indexes are written to the archive.
    pub may_write: bool,
}

/// All changes, in the order of the files.
pub struct Changes {
    question: Question,
    files: Files,
    /// Prevents removal of files while they are read.
    _lock: Lock,
    names: Vec<Names>,
    /// The next file.
    next_file: usize,
    segment: Option<Segment>,
    block: Option<OpenBlock>,
    /// Changes that are complete.
    ready: VecDeque<Change>,
    /// A schema change whose further effects may follow.
    pending: Option<Change>,
}

/// The segment that is being read.
struct Segment {
    nth: usize,
    indexed: Indexed,
    key: Key,
    written: Written,
    next_block: usize,
    reader: Option<BlockReader>,
    /// As shown.
    file: String,
    path: PathBuf,
}

/// The block that is being read.
struct OpenBlock {
    lines: Lines<Cursor<Vec<u8>>>,
    /// Which of the tables a name denotes, until the next possible rename.
    known: HashMap<Vec<u8>, Option<usize>>,
    copy: Option<Copy>,
    /// Its first line and the first line after it, for a message.
    from_to: (u64, Option<u64>),
}

impl Changes {
    /// Begins to read a database's files. `between` is called regularly, here and in [`Self::next_change`]; its error ends
    /// the reading.
    pub fn open<E: From<Error>>(
        database: &DatabaseDir,
        question: Question,
        between: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<Changes, E> {
        let lock = Lock::shared_or(database, between)?;
        let mut files = Files::list(database, question.may_write, between)?;
        let past = past(&mut files, between)?;
        Ok(Changes {
            names: Names::over_time(&question.tables, &past),
            question,
            files,
            _lock: lock,
            next_file: 0,
            segment: None,
            block: None,
            ready: VecDeque::new(),
            pending: None,
        })
    }

    /// What is missing or damaged, by file, as far as it is known before the first change is read.
    pub fn problems(&self) -> Vec<String> {
        let files = self.files.files.iter();
        let of_file = |file: &super::files::File| {
            let shown = file.shown();
            let problems = file.problems.clone().into_iter();
            problems.map(move |problem| format!("{shown}: {problem}"))
        };
        files.flat_map(of_file).collect()
    }

    /// Commit time of the first transaction in the files.
    pub fn first_commit(&self) -> Option<Time> {
        first_commit(&self.files)
    }

    /// The next change; `None` at the end.
    pub fn next_change<E: From<Error>>(
        &mut self,
        between: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<Option<Change>, E> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(Some(change));
            }
            if self.block.is_some() {
                self.read_item();
            } else if self.segment.is_some() {
                between()?;
                self.open_block();
            } else if self.next_file < self.files.files.len() {
                between()?;
                self.open_segment(between)?;
            } else {
                return Ok(self.pending.take());
            }
        }
    }

    fn open_segment<E: From<Error>>(
        &mut self,
        between: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let nth = self.next_file;
        self.next_file += 1;
        let indexed = self.files.indexed(nth, between)?;
        let file = &mut self.files.files[nth];
        let (shown, problems) = (file.shown(), std::mem::take(&mut file.problems));
        for problem in problems {
            self.tell(&shown, problem);
        }
        let Some(indexed) = indexed else {
            return Ok(());
        };
        let (since, until) = (self.question.since, self.question.until);
        let key = Key::parse(indexed.index.key.as_bytes());
        let Some(key) = key.filter(|_| !is_of_other_time(&indexed.index, since, until)) else {
            return Ok(());
        };
        let wanted = self.question.wanted;
        let written = written(&indexed.index, |relation| match wanted {
            Wanted::All => true,
            Wanted::Rows(Operation::Insert) => relation.inserts > 0,
            Wanted::Rows(Operation::Update) => relation.updates > 0,
            Wanted::Rows(Operation::Delete) => relation.deletes > 0,
            Wanted::Truncate => relation.truncates > 0,
            Wanted::Ddl => false,
        });
        let file = &self.files.files[nth];
        self.segment = Some(Segment {
            nth,
            key,
            written,
            next_block: 0,
            reader: None,
            file: shown,
            path: file.chain.segment_path(file.name, Stored::Plain),
            indexed,
        });
        Ok(())
    }

    /// Opens the next block of the segment if it may have anything; closes the segment behind the last one.
    fn open_block(&mut self) {
        let Some(segment) = &mut self.segment else {
            return;
        };
        let index = &segment.indexed.index;
        let Some(block) = index.blocks.get(segment.next_block) else {
            self.segment = None;
            return;
        };
        segment.next_block += 1;
        let is_wanted = block.at < index.complete
            && is_wanted(segment, block, &self.names, self.question.wanted);
        if !is_wanted {
            return;
        }
        let next = index.blocks.get(segment.next_block);
        let from_to = (block.line, next.map(|next| next.line - 1));
        let file = &self.files.files[segment.nth];
        let read = match &mut segment.reader {
            Some(reader) => reader.block(block),
            None => file
                .open_by(BlockReader::open)
                .and_then(|opened| segment.reader.insert(opened).block(block)),
        };
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => {
                // A compressed file cannot be read after an error.
                segment.reader = None;
                return self.tell_unread(&error, from_to);
            }
        };
        let place = (segment.nth, block.at);
        let copy = block.open.copy.as_deref();
        let copy = copy.and_then(|head| Copy::of(head, &self.names, place));
        let lines = Lines::resume(
            Cursor::new(bytes),
            segment.key,
            block.open.clone(),
            block.at,
            block.line,
        );
        self.block = Some(OpenBlock {
            lines,
            known: HashMap::new(),
            copy,
            from_to,
        });
    }

    fn read_item(&mut self) {
        let Some((segment, block)) = self.segment.as_ref().zip(self.block.as_mut()) else {
            return;
        };
        let read = block.lines.next_item(&segment.path);
        let item = match read {
            Ok(item) => item,
            Err(error) => {
                let from_to = block.from_to;
                self.block = None;
                return self.tell_unread(&error, from_to);
            }
        };
        let is_complete = block.lines.start() < segment.indexed.index.complete;
        let Some(item) = item.filter(|_| is_complete) else {
            self.block = None;
            return;
        };
        let Some(transaction) = block.lines.open().transaction else {
            return;
        };
        let question = &self.question;
        if !is_of_time(&transaction, question.since, question.until) {
            return;
        }
        let place = (segment.nth, block.lines.start());
        let change = match item {
            Item::CopyStart => {
                block.copy = Copy::of(block.lines.text(), &self.names, place);
                None
            }
            Item::CopyRow => match &block.copy {
                Some(copy) if question.wanted.takes(Operation::Insert) => {
                    let key = &self.names[copy.table].at(place).columns;
                    Some(copy.change(key, block.lines.text()))
                }
                _ => None,
            },
            Item::Statement => of_statement(block, &self.names, question.wanted, place),
            Item::Ddl { command, role } => {
                block.known.clear();
                let ddl = Ddl::read(block.lines.text(), &role);
                let is_about = question.wanted.takes_ddl() && is_about_tables(&command);
                (is_about && is_named(&self.names, &ddl, &command, place)).then(|| Change {
                    statement: Some(ddl.statement.to_vec()),
                    operation: command,
                    ..Change::default()
                })
            }
            Item::Effect(effect) => {
                block.known.clear();
                let ddl = Ddl::read(block.lines.text(), b"");
                let (command, words) = (effect.command(), block.lines.open().words.as_ref());
                let is_about =
                    question.wanted.takes_ddl() && is_effect_about_tables(&command, words);
                (is_about && is_named(&self.names, &ddl, &command, place)).then(|| Change {
                    statement: Some(ddl.statement.to_vec()),
                    operation: words.map_or(command, |words| words.command.clone()),
                    typed: words.cloned(),
                    ..Change::default()
                })
            }
            _ => None,
        };
        if let Some(change) = change {
            let who = block.lines.open().who.clone();
            let line = block.lines.number();
            let file = segment.file.clone();
            self.found(located(change, transaction, who, (file, line)));
        }
    }

    /// All effects of one statement are one change.
    fn found(&mut self, change: Change) {
        if let Some(before) = &mut self.pending {
            let is_more = change.typed.is_some()
                && change.xid == before.xid
                && change.typed == before.typed
                && change.file == before.file;
            if let (true, Some(statement), Some(more)) =
                (is_more, &mut before.statement, &change.statement)
            {
                statement.extend_from_slice(b";\n");
                statement.extend_from_slice(more);
                return;
            }
        }
        self.ready.extend(self.pending.take());
        if change.typed.is_some() {
            self.pending = Some(change);
        } else {
            self.ready.push_back(change);
        }
    }

    fn tell(&mut self, file: &str, problem: String) {
        self.ready.extend(self.pending.take());
        self.ready.push_back(Change {
            operation: NOT_SHOWN.to_owned(),
            file: Some(file.to_owned()),
            note: Some(problem),
            ..Change::default()
        });
    }

    fn tell_unread(&mut self, error: &Error, (from, to): (u64, Option<u64>)) {
        let to = to.map_or_else(|| "the end".to_owned(), |line| format!("line {line}"));
        let file = self.segment.as_ref().map(|segment| segment.file.clone());
        let problem = format!("{error}: lines {from} to {to} are not shown");
        self.tell(&file.unwrap_or_default(), problem);
    }
}

fn located(
    change: Change,
    transaction: Transaction,
    who: Option<Session>,
    (file, line): (String, u64),
) -> Change {
    Change {
        commit_time: transaction.commit_time,
        xid: Some(transaction.xid),
        lsn: Some(transaction.commit_lsn),
        who,
        file: Some(file),
        line: Some(line),
        ..change
    }
}

/// Whether a block may have anything of the tables.
fn is_wanted(segment: &Segment, block: &Block, names: &[Names], wanted: Wanted) -> bool {
    let (from, to) = (
        (segment.nth, block.at),
        (segment.nth, block.at + block.bytes),
    );
    let filter = BlockFilter::new(&segment.indexed, block);
    let mut periods = names.iter().flat_map(|names| names.between(from, to));
    periods.any(|table| {
        let name = &table.name;
        let ddl = if wanted.takes_ddl() {
            vec![
                filter::ddl_hash(&name.schema),
                filter::ddl_hash(&name.table),
            ]
        } else {
            Vec::new()
        };
        filter.may_hold(&Asked {
            relations: segment.written.get(name).map_or(&[], Vec::as_slice),
            values: Vec::new(),
            ddl,
        })
    })
}

/// Later names are included: a statement may re-create the table, for example.
fn is_named(names: &[Names], ddl: &Ddl<'_>, command: &str, place: Place) -> bool {
    names
        .iter()
        .any(|names| ddl.names(command, &names.at(place).name))
}

fn of_statement(
    block: &mut OpenBlock,
    names: &[Names],
    wanted: Wanted,
    place: Place,
) -> Option<Change> {
    let line = block.lines.text();
    if let Some(tables) = statement::truncated(line) {
        let is_ours = |table: &&[u8]| table_of(names, table, place).is_some();
        return (wanted.takes_truncate() && tables.iter().any(is_ours)).then(|| Change {
            operation: "TRUNCATE".to_owned(),
            statement: Some(line.to_vec()),
            ..Change::default()
        });
    }
    let (operation, written) = statement::head(line)?;
    if !wanted.takes(operation) {
        return None;
    }
    let table = match block.known.get(written) {
        Some(table) => *table,
        None => {
            let table = table_of(names, written, place);
            block.known.insert(written.to_vec(), table);
            table
        }
    };
    let key = &names[table?].at(place).columns;
    Some(of_row(operation, key, line))
}
