//! What the server has answered.

use std::collections::{HashMap, HashSet};

use archive::selection::Selection;

use crate::question::{Answer, QUESTIONS};

/// Who asks, and where.
#[derive(Debug, Clone, Default)]
pub struct Who {
    pub database: String,
    pub user: String,
    pub is_superuser: bool,
    /// Whether every setting and every session can be seen.
    pub sees_all: bool,
    pub is_in_recovery: bool,
    /// Whether the settings of the files can be seen.
    pub sees_files: bool,
    pub encoding: String,
    /// As PG_VERSION_NUM.
    pub version: u32,
}

impl Who {
    /// From the answer to [`crate::WHO`].
    pub fn new(answer: &Answer) -> Who {
        let value = |column| text(answer, 0, column);
        Who {
            database: value(0),
            user: value(1),
            is_superuser: value(2) == "true",
            sees_all: value(3) == "true",
            is_in_recovery: value(4) == "true",
            sees_files: value(5) == "true",
            encoding: value(6),
            version: value(7).parse().unwrap_or(0),
        }
    }
}

/// The slot that has the name of this database's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slot {
    pub name: String,
    pub is_physical: bool,
    pub is_of_this_database: bool,
    pub is_temporary: bool,
    pub plugin: String,
    /// By a setup that is in progress.
    pub is_being_created: bool,
    /// The server has removed WAL that it needs.
    pub is_lost: bool,
}

/// Several of something: how many, and one of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Oldest {
    pub count: u64,
    /// A transaction's name as a literal, or its process.
    pub which: String,
    pub database: String,
    pub since: String,
}

/// Everything that [`crate::list`] needs to know.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub who: Who,
    pub(crate) values: HashMap<String, String>,
    /// As pg_settings has it: in the setting's unit.
    pub(crate) raw: HashMap<String, String>,
    /// Changed in a file, but in effect only after a restart.
    pub(crate) pending: HashSet<String>,
    /// Given to the server when it was started, which no file overrides.
    pub(crate) on_command_line: HashSet<String>,
    pub(crate) files: HashMap<String, String>,
    pub(crate) slots_in_use: i64,
    pub(crate) databases_backed_up: i64,
    pub(crate) databases: i64,
    /// Databases without a slot whose backup `pg_incrbackup.databases` wants, this one not included.
    pub(crate) selected: i64,
    pub(crate) slot_name: String,
    pub(crate) slot: Option<Slot>,
    pub(crate) workers_of_others: i64,
    /// The version that is available, and the one in this database; `None` if it is not on the server.
    pub(crate) extension: Option<(String, Option<String>)>,
    pub(crate) keyless: Vec<String>,
    pub(crate) keyless_count: usize,
    pub(crate) prepared: Option<Oldest>,
    pub(crate) transaction: Option<Oldest>,
    /// Connected ones.
    pub(crate) standbys: i64,
    /// Names of physical slots, as a list; `None` if there are none.
    pub(crate) standby_slots: Option<String>,
}

/// A value of an answer; NULL and a row that is not there are empty.
fn text(answer: &Answer, row: usize, column: usize) -> String {
    some(answer, row, column).unwrap_or_default()
}

fn some(answer: &Answer, row: usize, column: usize) -> Option<String> {
    answer.get(row)?.get(column)?.clone()
}

fn number(answer: &Answer, row: usize, column: usize) -> i64 {
    text(answer, row, column).parse().unwrap_or(0)
}

impl Facts {
    /// From the answers to [`QUESTIONS`].
    pub fn new(who: Who, answers: [Answer; QUESTIONS.len()]) -> Facts {
        let [settings, files, slots, workers, extension, keyless, prepared, transactions, databases, standbys] =
            answers;
        let mut facts = Facts {
            who,
            ..Facts::default()
        };
        for row in 0..settings.len() {
            let name = text(&settings, row, 0);
            if text(&settings, row, 3) == "true" {
                facts.pending.insert(name.clone());
            }
            if text(&settings, row, 4) == "true" {
                facts.on_command_line.insert(name.clone());
            }
            facts
                .raw
                .extend(some(&settings, row, 2).map(|raw| (name.clone(), raw)));
            facts
                .values
                .extend(some(&settings, row, 1).map(|value| (name, value)));
        }
        for row in 0..files.len() {
            facts
                .files
                .insert(text(&files, row, 0), text(&files, row, 1));
        }
        facts.slots_in_use = number(&slots, 0, 0);
        facts.databases_backed_up = number(&slots, 0, 1);
        facts.databases = number(&slots, 0, 2);
        facts.slot_name = format!("pg_incrbackup_{}", text(&slots, 0, 3));
        facts.slot = some(&slots, 0, 4).map(|name| Slot {
            name,
            is_physical: text(&slots, 0, 5) == "physical",
            is_of_this_database: text(&slots, 0, 6) == "true",
            is_temporary: text(&slots, 0, 7) == "true",
            plugin: text(&slots, 0, 8),
            is_being_created: text(&slots, 0, 9) == "true",
            is_lost: text(&slots, 0, 10) == "lost",
        });
        facts.workers_of_others = number(&workers, 0, 0);
        facts.extension =
            some(&extension, 0, 0).map(|available| (available, some(&extension, 0, 1)));
        facts.keyless = (0..keyless.len())
            .map(|row| text(&keyless, row, 0))
            .collect();
        facts.keyless_count = usize::try_from(number(&keyless, 0, 1)).unwrap_or(0);
        facts.prepared = some(&prepared, 0, 0).map(|which| Oldest {
            which,
            since: text(&prepared, 0, 1),
            count: number(&prepared, 0, 2).unsigned_abs(),
            database: String::new(),
        });
        facts.transaction = some(&transactions, 0, 0).map(|which| Oldest {
            which,
            database: text(&transactions, 0, 1),
            since: text(&transactions, 0, 2),
            count: number(&transactions, 0, 3).unsigned_abs(),
        });
        facts.standbys = number(&standbys, 0, 0);
        facts.standby_slots = some(&standbys, 0, 1);
        facts.selected = selected(facts.get("pg_incrbackup.databases"), &databases);
        facts
    }

    /// A value that the asker knows better: a path, whose bytes no query conveys where the database has another encoding.
    pub fn set(&mut self, name: &str, value: String) {
        self.values.insert(name.to_owned(), value);
    }

    /// A value that is not to be judged.
    pub fn forget(&mut self, name: &str) {
        self.values.remove(name);
    }

    /// `None` if the server does not know it, or does not show it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// 0 if it is not known.
    pub(crate) fn number(&self, name: &str) -> i64 {
        let value = self.raw.get(name).or_else(|| self.values.get(name));
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// The value that a restart or a reload would bring, where it is another one than now and can be seen.
    pub(crate) fn in_files(&self, name: &str) -> Option<&str> {
        let written = self.files.get(name).map(String::as_str)?;
        (self.get(name) != Some(written)).then_some(written)
    }

    /// Whether the server says that a restart would bring another value.
    pub(crate) fn is_pending(&self, name: &str) -> bool {
        self.pending.contains(name)
    }

    /// Whether the library is loaded at the server's start; `None` if that cannot be seen.
    pub(crate) fn is_preloaded(&self) -> Option<bool> {
        self.get("shared_preload_libraries").map(has_library)
    }

    /// The output plugin of new slots.
    pub(crate) fn plugin(&self) -> &str {
        self.get("pg_incrbackup.plugin").unwrap_or("pg_incrbackup")
    }

    /// Whether this database has its slot: it is backed up.
    pub fn is_backed_up(&self) -> bool {
        let is_there = |slot: &Slot| !slot.is_being_created;
        self.slot.as_ref().is_some_and(is_there) && self.slot_is_anothers().is_none()
    }

    /// Whether the slot is persistent, which no query tells.
    pub fn slot_is_persistent(&mut self, is_persistent: bool) {
        if let Some(slot) = &mut self.slot {
            slot.is_being_created = !is_persistent;
        }
    }

    /// Why the slot with our name is not ours.
    pub(crate) fn slot_is_anothers(&self) -> Option<String> {
        let slot = self.slot.as_ref()?;
        if slot.is_physical {
            Some("it is a physical slot".to_owned())
        } else if !slot.is_of_this_database {
            Some("it belongs to another database".to_owned())
        } else if slot.is_temporary {
            Some("it is a temporary slot".to_owned())
        } else if !["pg_incrbackup", "decoder_raw", self.plugin()].contains(&slot.plugin.as_str()) {
            Some(format!("its output plugin is {}", slot.plugin))
        } else {
            None
        }
    }
}

/// Counts the databases that a list of names selects and that have no slot, but for this one. Which are passing ones is as
/// the extension's automatic setup has it.
fn selected(list: Option<&str>, databases: &Answer) -> i64 {
    const SCRATCH: &[u8] = b"pg_incrbackup_drill_";
    const UNFINISHED: &[u8] = b".restoring";
    const MARKED: i64 = 2_147_480_000;
    let Some(selection) = list.and_then(|list| list.parse::<Selection>().ok()) else {
        return 0;
    };
    let is_selected = |row: &usize| {
        let name = bytes(&text(databases, *row, 0));
        let is_other = text(databases, *row, 1) != "true" && text(databases, *row, 3) != "true";
        let is_passing = name.starts_with(SCRATCH)
            || name.ends_with(UNFINISHED)
            || number(databases, *row, 2) >= MARKED;
        is_other && !is_passing && selection.selects(&name)
    };
    (0..databases.len()).filter(is_selected).count() as i64
}

/// Of pairs of hexadecimal digits.
fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.filter_map(byte).collect()
}

/// The names of a list of libraries.
pub(crate) fn libraries(list: &str) -> Vec<String> {
    let names = list.split(',').map(|name| name.trim().trim_matches('"'));
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

pub(crate) fn has_library(list: &str) -> bool {
    libraries(list).iter().any(|name| name == "pg_incrbackup")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_permanent_databases_that_have_no_slot_are_counted_as_selected() {
        let hex = |name: &[u8]| {
            let digits = name.iter().map(|byte| format!("{byte:02x}"));
            digits.collect::<String>()
        };
        let row = |name: &[u8], has_slot: &str, limit: &str, is_current: &str| {
            vec![
                Some(hex(name)),
                Some(has_slot.to_owned()),
                Some(limit.to_owned()),
                Some(is_current.to_owned()),
            ]
        };
        let databases = vec![
            row(b"shop", "false", "-1", "false"),
            row(b"caf\xe9", "false", "-1", "false"),
            row(b"done", "true", "-1", "false"),
            row(b"here", "false", "-1", "true"),
            row(b"new.restoring", "false", "-1", "false"),
            row(b"marked", "false", "2147480000", "false"),
            row(b"pg_incrbackup_drill_5", "false", "-1", "false"),
        ];
        assert_eq!(selected(Some("*"), &databases), 2);
        assert_eq!(selected(Some("*, !shop"), &databases), 1);
        assert_eq!(selected(Some(""), &databases), 0);
        assert_eq!(selected(None, &databases), 0);
    }
}
