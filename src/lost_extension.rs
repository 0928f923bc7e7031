//! The extension is dropped with its schema: `DROP SCHEMA public CASCADE`, with which migration tools reset a
//! database. The statement must not fail because of us, so the extension is dropped, and capture, which only
//! needs it to record DDL, continues.
//!
//! The extension is re-created as soon as a schema of that name exists, which we never create: by the
//! statement that creates the schema, in the same transaction, so that no DDL after it is lost; or, if that
//! fails or the schema was created in another way, by a worker that the launcher starts. Then a new base is
//! taken: DDL that ran in between without being recorded is flagged in the increments, and everything is
//! complete again from there on.

mod worker;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use archive::escape::{percent_decode, percent_encode};
use archive::{schema_note, time};
use pgrx::prelude::*;

use crate::backup::{self, Job};
use crate::pg::catalogs::extension;
use crate::pg::ddl;
use crate::pg::ddl::identity::OwnPrivileges;
use crate::pg::failure::Failure;
use crate::pg::server;
use crate::pg::text::quote;
use crate::status::{self, ExtensionStatus};
use crate::{place, workers};

/// While there is no schema for it.
const RETRY: Duration = Duration::from_secs(30);

/// What this transaction has done, as far as needed here.
#[derive(Default)]
struct Noted {
    /// The schema with which the extension was dropped, percent-encoded as the board has it: the end of a transaction is no
    /// place to do that.
    lost: Option<String>,
    is_back: bool,
    /// DDL ran without being recorded: the schema may exist now.
    is_to_be_looked_at: bool,
}

thread_local! {
    static NOTED: RefCell<Noted> = RefCell::default();
    static MAKING: Cell<bool> = const { Cell::new(false) };
}

/// True while we are creating the extension ourselves.
pub fn is_being_made() -> bool {
    MAKING.get()
}

/// The extension existed before a statement, in this schema, and no longer does.
pub fn note_loss(schema: &[u8]) {
    let schema = percent_encode(schema);
    NOTED.with_borrow_mut(|noted| noted.lost = Some(schema));
}

/// A statement ran that could not be recorded.
pub fn note_ddl() {
    NOTED.with_borrow_mut(|noted| noted.is_to_be_looked_at = true);
}

/// True for the name of the schema that the lost extension was in.
pub fn was_in(schema: &[u8]) -> bool {
    let lost_here = NOTED.with_borrow(|noted| noted.lost.clone());
    lost_here.or_else(known_schema) == Some(percent_encode(schema))
}

fn known_schema() -> Option<String> {
    let entry = status::read(server::my_database())?;
    let schema = entry.extension.schema.get();
    (!schema.is_empty()).then_some(schema)
}

/// Creates the extension in this schema again, as the bootstrap superuser: a base must follow. Raises an error if that fails.
pub fn make_in(schema: &[u8]) {
    create_in(schema);
    NOTED.with_borrow_mut(|noted| noted.is_back = true);
}

/// Creates the extension in this schema, as the bootstrap superuser. Raises an error if that fails.
pub fn create_in(schema: &[u8]) {
    let name = String::from_utf8_lossy(&quote::identifier(schema)).into_owned();
    let own = OwnPrivileges::enter().without_triggers();
    MAKING.set(true);
    let made = crate::pg::server::transaction::catch(|| {
        Spi::connect_mut(|client| {
            let create = format!("CREATE EXTENSION pg_incrbackup SCHEMA {name}");
            client.update(&create, None, &[]).map(|_| ())
        })
    });
    MAKING.set(false);
    match made {
        Ok(made) => made.unwrap_or_else(|error| error!("{error}")),
        Err(failure) => failure.raise(),
    }
    own.leave();
}

/// What was recorded takes effect at commit, or is discarded.
pub fn transaction_ended(committed: bool) {
    let noted = NOTED.take();
    let is_nothing = noted.lost.is_none() && !noted.is_back && !noted.is_to_be_looked_at;
    if !committed || is_nothing || !status::is_there() {
        return;
    }
    update(server::my_database(), |extension| {
        if let Some(schema) = &noted.lost {
            extension.schema.set(schema);
        }
        extension.is_lost = !noted.is_back;
        extension.wants_base |= noted.is_back;
        extension.is_due = !noted.is_back;
    });
    workers::wake_launcher();
}

/// What was recorded may have been rolled back: check again.
pub fn subtransaction_aborted() {
    NOTED.with_borrow_mut(|noted| {
        noted.is_to_be_looked_at |= noted.lost.is_some() || noted.is_back;
        noted.is_back = false;
    });
}

fn update(database: pg_sys::Oid, change: impl FnOnce(&mut ExtensionStatus)) {
    status::note(database, |entry| change(&mut entry.extension));
}

/// Checks where the extension is, for the capture worker, and records it for the time after a restart. In a
/// transaction.
pub fn look(database: pg_sys::Oid) -> Result<(), Failure> {
    let known = status::read(database).unwrap_or_default().extension;
    let Some(history) = ddl::ddl_history::find() else {
        let mut schema = known.schema.get();
        if schema.is_empty() {
            let found = place::find(database)?;
            let noted = found.map(|found| schema_note::read(&found)).transpose()?;
            schema = noted.flatten().unwrap_or_default();
        }
        // DDL may have reported it before, without knowing the schema.
        let is_news = !known.is_lost || known.schema.get().is_empty() && !schema.is_empty();
        if is_news && extension::own_oid().is_none() {
            update(database, |extension| {
                extension.schema.set(&schema);
                extension.is_lost = true;
                extension.is_due = true;
            });
            workers::wake_launcher();
        }
        return Ok(());
    };
    let schema = percent_encode(&history.schema_name().unwrap_or_default());
    if known.is_lost {
        update(database, found_again);
        workers::wake_launcher();
    }
    if let Some(owned) = place::own(database)? {
        schema_note::write(&owned, &schema)?;
    }
    update(database, |extension| extension.schema.set(&schema));
    Ok(())
}

fn found_again(extension: &mut ExtensionStatus) {
    extension.wants_base |= extension.is_lost;
    extension.is_lost = false;
    extension.is_due = false;
    extension.error.set("");
}

/// Starts what is due of this, for the launcher; returns the time until the next check.
pub fn start_if_due(database: pg_sys::Oid) -> Duration {
    let entry = status::read(database).unwrap_or_default();
    let now = time::now().timestamp_micros();
    let extension = entry.extension;
    if entry.aside_for != 0 || extension.pid != 0 && server::is_process_alive(extension.pid) {
        return RETRY;
    }
    if extension.wants_base && !extension.is_lost {
        // A base that is in progress may have started too early: this one follows it.
        if backup::start(database, Job::Base).is_ok() {
            update(database, |extension| extension.wants_base = false);
        }
        return RETRY;
    }
    if !extension.is_due && (!extension.is_lost || extension.not_before > now) {
        return RETRY;
    }
    if crate::workers::of_kind("extension", database)
        .load_dynamic()
        .is_ok()
    {
        update(database, |extension| {
            extension.is_due = false;
            extension.not_before = now + RETRY.as_micros() as i64;
        });
    }
    RETRY
}

/// What is wrong, for health.
pub fn problem(extension: &ExtensionStatus) -> Option<String> {
    if !extension.is_lost {
        return None;
    }
    let schema = percent_decode(extension.schema.get().as_bytes()).unwrap_or_default();
    let schema = String::from_utf8_lossy(&schema).into_owned();
    let why = match extension.error.get() {
        error if error.is_empty() => {
            format!("it is re-created as soon as schema \"{schema}\" exists")
        }
        error => format!("it could not be re-created: {error}"),
    };
    Some(format!(
        "the extension was dropped with its schema, DDL is not captured: {why}"
    ))
}
