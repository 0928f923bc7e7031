//! Finds the history of a row: every statement with its key, and statements about its table.
//!
//! A first pass goes forward through all segments. If an UPDATE changed the row's key, the new key is
//! followed from there on; if the row had another key before, that one is searched backward to the row's
//! origin. Only the positions of the results are kept.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use super::ddl::{is_about_tables, is_effect_about_tables, Ddl, TableName};
use super::files::Files;
use super::filter;
use super::found::{Found, Hit, What};
use super::index::{Asked, Block, BlockFilter, BlockReader, Index, Indexed, Relation};
use super::lines::{Item, Lines, Transaction, Typed};
use super::literal::{names_of, Value};
use super::names::{table_of, Names, Past, Place, Table};
use super::pass::{CopyBlock, Pass, MOST_KEYS};
use super::sessions::Sessions;
use super::statement::{self, Statement};
use archive::error::{Error, Result};
use archive::layout::{DatabaseDir, Stored};
use archive::lock::Lock;
use archive::segment::Key;
use archive::time::Time;

/// Sufficient for any reader, at some 100 bytes each.
const MOST: usize = 1_000_000;

/// The query.
pub struct Question {
    /// The table, with its partitions or its ancestors.
    pub tables: Vec<Table>,
    /// Values of the columns, in the order of [`Table::columns`].
    pub values: Vec<Value<'static>>,
    /// They are a key: no other row has them, and changes of the key are followed.
    pub is_key: bool,
    pub since: Option<Time>,
    pub until: Option<Time>,
    /// Whether new indexes are written to the archive.
    pub may_write: bool,
}

/// The relations of an index by their names.
pub(super) type Written = HashMap<TableName, Vec<u32>>;

/// Searches a database's files. `between` is called regularly; its error ends the search.
pub fn search<E: From<Error>>(
    database: &DatabaseDir,
    question: &Question,
    between: &mut dyn FnMut() -> std::result::Result<(), E>,
) -> std::result::Result<Found, E> {
    let lock = Lock::shared_or(database, between)?;
    let mut files = Files::list(database, question.may_write, between)?;
    let past = past(&mut files, between)?;
    let names = Names::over_time(&question.tables, &past);
    let mut search = Search {
        question,
        files,
        names,
        hits: BTreeMap::new(),
        heads: Vec::new(),
        commands: Vec::new(),
        typed: Vec::new(),
        sessions: Sessions::default(),
        undecided: 0,
        unfollowed: 0,
    };
    search.run(between)?;
    let Search {
        files,
        hits,
        heads,
        commands,
        typed,
        sessions,
        undecided,
        unfollowed,
        ..
    } = search;
    Ok(Found::new(
        (files, lock),
        hits,
        (heads, commands, typed, sessions.in_order()),
        undecided,
        unfollowed,
    ))
}

/// All renames in the files, in their order, and the partitions that came and went. Builds the indexes that are missing.
pub(super) fn past<E: From<Error>>(
    files: &mut Files,
    between: &mut dyn FnMut() -> std::result::Result<(), E>,
) -> std::result::Result<Past, E> {
    let mut past = Past::default();
    for nth in 0..files.files.len() {
        between()?;
        if let Some(indexed) = files.indexed(nth, between)? {
            let found = indexed.index.renames.into_iter();
            past.renames
                .extend(found.map(|rename| ((nth, rename.at), rename.what)));
            let found = indexed.index.memberships.into_iter().flatten();
            past.memberships
                .extend(found.map(|membership| ((nth, membership.at), membership.what)));
        }
    }
    Ok(past)
}

/// The relations of an index that are `wanted`, by their names.
pub(super) fn written(index: &Index, wanted: impl Fn(&Relation) -> bool) -> Written {
    let mut written: Written = HashMap::new();
    for (number, relation) in index.relations.iter().enumerate() {
        if let ([schema, table], true) = (names_of(&relation.name.0).as_slice(), wanted(relation)) {
            let (schema, table) = (schema.clone(), table.clone());
            let numbers = written.entry(TableName { schema, table }).or_default();
            numbers.push(number as u32);
        }
    }
    written
}

/// Whether a segment has only commits outside of these times, which are part of what is asked for.
pub(super) fn is_of_other_time(index: &Index, since: Option<Time>, until: Option<Time>) -> bool {
    let is_before = since.zip(index.latest);
    let is_after = until.zip(index.earliest);
    is_before.is_some_and(|(since, latest)| latest < since)
        || is_after.is_some_and(|(until, earliest)| earliest > until)
}

/// A transaction without a time (decoder_raw's) is of any time.
pub(super) fn is_of_time(
    transaction: &Transaction,
    since: Option<Time>,
    until: Option<Time>,
) -> bool {
    let time = transaction.commit_time;
    since.zip(time).is_none_or(|(since, time)| time >= since)
        && until.zip(time).is_none_or(|(until, time)| time <= until)
}

struct Search<'q> {
    question: &'q Question,
    files: Files,
    names: Vec<Names>,
    hits: BTreeMap<Place, Hit>,
    /// First lines of COPY blocks.
    heads: Vec<Vec<u8>>,
    commands: Vec<String>,
    /// The statements above the effects found.
    typed: Vec<Typed>,
    sessions: Sessions,
    /// Lines of which it is unknown whether they concern the row.
    undecided: u64,
    /// Keys that were not followed, because there were too many.
    unfollowed: u64,
}

impl Search<'_> {
    fn run<E: From<Error>>(
        &mut self,
        between: &mut dyn FnMut() -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let first = self.question.values.clone();
        let all = (usize::MAX, u64::MAX);
        let mut pass = Pass::new(first, true, all, Sessions::default());
        self.pass(&mut pass, between)?;
        self.sessions = std::mem::take(&mut pass.sessions);
        self.undecided = pass.undecided;
        self.unfollowed = pass.unfollowed;
        self.hits.append(&mut pass.hits);
        let mut back = pass.arrivals;
        let mut followed = 0;
        while let Some((place, key)) = back.pop() {
            followed += 1;
            if followed > MOST_KEYS {
                self.unfollowed += 1;
                continue;
            }
            let sessions = std::mem::take(&mut self.sessions);
            let mut pass = Pass::new(key, false, place, sessions);
            self.pass(&mut pass, between)?;
            self.sessions = std::mem::take(&mut pass.sessions);
            let birth = pass.birth.unwrap_or((0, 0));
            let arrivals = pass.arrivals.into_iter();
            back.extend(arrivals.filter(|(place, _)| *place == birth));
            let hits = pass.hits.into_iter();
            self.hits.extend(hits.filter(|(place, _)| *place >= birth));
        }
        Ok(())
    }

    fn pass<E: From<Error>>(
        &mut self,
        pass: &mut Pass,
        between: &mut dyn FnMut() -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        for nth in 0..self.files.files.len() {
            if nth > pass.end.0 {
                break;
            }
            between()?;
            let Some(indexed) = self.files.indexed(nth, between)? else {
                continue;
            };
            let (since, until) = (self.question.since, self.question.until);
            if is_of_other_time(&indexed.index, since, until) {
                continue;
            }
            self.segment(nth, &indexed, pass, between)?;
        }
        Ok(())
    }

    fn segment<E: From<Error>>(
        &mut self,
        nth: usize,
        indexed: &Indexed,
        pass: &mut Pass,
        between: &mut dyn FnMut() -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let index = &indexed.index;
        let Some(key) = Key::parse(index.key.as_bytes()) else {
            return Ok(());
        };
        let written = written(index, |_| true);
        let mut reader = None;
        for (number, block) in index.blocks.iter().enumerate() {
            if !self.is_wanted(nth, indexed, &written, block, pass) {
                continue;
            }
            between()?;
            let read = match &mut reader {
                Some(reader) => BlockReader::block(reader, block),
                None => self
                    .open(nth)
                    .and_then(|opened| reader.insert(opened).block(block)),
            };
            let looked = read.and_then(|bytes| self.block(nth, index, key, block, &bytes, pass));
            if let Err(error) = looked {
                self.files.files[nth].note(&format!(
                    "{error}: lines {} to {} are not shown",
                    block.line,
                    match index.blocks.get(number + 1) {
                        Some(next) => format!("line {}", next.line - 1),
                        None => "the end".to_owned(),
                    }
                ));
                // A compressed file cannot be read after an error.
                reader = None;
            }
            if pass.hits.len() + self.hits.len() > MOST {
                return Err(Error::TooManyChanges { most: MOST }.into());
            }
        }
        Ok(())
    }

    fn open(&self, nth: usize) -> Result<BlockReader> {
        self.files.files[nth].open_by(BlockReader::open)
    }

    /// Whether anything in a block may concern one of the keys.
    fn is_wanted(
        &self,
        nth: usize,
        indexed: &Indexed,
        written: &Written,
        block: &Block,
        pass: &Pass,
    ) -> bool {
        let (from, to) = ((nth, block.at), (nth, block.at + block.bytes));
        if from >= pass.end || block.at >= indexed.index.complete {
            return false;
        }
        let filter = BlockFilter::new(indexed, block);
        let mut periods = self.names.iter().flat_map(|names| names.between(from, to));
        periods.any(|table| {
            let name = &table.name;
            let mut asked = Asked {
                relations: written.get(name).map_or(&[], Vec::as_slice),
                values: Vec::new(),
                ddl: Vec::new(),
            };
            if pass.is_first {
                asked.ddl = [&name.schema, &name.table]
                    .map(|n| filter::ddl_hash(n))
                    .into();
            }
            pass.keys.iter().any(|key| {
                let columns = table.columns.iter().zip(key);
                asked.values = columns
                    .map(|(column, value)| {
                        let hash = filter::value_hash(&name.schema, &name.table, column, value);
                        (column.as_slice(), hash)
                    })
                    .collect();
                filter.may_hold(&asked)
            })
        })
    }

    fn block(
        &mut self,
        nth: usize,
        index: &Index,
        key: Key,
        block: &Block,
        bytes: &[u8],
        pass: &mut Pass,
    ) -> Result<()> {
        let file = &self.files.files[nth];
        let path = file.chain.segment_path(file.name, Stored::Plain);
        let mut lines = Lines::resume(bytes, key, block.open.clone(), block.at, block.line);
        // Which of our tables a name denotes, until the next possible rename.
        let mut known: HashMap<Vec<u8>, Option<usize>> = HashMap::new();
        let mut copy: Option<CopyBlock> = None;
        if let Some(head) = &block.open.copy {
            copy = self.copy_block(head, (nth, block.at));
        }
        while let Some(item) = lines.next_item(&path)? {
            let place = (nth, lines.start());
            if place >= pass.end || lines.start() >= index.complete {
                break;
            }
            let Some(transaction) = lines.open().transaction else {
                continue;
            };
            let (since, until) = (self.question.since, self.question.until);
            let is_of_time = is_of_time(&transaction, since, until);
            match item {
                Item::CopyStart => copy = self.copy_block(lines.text(), place),
                Item::CopyRow => {
                    let Some(copy) = copy.as_ref().filter(|_| is_of_time) else {
                        continue;
                    };
                    if pass.takes_copy(copy, lines.text(), place) {
                        pass.hit(&lines, place, transaction, What::CopyRow(copy.head));
                    }
                }
                Item::Statement if is_of_time => {
                    self.statement(&lines, place, transaction, &mut known, pass);
                }
                Item::Ddl { command, role } => {
                    known.clear();
                    let is_wanted = is_of_time && pass.is_first && is_about_tables(&command);
                    let ddl = Ddl::read(lines.text(), &role);
                    if is_wanted && self.is_named(&ddl, &command, place) {
                        let number = number_of(&mut self.commands, &command);
                        pass.hit(&lines, place, transaction, What::Ddl(number));
                    }
                }
                Item::Effect(effect) => {
                    known.clear();
                    let (ddl, command) = (Ddl::read(lines.text(), b""), effect.command());
                    let words = lines.open().words.as_ref();
                    let is_wanted = is_of_time
                        && pass.is_first
                        && is_effect_about_tables(&command, words)
                        && self.is_named(&ddl, &command, place);
                    if is_wanted {
                        let number = number_of(&mut self.commands, &command);
                        let typed = words.map(|typed| number_of_typed(&mut self.typed, typed));
                        pass.hit(&lines, place, transaction, What::Effect(number, typed));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn table_of(&self, written: &[u8], place: Place) -> Option<usize> {
        table_of(&self.names, written, place)
    }

    /// Later names are included: a statement may re-create the table, for example.
    fn is_named(&self, ddl: &Ddl<'_>, command: &str, place: Place) -> bool {
        self.names
            .iter()
            .any(|names| ddl.names(command, &names.at(place).name))
    }

    fn copy_block(&mut self, head: &[u8], place: Place) -> Option<CopyBlock> {
        let table = self.table_of(statement::copied(head)?, place)?;
        let columns = statement::copy_columns(head)?;
        let wanted = self.names[table].at(place).columns.iter();
        let positions = wanted.map(|wanted| columns.iter().position(|column| column == wanted));
        let positions = positions.collect();
        let number = match self.heads.iter().position(|known| known == head) {
            Some(number) => number,
            None => {
                self.heads.push(head.to_vec());
                self.heads.len() - 1
            }
        };
        Some(CopyBlock {
            head: number as u32,
            positions,
        })
    }

    fn statement(
        &mut self,
        lines: &Lines<&[u8]>,
        place: Place,
        transaction: Transaction,
        known: &mut HashMap<Vec<u8>, Option<usize>>,
        pass: &mut Pass,
    ) {
        let line = lines.text();
        if let Some(tables) = statement::truncated(line) {
            let is_ours = |table: &&[u8]| self.table_of(table, place).is_some();
            if tables.iter().any(is_ours) {
                if pass.is_first {
                    pass.keys.truncate(1);
                    pass.hit(lines, place, transaction, What::Truncate);
                }
                pass.birth = None;
            }
            return;
        }
        let Some((operation, written)) = statement::head(line) else {
            return;
        };
        let table = match known.get(written) {
            Some(table) => *table,
            None => {
                let table = self.table_of(written, place);
                known.insert(written.to_vec(), table);
                table
            }
        };
        let Some(table) = table else { return };
        let what = What::Statement(operation);
        let Some(statement) = Statement::parse(line) else {
            // It may concern any row.
            pass.hit(lines, place, transaction, What::Unread(operation));
            return;
        };
        let columns = self.names[table].at(place).columns.as_slice();
        let follows = self.question.is_key;
        if pass.takes(operation, &statement, columns, place, follows) == ControlFlow::Break(()) {
            pass.hit(lines, place, transaction, what);
        }
    }
}

/// The effects of one statement are consecutive.
fn number_of_typed(known: &mut Vec<Typed>, typed: &Typed) -> u32 {
    if known.last() != Some(typed) {
        known.push(typed.clone());
    }
    known.len() as u32 - 1
}

fn number_of(commands: &mut Vec<String>, command: &str) -> u32 {
    let known = commands.iter().position(|known| known == command);
    known.unwrap_or_else(|| {
        commands.push(command.to_owned());
        commands.len() - 1
    }) as u32
}
