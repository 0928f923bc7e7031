//! Builds the index of a segment, by reading it once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::path::Path;

use super::ddl::{is_about_tables, is_effect_about_tables, Ddl, Name};
use super::filter;
use super::index::{Block, DdlLine, Filters, Index, Indexed, Located, Relation};
use super::lines::{Item, Lines};
use super::literal::names_of;
use super::outline::Outlining;
use super::statement::{self, Operation, Statement};
use archive::checksum::Hashing;
use archive::error::Error;
use archive::segment::Effect;
use archive::Lsn;

/// A block ends at the first line after this many bytes.
const BLOCK: u64 = 1024 * 1024;
/// Number of columns of a table in the filters: for an UPDATE or DELETE those that identify the row, for an
/// INSERT the first ones, which usually include the key.
const COLUMNS: usize = 4;
/// Longer lists of DDL are truncated.
const LISTED_DDL: usize = 500;
/// And so are longer texts.
const LISTED_TEXT: usize = 200;

/// A new index, and its result.
pub struct Built {
    pub indexed: Indexed,
    /// Where the segment became unreadable.
    pub flaw: Option<Error>,
}

/// Reads a segment, whose bytes `input` provides uncompressed. `between` is called regularly; its error ends
/// the reading.
pub fn build<E: From<Error>>(
    path: &Path,
    input: impl Read,
    between: &mut dyn FnMut() -> std::result::Result<(), E>,
) -> std::result::Result<Built, E> {
    let mut hashing = Hashing::new(input);
    let mut lines = Lines::new(&mut hashing);
    let mut builder = Builder::default();
    let flaw = loop {
        if lines.next_start() - builder.block.at >= BLOCK {
            builder.close_block(&mut lines);
            builder.open_block(&lines);
            between()?;
        }
        match lines.next_item(path) {
            Ok(None) => break None,
            Ok(Some(item)) => builder.take(&lines, item),
            Err(error) => break Some(error),
        }
    };
    builder.close_block(&mut lines);
    builder.index.outline = builder.outline.end();
    let key = lines.key();
    drop(lines);
    let rest = std::io::copy(&mut hashing, &mut std::io::sink());
    let flaw = flaw.or(rest.map_err(Error::io("read", path)).err());
    // What was not read to its end may have anything.
    if flaw.is_some() || !builder.is_closed {
        builder.index.outline = None;
    }
    let content = hashing.finish();
    builder.index.segment = content.sha256;
    builder.index.bytes = content.bytes;
    builder.index.memberships.get_or_insert_default();
    builder.index.key = key.map_or_else(String::new, |key| key.as_str().to_owned());
    Ok(Built {
        indexed: Indexed {
            index: builder.index,
            filters: Filters::Memory(builder.filters),
        },
        flaw,
    })
}

/// A column whose values are in the filter.
#[derive(Clone)]
struct Column {
    name: Vec<u8>,
    hash: u64,
}

/// The open COPY block.
struct Copy {
    relation: u32,
    columns: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Builder {
    index: Index,
    filters: Vec<u8>,
    /// By the name as written.
    relations: HashMap<Vec<u8>, u32>,
    names: Vec<Vec<Vec<u8>>>,
    /// The columns by which rows were identified so far.
    keys: HashMap<u32, Vec<Vec<u8>>>,
    column_lists: HashMap<Vec<Vec<u8>>, u32>,
    block: Block,
    hashes: Vec<u64>,
    /// The columns in the filter of this block, for each table.
    columns: BTreeMap<u32, Vec<Column>>,
    any_row: BTreeSet<u32>,
    copy: Option<Copy>,
    /// The line of the original statement, which is listed with its first effect.
    unlisted_words: Option<u64>,
    outline: Outlining,
    /// The footer was read.
    is_closed: bool,
}

impl Builder {
    fn open_block<R: Read>(&mut self, lines: &Lines<R>) {
        self.block = Block {
            at: lines.next_start(),
            line: lines.next_number(),
            open: lines.open().clone(),
            ..Block::default()
        };
    }

    fn close_block<R: Read>(&mut self, lines: &mut Lines<R>) {
        let mut block = std::mem::take(&mut self.block);
        block.bytes = lines.next_start() - block.at;
        block.sum = lines.take_sum();
        if block.bytes == 0 {
            return;
        }
        let filter = filter::build(&mut self.hashes);
        self.hashes.clear();
        let at = self.filters.len() as u64;
        block.filter = (at, filter.len() as u64, super::index::sum_of(&filter));
        self.filters.extend_from_slice(&filter);
        for (relation, columns) in std::mem::take(&mut self.columns) {
            let names: Vec<Vec<u8>> = columns.into_iter().map(|column| column.name).collect();
            let list = self.column_list(names);
            block.relations.push((relation, list));
        }
        block.any_row = std::mem::take(&mut self.any_row).into_iter().collect();
        if block.line == 0 {
            block.line = 1;
        }
        self.index.blocks.push(block);
    }

    fn column_list(&mut self, names: Vec<Vec<u8>>) -> u32 {
        let lists = &mut self.index.columns;
        *self.column_lists.entry(names).or_insert_with_key(|names| {
            lists.push(names.iter().cloned().map(Name).collect());
            lists.len() as u32 - 1
        })
    }

    fn take<R: Read>(&mut self, lines: &Lines<R>, item: Item) {
        let length = lines.next_start() - lines.start();
        match item {
            Item::Transaction => {
                self.index.transactions += 1;
                self.outline.transaction(lines.open().transaction);
                self.note_time(lines);
            }
            Item::CopyStart => self.begin_copy(lines.text()),
            Item::CopyRow => self.copy_row(lines.text(), length),
            Item::Statement => self.statement(lines.text(), length, lines.lsn()),
            Item::Ddl { command, role } => self.ddl(lines, command, role),
            Item::Words => self.unlisted_words = Some(lines.number()),
            Item::Effect(effect) => self.effect(lines, &effect),
            Item::End => self.index.complete = lines.next_start(),
            Item::Position => self.outline.position(lines.text(), lines.lsn()),
            Item::Apart => {
                self.outline.give_up();
                self.copy = None;
            }
            Item::Other => self.copy = None,
            Item::Footer => {
                self.copy = None;
                self.is_closed = true;
            }
        }
    }

    fn note_time<R: Read>(&mut self, lines: &Lines<R>) {
        let time = lines.open().transaction.and_then(|t| t.commit_time);
        let Some(time) = time else { return };
        let index = &mut self.index;
        index.earliest = Some(index.earliest.map_or(time, |earliest| earliest.min(time)));
        index.latest = Some(index.latest.map_or(time, |latest| latest.max(time)));
    }

    fn relation(&mut self, written: &[u8], length: u64) -> u32 {
        let number = match self.relations.get(written) {
            Some(number) => *number,
            None => {
                let number = self.index.relations.len() as u32;
                self.relations.insert(written.to_vec(), number);
                self.names.push(names_of(written));
                self.index.relations.push(Relation {
                    name: Name(written.to_vec()),
                    inserts: 0,
                    updates: 0,
                    deletes: 0,
                    truncates: 0,
                    bytes: 0,
                });
                number
            }
        };
        self.index.relations[number as usize].bytes += length;
        number
    }

    fn begin_copy(&mut self, head: &[u8]) {
        let (written, columns) = (statement::copied(head), statement::copy_columns(head));
        if written.is_none() || columns.is_none() {
            self.outline.give_up();
        }
        self.copy = written.zip(columns).map(|(written, columns)| Copy {
            relation: self.relation(written, 0),
            columns,
        });
    }

    fn copy_row(&mut self, row: &[u8], length: u64) {
        let Some(copy) = self.copy.take() else { return };
        let relation = &mut self.index.relations[copy.relation as usize];
        relation.inserts += 1;
        relation.bytes += length;
        let first = copy.columns.iter().map(Vec::as_slice);
        self.ensure_columns(copy.relation, first);
        let held = self.columns.entry(copy.relation).or_default();
        let mut found = 0;
        for (name, value) in copy.columns.iter().zip(statement::copy_values(row)) {
            if let Some(column) = held.iter().find(|column| column.name == *name) {
                self.hashes.push(filter::of_value(column.hash, &value));
                found += 1;
                if found == held.len() {
                    break;
                }
            }
        }
        held.retain(|column| copy.columns.contains(&column.name));
        self.copy = Some(copy);
    }

    fn statement(&mut self, line: &[u8], length: u64, lsn: Option<Lsn>) {
        self.outline.statement(line, lsn);
        if let Some(tables) = statement::truncated(line) {
            for table in tables {
                let relation = self.relation(table, length);
                self.index.relations[relation as usize].truncates += 1;
                self.ensure_columns(relation, std::iter::empty());
                self.any_row.insert(relation);
            }
            return;
        }
        let Some((operation, written)) = statement::head(line) else {
            return;
        };
        let relation = self.relation(written, length);
        let counts = &mut self.index.relations[relation as usize];
        match operation {
            Operation::Insert => counts.inserts += 1,
            Operation::Update => counts.updates += 1,
            Operation::Delete => counts.deletes += 1,
        }
        match Statement::parse(line) {
            Some(statement) => self.row(relation, operation, &statement),
            None => {
                self.ensure_columns(relation, std::iter::empty());
                self.any_row.insert(relation);
            }
        }
    }

    fn row(&mut self, relation: u32, operation: Operation, statement: &Statement<'_>) {
        let found_by = match operation {
            Operation::Insert => &statement.new,
            Operation::Update | Operation::Delete => &statement.old,
        };
        let names = found_by.iter().map(|(name, _)| name.as_ref());
        if operation != Operation::Insert && !self.keys.contains_key(&relation) {
            let key = names.clone().take(COLUMNS).map(<[u8]>::to_vec).collect();
            self.keys.insert(relation, key);
        }
        self.ensure_columns(relation, names);
        let hashes = &mut self.hashes;
        let held = self.columns.entry(relation).or_default();
        let find = |pairs: &[statement::Pair<'_>], column: &Column| {
            let pair = pairs.iter().find(|(name, _)| name.as_ref() == column.name);
            pair.map(|(_, value)| filter::of_value(column.hash, value))
        };
        held.retain(|column| match find(found_by, column) {
            None => false,
            Some(hash) => {
                hashes.push(hash);
                true
            }
        });
        if operation == Operation::Update {
            hashes.extend(
                held.iter()
                    .filter_map(|column| find(&statement.new, column)),
            );
        }
    }

    /// Determines at a table's first line of a block which columns its filter contains.
    fn ensure_columns<'n>(&mut self, relation: u32, first: impl Iterator<Item = &'n [u8]>) {
        if self.columns.contains_key(&relation) {
            return;
        }
        let names = match self.keys.get(&relation) {
            Some(key) => key.clone(),
            None => first.take(COLUMNS).map(<[u8]>::to_vec).collect(),
        };
        let [schema, table] = match self.names[relation as usize].as_slice() {
            [schema, table] => [schema.clone(), table.clone()],
            other => [Vec::new(), other.last().cloned().unwrap_or_default()],
        };
        let columns = names.into_iter().map(|name| Column {
            hash: filter::column_hash(&schema, &table, &name),
            name,
        });
        self.columns.insert(relation, columns.collect());
    }

    fn ddl<R: Read>(&mut self, lines: &Lines<R>, command: String, role: Vec<u8>) {
        self.copy = None;
        self.outline.give_up();
        let ddl = Ddl::read(lines.text(), &role);
        if is_about_tables(&command) {
            self.about_tables(lines.start(), &ddl);
        }
        self.list(lines, lines.number(), command, &role, ddl.statement);
    }

    /// The effects of one statement are listed as the original statement.
    fn effect<R: Read>(&mut self, lines: &Lines<R>, effect: &Effect) {
        self.copy = None;
        self.outline.give_up();
        let (ddl, command) = (Ddl::read(lines.text(), b""), effect.command());
        let words = lines.open().words.as_ref();
        if is_effect_about_tables(&command, words) {
            self.about_tables(lines.start(), &ddl);
        }
        let line = self.unlisted_words.take();
        match (words, line) {
            (None, _) => self.list(lines, lines.number(), command, b"", ddl.statement),
            (Some(typed), Some(line)) => {
                self.list(lines, line, typed.command.clone(), &typed.role, &typed.text);
            }
            (Some(_), None) => {}
        }
    }

    fn about_tables(&mut self, at: u64, ddl: &Ddl<'_>) {
        let words = ddl.words();
        self.hashes
            .extend(words.iter().map(|w| filter::ddl_hash(w)));
        if let Some(what) = ddl.rename() {
            self.index.renames.push(Located { at, what });
        }
        if let Some(what) = ddl.membership() {
            let memberships = self.index.memberships.get_or_insert_default();
            memberships.push(Located { at, what });
        }
    }

    fn list<R: Read>(
        &mut self,
        lines: &Lines<R>,
        line: u64,
        command: String,
        role: &[u8],
        text: &[u8],
    ) {
        self.index.ddl_count += 1;
        if self.index.ddl.len() < LISTED_DDL {
            self.index.ddl.push(DdlLine {
                commit_time: lines.open().transaction.and_then(|t| t.commit_time),
                text: Name(text[..text.len().min(LISTED_TEXT)].to_vec()),
                role: Name(role.to_vec()),
                line,
                command,
            });
        }
    }
}
