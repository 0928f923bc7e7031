//! One base backup: a snapshot, pg_dump under it, and the files around the dump.
//!
//! The fence is held from before the snapshot until pg_dump has read every definition and locked every table.
//! The first base of a chain uses the snapshot exported by its slot. That snapshot is taken before the fence:
//! while slot creation waits for open transactions, a fence would make their DDL wait for us and us for them.
//! Therefore schema changes in between are detected afterwards. If there was one, or if the fence cannot be
//! acquired immediately, the base is taken under a new snapshot instead, which joins the chain as well. Every
//! other base takes a new snapshot.

use archive::counted;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use archive::base::{complete_manifest, remove_leftovers, BaseDir};
use archive::layout::BaseName;
use archive::metadata::Metadata;
use archive::{time, ChainDir, Lsn};
use pgrx::prelude::*;

use super::dump::{self, Progress, Source};
use super::properties::Properties;
use super::{board, contents, shared_catalogs, standbys, turn};
use crate::figures::pretty_bytes;
use crate::pg::decoding::slot::NewSlot;
use crate::pg::decoding::snapshot::Exported;
use crate::pg::failure::Failure;
use crate::pg::server::fence::{self, Fence};
use crate::pg::server::transaction::{self, Isolation};
use crate::pg::server::{self, query, signals, title};
use crate::place::OwnedChain;
use crate::settings::{self, BaseFormat};
use crate::status::BasePhase;

/// How often a base that lost the wait for a lock is retried.
const ATTEMPTS: u32 = 5;
/// So long a base keeps its turn while it waits for transactions of its own database: others wait for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The directory of the unfinished base, for the exit callback.
static IN_MAKING: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Takes a base in `chain` and returns its path. `slot`: the slot just created for this chain, whose snapshot
/// is still exported.
pub fn make(
    chain: &OwnedChain<'_>,
    source: &Source,
    slot: Option<NewSlot>,
) -> Result<PathBuf, Failure> {
    let start = Instant::now();
    title::log(&format!(
        "starting, {} of {}",
        counted(source.tables, "table"),
        pretty_bytes(source.sizes.total)
    ));
    let path = make_by_attempts(chain, source, slot)?;
    let seconds = start.elapsed().as_secs_f64();
    title::log(&format!(
        "complete, {} of {} in {seconds:.1} s",
        path.display(),
        pretty_bytes(dump::bytes_of(&path))
    ));
    Ok(path)
}

fn make_by_attempts(
    chain: &OwnedChain<'_>,
    source: &Source,
    slot: Option<NewSlot>,
) -> Result<PathBuf, Failure> {
    remove_leftovers(chain)?;
    complete_manifest(chain, &mut signals::look_for_interrupts)?;
    board::tables(source.tables, source.sizes.total);
    if let Some(slot) = slot {
        if let Some(path) = under_slot_snapshot(chain, source, slot)? {
            return Ok(path);
        }
    }
    let mut attempt = 1;
    loop {
        match under_new_snapshot(chain, source) {
            Err(failure) if is_lock_timeout(&failure) && attempt < ATTEMPTS => {
                title::log(&format!("{}; retrying the base backup", failure.in_full()));
                attempt += 1;
            }
            other => return other,
        }
    }
}

/// Removes an unfinished base when the worker exits.
pub fn discard_in_making() {
    let path = IN_MAKING.lock().ok().and_then(|mut path| path.take());
    if let Some(path) = path {
        // If this fails, the next base removes it.
        std::fs::remove_dir_all(path).ok();
    }
}

fn is_lock_timeout(failure: &Failure) -> bool {
    failure.code == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE
}

fn is_of_pg_dump(failure: &Failure) -> bool {
    failure.code == PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION
}

/// The first base of a chain; `None` if the slot's snapshot cannot be used.
fn under_slot_snapshot(
    chain: &OwnedChain<'_>,
    source: &Source,
    slot: NewSlot,
) -> Result<Option<PathBuf>, Failure> {
    // Parallel jobs of pg_dump import the snapshot one after the other, after the fence is released: they
    // need a transaction that stays open, which cannot run the queries needed here.
    let is_parallel = settings::base_format() == BaseFormat::Directory && settings::base_jobs() > 1;
    let fence = if is_parallel {
        None
    } else {
        Fence::try_raise(source.history)
    };
    let Some(fence) = fence else {
        slot.end_export();
        return Ok(None);
    };
    let making = Making::begin(chain, slot.snapshot.clone())?;
    let (mut fence, mut properties) = (Some(fence), None);
    let dumped = dump::database(making.dir.path(), source, &slot.snapshot.name, |progress| {
        if let Progress::DefinitionsRead = progress {
            slot.end_export();
            properties = transaction::run(|| {
                if was_schema_changed_since(&slot.snapshot, source)? {
                    return Ok(None);
                }
                Properties::collect().map(Some)
            })?;
            fence = None;
            if properties.is_none() {
                return Err(schema_was_changed());
            }
        }
        board::note(progress);
        Ok(())
    });
    match (dumped, properties) {
        (Ok(()), Some(properties)) => making.finish(chain, source, properties).map(Some),
        (Ok(()), None) => Err(schema_was_changed()),
        (Err(failure), _) => {
            drop(fence);
            transaction::rollback();
            discard_in_making();
            // pg_dump also fails if a table that is visible to the snapshot was dropped before the fence. Any
            // other error will occur again under the new snapshot.
            if !is_of_pg_dump(&failure) && !is_lock_timeout(&failure) && !is_schema_change(&failure)
            {
                return Err(failure);
            }
            title::log(&format!(
                "{}; the base backup takes a new snapshot",
                failure.in_full()
            ));
            Ok(None)
        }
    }
}

/// A base that only waits for transactions that change the schema.
fn under_new_snapshot(chain: &OwnedChain<'_>, source: &Source) -> Result<PathBuf, Failure> {
    let (fence, renewed) = raise_fence(source.history)?;
    let source = renewed.as_ref().unwrap_or(source);
    transaction::begin(Isolation::RepeatableRead);
    let dumped = transaction::catch(|| dump_exported(chain, source, fence));
    match dumped.and_then(|result| result) {
        Ok((making, properties)) => {
            transaction::commit();
            making.finish(chain, source, properties)
        }
        Err(failure) => {
            transaction::rollback();
            discard_in_making();
            Err(failure)
        }
    }
}

fn dump_exported(
    chain: &OwnedChain<'_>,
    source: &Source,
    fence: Fence,
) -> Result<(Making, Properties), Failure> {
    ensure_name_is_free(chain)?;
    let snapshot = Exported::take();
    // VACUUM FULL of a catalog would wait for us, and pg_dump behind it, for which we wait.
    let properties = transaction::without_keeping_locks(Properties::collect)?;
    let making = Making::begin(chain, snapshot.clone())?;
    let mut fence = Some(fence);
    dump::database(making.dir.path(), source, &snapshot.name, |progress| {
        if let Progress::DefinitionsRead = progress {
            fence = None;
        }
        board::note(progress);
        Ok(())
    })?;
    Ok((making, properties))
}

/// On an idle server the WAL does not advance, and a base is named by its LSN and the second: advances the
/// WAL past the newest base.
fn ensure_name_is_free(chain: &ChainDir) -> Result<(), Failure> {
    let newest = chain.bases()?.pop();
    if newest.is_some_and(|newest| newest.lsn.0 >= server::wal_insert_lsn()) {
        server::emit_position_mark();
    }
    Ok(())
}

/// Acquires the fence by repeated short waits. A turn that others may be waiting for is given back after a while: the
/// fence is waited for without one, and is not held while the next turn is waited for. Then the source is another one.
fn raise_fence(mut history: pg_sys::Oid) -> Result<(Fence, Option<Source>), Failure> {
    let database = server::my_database();
    let mut renewed = None;
    loop {
        board::enter(BasePhase::Fencing);
        let fence = Fence::raise(history, |waited| {
            if waited >= PATIENCE {
                turn::give_back(database);
            }
            let holders = fence::holders(history)?;
            let separator = if holders.is_empty() { "" } else { ": " };
            board::wait_for(&format!(
                "open transactions that have changed the schema, for {} s{separator}{holders}",
                waited.as_secs()
            ));
            Ok(())
        })?;
        board::wait_for("");
        if turn::has(database) || turn::try_take(database) {
            return Ok((fence, renewed));
        }
        drop(fence);
        turn::take(database)?;
        let source = transaction::run(Source::collect)?;
        history = source.history;
        renewed = Some(source);
    }
}

/// True when a transaction that the snapshot does not see has changed the schema. Under the fence
/// all of those have committed.
fn was_schema_changed_since(snapshot: &Exported, source: &Source) -> Result<bool, Failure> {
    let text = format!(
        "SELECT EXISTS (SELECT FROM {} WHERE NOT \
         pg_catalog.pg_visible_in_snapshot(txid, '{}'::pg_catalog.pg_snapshot))",
        source.history_name, snapshot.sees
    );
    Ok(query::one::<bool>(&text, &[])?.unwrap_or(true))
}

fn schema_was_changed() -> Failure {
    let code = PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE;
    Failure::new(
        code,
        "the schema was changed while the slot was being created",
    )
}

fn is_schema_change(failure: &Failure) -> bool {
    failure.code == PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE
}

/// A base whose directory has been created.
struct Making {
    dir: BaseDir,
    chain: ChainDir,
    snapshot: Exported,
    start: Instant,
}

impl Making {
    fn begin(chain: &OwnedChain<'_>, snapshot: Exported) -> Result<Making, Failure> {
        let name = BaseName {
            lsn: Lsn(snapshot.lsn),
            taken_at: time::calendar(),
        };
        let dir = BaseDir::create(chain, name)?;
        if let Ok(mut path) = IN_MAKING.lock() {
            *path = Some(dir.path().to_path_buf());
        }
        board::dumping_to(&chain.base().join(name.to_string()));
        Ok(Making {
            dir,
            chain: (**chain).clone(),
            snapshot,
            start: Instant::now(),
        })
    }

    /// Adds the files beside the dump and renames the base to its final name, durably.
    fn finish(
        self,
        chain: &OwnedChain<'_>,
        source: &Source,
        mut properties: Properties,
    ) -> Result<PathBuf, Failure> {
        board::enter(BasePhase::Finishing);
        let format = settings::base_format();
        properties.facts.left_out =
            contents::make(self.dir.path(), format, &properties.gone, &source.sizes)?;
        board::enter(BasePhase::Finishing);
        let globals_sql = self.globals_sql(source)?;
        self.dir.write_file("globals.sql", &globals_sql)?;
        self.dir
            .write_file("database.sql", &properties.database_sql)?;
        standbys::wait_for(self.snapshot.lsn);
        let metadata = self.metadata(properties);
        chain.ensure_held()?;
        let finished = self.dir.finish(&metadata);
        if finished.is_ok() {
            if let Ok(mut path) = IN_MAKING.lock() {
                *path = None;
            }
        }
        Ok(finished?.path)
    }

    /// As of now: the newest set's while it is still true.
    fn globals_sql(&self, source: &Source) -> Result<Vec<u8>, Failure> {
        let written = match transaction::run(shared_catalogs::fingerprint) {
            Ok(now) => shared_catalogs::dumped(&self.chain, &now),
            Err(failure) if failure.code == PgSqlErrorCode::ERRCODE_QUERY_CANCELED => {
                return Err(failure)
            }
            // It only saves a dump, and the base is nearly there.
            Err(failure) => {
                title::log(&format!(
                    "dumping roles and tablespaces, whether they have changed or not: {}",
                    failure.in_full()
                ));
                None
            }
        };
        written.map_or_else(|| dump::globals(source), Ok)
    }

    fn metadata(&self, properties: Properties) -> Metadata {
        Metadata {
            format: archive::layout::chain::FORMAT,
            tool_version: env!("CARGO_PKG_VERSION").to_string(),
            system_identifier: server::system_identifier(),
            timeline: server::timeline(),
            database_oid: self.chain.info.database_oid,
            server_version_num: server::running_version(),
            lsn: Lsn(self.snapshot.lsn),
            snapshot: self.snapshot.sees.clone(),
            taken_at: self.dir.name().taken_at,
            duration_ms: self.start.elapsed().as_millis() as u64,
            dump: dump::file_name(settings::base_format()).to_string(),
            source: properties.facts,
        }
    }
}
