//! Restores with the program `pg_incrbackup`, and compares the result with the source.

use std::collections::BTreeSet;

use archive::drills::{Drill, ThrowawayPlace};
use archive::{ChainDir, DatabaseDir};
use pgrx::prelude::*;

use super::contents::Contents;
use super::definitions::Differences;
use super::moment::Moment;
use super::program::Wish;
use super::source_server::SourceServer;
use super::target::Target;
use super::throwaway::Throwaway;
use super::unmade::Unmade;
use super::{board, client, definitions, scratch};
use crate::pg::failure::Failure;
use crate::status::DrillPhase;

/// This many of each kind are recorded.
const KEPT: usize = 20;

/// Where a drill restores to.
pub enum Where<'a> {
    /// Another server, as a superuser there.
    Server(Target),
    /// A throwaway server at this place, as a role that may do little.
    Throwaway(&'a ThrowawayPlace, &'a SourceServer),
}

/// The current run.
struct Run<'a> {
    database: pg_sys::Oid,
    place: &'a DatabaseDir,
    chain: &'a ChainDir,
    moment: &'a Moment,
}

/// Its findings are in the record's problems; an error means that the drill could not run.
pub fn and_compare(
    database: pg_sys::Oid,
    place: &DatabaseDir,
    chain: &ChainDir,
    to: Where,
    moment: &Moment,
    drill: &mut Drill,
) -> Result<(), Failure> {
    let run = Run {
        database,
        place,
        chain,
        moment,
    };
    board::enter(database, DrillPhase::Restoring);
    match to {
        Where::Server(target) => run.restore(&target, drill, false),
        Where::Throwaway(at, source) => {
            let server = Throwaway::start(at, source)?;
            let target = Target::of(&server)?;
            server.make_database(&target, &scratch::name(database), source)?;
            run.restore(&target, drill, true)
        }
    }
}

impl Run<'_> {
    fn restore(&self, target: &Target, drill: &mut Drill, is_limited: bool) -> Result<(), Failure> {
        let wish = Wish {
            place: self.place,
            chain: self.chain,
            moment: self.moment,
            target: target.database(&scratch::name(self.database)),
            notes_made: !is_limited,
            database: self.database,
        };
        let restored = wish.restore()?;
        drill.base = restored.base;
        (drill.tables, drill.rows) = self.moment.contents.counts(&BTreeSet::new());
        if !restored.is_done {
            target.ensure_is_up()?;
        }
        add(&mut drill.problems, restored.problems);
        if restored.is_done {
            self.compare(target, drill, is_limited)?;
        }
        if !is_limited {
            // Of another version than the source's.
            add(&mut drill.left_out, restored.left_out);
        }
        add(&mut drill.left_out, restored.unfilled);
        Ok(())
    }

    fn compare(&self, target: &Target, drill: &mut Drill, is_limited: bool) -> Result<(), Failure> {
        let moment = self.moment;
        board::enter_with_total(self.database, DrillPhase::Comparing, moment.sizes.total);
        let restored = target.database(&scratch::name(self.database));
        let mut found = Differences::default();
        if target.is_same_major() {
            let definitions = definitions::of_restored(&restored, target.version)?;
            let unmade = is_limited.then(|| self.unmade(target, &restored));
            let unmade = unmade.transpose()?;
            found = moment
                .definitions
                .differences(&definitions, unmade.as_ref());
        }
        (drill.tables, drill.rows) = moment.contents.counts(&found.tables);
        let on_table = |name: &str, _| {
            let table = moment.contents.oid_of(name);
            let bytes = table.map_or(0, |table| moment.sizes.of_table(table));
            board::advance(self.database, bytes);
        };
        match Contents::read(&restored, target.version, None, on_table) {
            Ok(contents) => add(
                &mut drill.problems,
                moment.contents.differences(&contents, &found.tables),
            ),
            Err(failure) if failure.code == PgSqlErrorCode::ERRCODE_SYSTEM_ERROR => {
                return Err(failure);
            }
            Err(failure) => {
                target.ensure_is_up()?;
                drill
                    .problems
                    .push(format!("the rows could not be read: {}", failure.in_full()));
            }
        }
        add(&mut drill.problems, found.problems);
        add(&mut drill.left_out, found.left_out);
        Ok(())
    }

    /// What the restoring role could not create there.
    fn unmade(&self, target: &Target, restored: &str) -> Result<Unmade, Failure> {
        const EXTENSIONS: &str =
            "SET search_path = ''; SELECT extname FROM pg_catalog.pg_extension;";
        let rows = client::sql(restored, target.version, EXTENSIONS)?;
        let rows = String::from_utf8_lossy(&rows);
        let there: BTreeSet<&str> = rows.lines().collect();
        let contents = &self.moment.table_of_contents;
        Ok(contents.unmade(|name| there.contains(name)))
    }
}

/// Adds up to the number that is kept.
pub fn add(kept: &mut Vec<String>, mut found: Vec<String>) {
    let more = found.len().saturating_sub(KEPT);
    found.truncate(KEPT);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    kept.extend(found);
}
