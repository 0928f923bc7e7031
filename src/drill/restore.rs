//! Restores with the archive's own restore.sh, and compares the result with the source.

use std::collections::BTreeSet;
use std::ffi::OsString;

use archive::drills::{self, Drill, ThrowawayPlace};
use archive::{ChainDir, DatabaseDir};
use pgrx::prelude::*;

use super::contents::Contents;
use super::definitions::Differences;
use super::moment::Moment;
use super::source_server::SourceServer;
use super::target::Target;
use super::throwaway::{self, Throwaway};
use super::unmade::Unmade;
use super::{board, client, definitions, scratch};
use crate::backup::dump;
use crate::pg::failure::Failure;
use crate::status::DrillPhase;

/// This many of each kind are recorded.
const KEPT: usize = 20;
/// Exit statuses of restore.sh for objects that its role is not permitted to create: in the base, in the
/// segments.
const REFUSED_IN_BASE: i32 = 4;
const REFUSED_IN_SEGMENTS: i32 = 5;

/// Where a drill restores to.
pub enum Where<'a> {
    /// Another server, as a superuser there.
    Server(Target),
    /// A throwaway server at this place.
    Throwaway(&'a ThrowawayPlace, &'a SourceServer),
}

/// What restore.sh leaves out because its role is not permitted to create it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LeaveOut {
    Nothing,
    OfBase,
    All,
}

impl LeaveOut {
    fn word(self) -> &'static str {
        match self {
            LeaveOut::Nothing => "nothing",
            LeaveOut::OfBase => "base",
            LeaveOut::All => "all",
        }
    }

    /// What to leave out if that was not sufficient.
    fn next(self, code: Option<i32>) -> Option<LeaveOut> {
        match (self, code) {
            (LeaveOut::Nothing, Some(REFUSED_IN_BASE)) => Some(LeaveOut::OfBase),
            (LeaveOut::All, _) => None,
            (_, Some(REFUSED_IN_BASE | REFUSED_IN_SEGMENTS)) => Some(LeaveOut::All),
            _ => None,
        }
    }
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
    to: &Where,
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
        Where::Server(target) => {
            let made = drills::made_file(place).into_os_string();
            let ran = run.restore(target, vec![("RESTORE_SH_MADE", made)])?;
            run.compare(target, &ran, drill, None)
        }
        Where::Throwaway(at, source) => {
            let mut leave_out = LeaveOut::Nothing;
            loop {
                let server = Throwaway::start(at, source)?;
                let target = Target::of(&server)?;
                let ran = run.restore(&target, unprivileged(&server, leave_out))?;
                let Some(next) = leave_out.next(ran.code) else {
                    return run.compare(&target, &ran, drill, Some(&server));
                };
                // The first attempt may have renamed or dropped roles: the next one uses a new server.
                drop(server);
                throwaway::remove(at)?;
                leave_out = next;
            }
        }
    }
}

/// Tells restore.sh that its role is not a superuser.
fn unprivileged(server: &Throwaway, leave_out: LeaveOut) -> Vec<(&'static str, OsString)> {
    // There is one event trigger, of the drill's own superuser, and that has to fire.
    let options = client::session_options(client::own_version());
    vec![
        (
            "PGOPTIONS",
            options.replace(" -c event_triggers=off", "").into(),
        ),
        ("RESTORE_SH_SUPERUSER", server.superuser.clone().into()),
        ("RESTORE_SH_PREPARE", server.preparation.clone().into()),
        ("RESTORE_SH_LEAVE_OUT", leave_out.word().into()),
    ]
}

impl Run<'_> {
    /// Runs the archive's own restore.sh, like an administrator.
    fn restore(
        &self,
        target: &Target,
        more: Vec<(&'static str, OsString)>,
    ) -> Result<client::Ran, Failure> {
        let script = self.place.path().join("restore.sh");
        let arguments = [
            script.into(),
            dump::option("--target=", target.database(&scratch::name(self.database))),
            format!("--until-lsn={}", self.moment.lsn).into(),
            format!("--chain={}", self.chain.number).into(),
        ];
        let mut environment = client::environment(target.version);
        let psql = dump::program("psql");
        let mut path = psql.parent().map(OsString::from).unwrap_or_default();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin".into()));
        environment.push(("PATH", path));
        environment.extend(more);
        let shell = std::path::Path::new("/bin/sh");
        client::run(shell, &arguments, &environment, None, || Ok(()))
    }

    fn compare(
        &self,
        target: &Target,
        ran: &client::Ran,
        drill: &mut Drill,
        throwaway: Option<&Throwaway>,
    ) -> Result<(), Failure> {
        let said = String::from_utf8_lossy(&ran.output);
        let base = said.lines().find_map(|line| line.strip_prefix("base: "));
        let base = base.and_then(|text| text.split(' ').next()?.rsplit('/').next());
        drill.base = base.map(str::to_string);
        let moment = self.moment;
        (drill.tables, drill.rows) = moment.contents.counts(&BTreeSet::new());
        if !ran.is_good {
            target.ensure_target_is_up(&ran.messages)?;
            let problem = format!("restore.sh: {}", ran.tail(6));
            drill.problems.push(problem);
            return Ok(());
        }
        board::enter(self.database, DrillPhase::Comparing);
        let restored = target.database(&scratch::name(self.database));
        let mut found = Differences::default();
        if target.is_same_major() {
            let creators = throwaway.map(|server| server.creators.as_str());
            let definitions = definitions::of_restored(&restored, target.version, creators)?;
            let unmade = match throwaway {
                Some(_) => Some(self.unmade(target, &restored)?),
                None => None,
            };
            found = moment
                .definitions
                .differences(&definitions, unmade.as_ref());
        }
        (drill.tables, drill.rows) = moment.contents.counts(&found.tables);
        match Contents::read(&restored, target.version, None) {
            Ok(contents) => add(
                &mut drill.problems,
                moment.contents.differences(&contents, &found.tables),
            ),
            Err(failure) => {
                let why = failure.in_full();
                target.ensure_target_is_up(&why)?;
                drill
                    .problems
                    .push(format!("the rows could not be read: {why}"));
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
