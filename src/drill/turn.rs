//! Drills that restore to the same server take turns.
//!
//! A role that one of them creates is there for another one, which takes it for one of that server, and loses it when the
//! first one drops what it has created. So whoever works on a server, also to remove what a drill has left there, holds an
//! advisory lock in its maintenance database meanwhile, in a session of its own, whatever server its source is on.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::target::Target;
use super::{board, client};
use crate::backup::dump;
use crate::pg::failure::Failure;
use crate::pg::server;
use crate::pg::server::dialog::Dialog;
use crate::status::DrillPhase;

/// How long it is waited for, and how often it is tried: a session that waits for the lock itself would hold a snapshot.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
const RETRY: Duration = Duration::from_secs(1);

/// Answered by `t` if it is ours.
const TRY: &str = "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended('pg_incrbackup drill', 7810187));";

/// The right to work on a server. Dropping this gives it up.
pub struct Turn(Dialog);

impl Turn {
    /// Waits for it. 55P03 if others do not give it up.
    pub fn take(target: &Target, database: pg_sys::Oid) -> Result<Turn, Failure> {
        let program = dump::program("psql");
        let options = [
            "-X",
            "-q",
            "-A",
            "-t",
            "-w",
            "-v",
            "ON_ERROR_STOP=1",
            "-f",
            "-",
            "-d",
        ];
        let arguments: Vec<OsString> = options
            .map(OsString::from)
            .into_iter()
            .chain([target.maintenance.clone().into()])
            .collect();
        let environment = client::environment(target.version);
        let session = Dialog::start(&program, &arguments, &environment);
        let mut session = session.map_err(|error| dump::cannot_run(&program, error))?;
        let begun = Instant::now();
        let ensure_patience = || {
            if begun.elapsed() > LONGEST_WAIT {
                return Err(too_long());
            }
            Ok(())
        };
        loop {
            let answer = session.ask(TRY, ensure_patience)?;
            match answer.as_deref() {
                Some("t") => return Ok(Turn(session)),
                Some("f") => {}
                _ => return Err(lost(&mut session)),
            }
            ensure_patience()?;
            board::enter(database, DrillPhase::WaitingForOthers);
            server::wait_a_moment(RETRY);
        }
    }
}

impl Turn {
    /// Whether its session is still there: a server that is restarted, or who ends sessions, takes it away.
    pub fn is_held(&mut self) -> Result<bool, Failure> {
        let answer = self.0.ask("SELECT 1;", || Ok(()))?;
        Ok(answer.as_deref() == Some("1"))
    }
}

fn lost(session: &mut Dialog) -> Failure {
    let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    Failure::new(code, "cannot use the target server of the drill").detail(session.messages())
}

fn too_long() -> Failure {
    let code = PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE;
    let message = "other drills to the same server did not end";
    Failure::new(code, message)
        .detail(format!("It was waited for {} s.", LONGEST_WAIT.as_secs()))
        .hint("Schedule drills to one server at different times.")
}
