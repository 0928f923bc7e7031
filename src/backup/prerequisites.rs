//! What this database needs to be backed up, as rows: for incr_check(), and for what incr_setup() refuses.
//!
//! The list is that of the crate `prerequisites`, which the program shares. Here its questions are asked, as the bootstrap
//! superuser, so that whoever may call incr_check() sees all of it, and the server's machine is looked at. Nothing is
//! changed, and nothing needs the library to be preloaded.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use archive::layout::Standing;
use archive::ArchiveRoot;
use pgrx::prelude::*;
use prerequisites::{
    list, what_to_write, Answer, Class, Facts, Question, Remedy, Row, State, Who, QUESTIONS, WHO,
};

use super::dump;
use crate::pg::ddl::identity::OwnPrivileges;
use crate::pg::failure::Failure;
use crate::pg::server::{self, guc};
use crate::{settings, workers};

/// The rows, in the order in which they are read. Needs a transaction.
pub fn rows() -> Result<Vec<Row>, Failure> {
    // By the caller's rights; the rest by ours. An error gives them back with the transaction.
    let mut who = Who::new(&ask(&WHO)?);
    who.sees_all = true;
    who.sees_files = true;
    let own = OwnPrivileges::enter();
    let mut answers: [Answer; QUESTIONS.len()] = Default::default();
    for (question, answer) in QUESTIONS.iter().zip(&mut answers) {
        *answer = ask(question)?;
    }
    own.leave();
    let mut facts = Facts::new(who, answers);
    facts.slot_is_persistent(workers::has_slot(server::my_database()));
    if let Some(directory) = guc::value(c"pg_incrbackup.directory") {
        facts.set("pg_incrbackup.directory", directory);
    }
    // The row about the disk follows links, too.
    facts.forget("data_directory");
    let machine = machine(facts.is_backed_up());
    Ok(list(&facts, machine))
}

/// Fails with everything that is missing at once, and with what to write for all of it.
pub fn ensure_complete(rows: &[Row]) -> Result<(), Failure> {
    let missing: Vec<&Row> = rows
        .iter()
        .filter(|row| row.state == State::Missing)
        .collect();
    let Some(first) = missing.first() else {
        return Ok(());
    };
    let is_same = missing.iter().all(|row| row.class == first.class);
    let class = if is_same {
        first.class
    } else {
        Class::Prerequisite
    };
    let failure = match missing.as_slice() {
        [only] => Failure::new(code(class), only.message.clone()),
        several => {
            let message = format!("{} prerequisites of a backup are missing", several.len());
            let each: Vec<&str> = several.iter().map(|row| row.message.as_str()).collect();
            Failure::new(code(class), message).detail(each.join("\n"))
        }
    };
    let remedies = missing.iter().filter_map(|row| row.remedy.as_ref());
    Err(failure.hint(what_to_write(remedies)))
}

fn code(class: Class) -> PgSqlErrorCode {
    match class {
        Class::Prerequisite => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        Class::Limit => PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
        Class::Duplicate => PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
        Class::File => PgSqlErrorCode::ERRCODE_UNDEFINED_FILE,
        Class::Configuration => PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
        Class::ReadOnly => PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
    }
}

/// Text is conveyed in UTF-8. SQL_ASCII has no conversion: its bytes are taken as they are.
fn ask(question: &Question) -> Result<Answer, Failure> {
    let encoding = match server::database_encoding().as_str() {
        "SQL_ASCII" => "SQL_ASCII",
        _ => "UTF8",
    };
    let names: Vec<String> = (1..=question.columns)
        .map(|column| format!("c{column}"))
        .collect();
    let converted: Vec<String> = names
        .iter()
        .map(|name| format!("pg_catalog.convert_to({name}, '{encoding}')"))
        .collect();
    let query = format!(
        "SELECT {} FROM ({}) AS q ({})",
        converted.join(", "),
        question.sql,
        names.join(", ")
    );
    let answer = Spi::connect(|client| {
        let rows = client.select(&query, None, &[])?;
        rows.map(|row| {
            (1..=question.columns)
                .map(|column| {
                    let text = row.get::<Vec<u8>>(column)?;
                    Ok(text.map(|text| String::from_utf8_lossy(&text).into_owned()))
                })
                .collect::<Result<Vec<_>, pgrx::spi::Error>>()
        })
        .collect::<Result<Answer, pgrx::spi::Error>>()
    });
    Ok(answer?)
}

/// What only this machine shows.
fn machine(is_backed_up: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Some(directory) = settings::directory() {
        rows.push(directory_on_disk(&directory));
        rows.extend(file_system(&directory));
    }
    rows.extend(plugin(is_backed_up));
    rows.push(programs());
    rows
}

fn directory_on_disk(directory: &Path) -> Row {
    const NAME: &str = "archive on disk";
    match ArchiveRoot::examine(directory, &server::data_directory()) {
        Ok(Standing::Ready) => {
            Row::ok(NAME, "a directory of the server's user alone, and writable")
        }
        Ok(Standing::ToBeMade) => Row::ok(NAME, "it does not exist yet, and will be created"),
        Ok(Standing::ToBeClosed) => Row::ok(
            NAME,
            "an empty directory that is open to others, and will have mode 0700",
        ),
        Err(error) => {
            let message = error.to_string();
            Row::missing(NAME, message.clone(), Remedy::Do(error.hint().to_owned()))
                .as_error(Class::Configuration, message)
        }
    }
}

/// A disk that is full, or broken, is to stop one of both at most.
fn file_system(directory: &Path) -> Option<Row> {
    const NAME: &str = "archive's file system";
    let device = |path: &Path| Some(fs::metadata(path).ok()?.dev());
    let of_archive = device(directory).or_else(|| device(directory.parent()?))?;
    if of_archive != device(&server::data_directory())? {
        return Some(Row::ok(NAME, "not that of the data directory"));
    }
    let found = "that of the data directory: an archive that fills it stops the server, and a disk that breaks takes both";
    let todo = "Set pg_incrbackup.directory to a directory on another file system.";
    Some(Row::warning(NAME, found, Remedy::Do(todo.to_owned())))
}

/// The library of the plugin that a new slot would get.
fn plugin(is_backed_up: bool) -> Option<Row> {
    const NAME: &str = "output plugin";
    let plugin = settings::plugin();
    let library = server::library(&plugin);
    if is_backed_up || plugin.contains('/') || cfg!(not(target_os = "linux")) {
        return None;
    }
    if library.exists() {
        return Some(Row::ok(NAME, plugin));
    }
    let message = format!(
        "the library of output plugin {plugin} is missing: there is no file \"{}\"",
        library.display()
    );
    let todo =
        "Install it, or set pg_incrbackup.plugin = 'pg_incrbackup' in postgresql.conf.".to_owned();
    let row = Row::missing(NAME, message.clone(), Remedy::Do(todo));
    Some(row.as_error(Class::File, message))
}

/// pg_dump and pg_restore must be executable, and pg_dump be of the server's major version or a newer one.
fn programs() -> Row {
    const NAME: &str = "pg_dump";
    let version =
        dump::version("pg_dump").and_then(|version| dump::version("pg_restore").map(|_| version));
    let version = match version {
        Ok(version) => version,
        Err(failure) => {
            let class = match failure.code {
                PgSqlErrorCode::ERRCODE_UNDEFINED_FILE => Class::File,
                _ => Class::Prerequisite,
            };
            let hint = failure.hint.clone().unwrap_or_default();
            let message = failure.in_full();
            return Row::missing(NAME, message.clone(), Remedy::Do(hint)).as_error(class, message);
        }
    };
    let number = version
        .split_whitespace()
        .find_map(|word| word.split('.').next()?.parse::<u32>().ok());
    let server = server::VERSION_NUM / 10_000;
    if number.is_some_and(|major| major >= server) {
        return Row::ok(NAME, version);
    }
    let message = format!(
        "{version} cannot dump a server of version {server} (it is \"{}\")",
        dump::program("pg_dump").display()
    );
    let todo =
        "Set pg_incrbackup.bin_directory to the directory of this server version's programs.";
    Row::missing(NAME, message.clone(), Remedy::Do(todo.to_owned()))
        .as_error(Class::Prerequisite, message)
}
