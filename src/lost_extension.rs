//! The extension that went with its schema: `DROP SCHEMA public CASCADE`, as migration tools reset a
//! database. It must not fail for us, so the extension goes, and capture, which needs its record of DDL
//! alone, stays.
//!
//! The extension is made again as soon as a schema of that name exists, which we never make: by the
//! statement that makes the schema, in the same transaction, so that no DDL after it is lost; where that
//! fails, or somebody else's way led there, by a worker that the launcher starts. Then a new base begins:
//! what ran in between without a record is flagged in the increments, and whole again from there on.

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
use crate::pg::ddl::node::Sql;
use crate::pg::failure::Failure;
use crate::pg::server;
use crate::pg::text::quote;
use crate::status::{self, ExtensionStatus};
use crate::{place, workers};

/// While there is no schema to make it in.
const RETRY: Duration = Duration::from_secs(30);

/// What this transaction has done, as far as it matters here.
#[derive(Default)]
struct Noted {
    /// The schema that the extension went with.
    lost: Option<Sql>,
    is_back: bool,
    /// DDL ran without a record: perhaps the schema is there now.
    is_to_be_looked_at: bool,
}

thread_local! {
    static NOTED: RefCell<Noted> = RefCell::default();
    static MAKING: Cell<bool> = const { Cell::new(false) };
}

/// True while we make the extension ourselves.
pub fn is_being_made() -> bool {
    MAKING.get()
}

/// The extension was there before a statement, in this schema, and is not any more.
pub fn note_loss(schema: Sql) {
    NOTED.with_borrow_mut(|noted| noted.lost = Some(schema));
}

/// A statement ran that had no record to be written to.
pub fn note_ddl() {
    NOTED.with_borrow_mut(|noted| noted.is_to_be_looked_at = true);
}

/// True for the name of the schema that the lost extension was in.
pub fn was_in(schema: &[u8]) -> bool {
    let lost_here = NOTED.with_borrow(|noted| noted.lost.clone());
    lost_here.or_else(known_schema).as_deref() == Some(schema)
}

fn known_schema() -> Option<Sql> {
    let entry = status::read(server::my_database())?;
    percent_decode(entry.extension.schema.get().as_bytes()).filter(|schema| !schema.is_empty())
}

/// Makes the extension in this schema, as the bootstrap superuser. Raises where that fails.
pub fn make_in(schema: &[u8]) {
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
    NOTED.with_borrow_mut(|noted| noted.is_back = true);
}

/// What has been noted becomes true, or not.
pub fn transaction_ended(committed: bool) {
    let noted = NOTED.take();
    let is_nothing = noted.lost.is_none() && !noted.is_back && !noted.is_to_be_looked_at;
    if !committed || is_nothing || !status::is_there() {
        return;
    }
    update(server::my_database(), |extension| {
        if let Some(schema) = &noted.lost {
            extension.schema.set(&percent_encode(schema));
        }
        extension.is_lost = !noted.is_back;
        extension.wants_base |= noted.is_back;
        extension.is_due = !noted.is_back;
    });
    workers::wake_launcher();
}

/// What was noted may be undone: a look will tell.
pub fn subtransaction_aborted() {
    NOTED.with_borrow_mut(|noted| {
        noted.is_to_be_looked_at |= noted.lost.is_some() || noted.is_back;
        noted.is_back = false;
    });
}

fn update(database: pg_sys::Oid, change: impl FnOnce(&mut ExtensionStatus)) {
    status::update(database, |entry| change(&mut entry.extension));
}

/// Looks where the extension is, for the capture worker, and notes it where a restart leaves it.
/// In a transaction.
pub fn look(database: pg_sys::Oid) -> Result<(), Failure> {
    let known = status::read(database).unwrap_or_default().extension;
    let Some(history) = ddl::history::find() else {
        let mut schema = known.schema.get();
        if schema.is_empty() {
            let found = place::find(database)?;
            let noted = found.map(|found| schema_note::read(&found)).transpose()?;
            schema = noted.flatten().unwrap_or_default();
        }
        // DDL may have told of it before, which does not know the schema.
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

/// Starts what is due of all that, for the launcher; returns for how long nothing will be.
pub fn start_if_due(database: pg_sys::Oid) -> Duration {
    let entry = status::read(database).unwrap_or_default();
    let now = time::now().timestamp_micros();
    let extension = entry.extension;
    if entry.aside_for != 0 || extension.pid != 0 && server::is_process_alive(extension.pid) {
        return RETRY;
    }
    if extension.wants_base && !extension.is_lost {
        // One that is being made may have begun too early: this comes after it.
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

/// What is amiss, for health.
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
