//! The state of compression and archive_command.

use archive::{counted, time, Lsn};

use super::{pretty_bytes, Level, Row};
use crate::settings::{self, Confirm};
use crate::status::{self, OffsiteStatus};

/// Files that archive_command has not archived yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    pub files: u64,
    pub bytes: u64,
    /// Time since the oldest of them was closed; 0 if there is none.
    pub age_micros: i64,
}

pub fn judge(row: &mut Row, offsite: &OffsiteStatus) {
    if !offsite.compression_error.is_empty() && settings::offsite().is_on() {
        let error = offsite.compression_error.get();
        let reason = format!("a closed segment could not be compressed: {error}");
        row.because(Level::Warning, reason);
    }
    let waits = settings::confirm() == Confirm::Archived;
    if settings::archive_command().is_none() {
        if waits {
            row.because(
                Level::Critical,
                "pg_incrbackup.confirm = archived, and archive_command is empty: the slot is not confirmed, and retains all WAL",
            );
        }
        return;
    }
    let age_micros = match offsite.oldest_at {
        0 => 0,
        oldest => (time::now().timestamp_micros() - oldest).max(0),
    };
    let lag = Lag {
        files: offsite.files,
        bytes: offsite.bytes,
        age_micros,
    };
    row.archive_lag = Some(lag);
    let behind = match behind(row, offsite) {
        Some(behind) if waits => format!("; {behind}, and the slot retains the WAL of that"),
        Some(behind) => format!("; {behind}"),
        None => String::new(),
    };
    let waiting = format!(
        "{} with {} waiting for archive_command, the oldest for {} s{behind}",
        counted(lag.files, "file"),
        pretty_bytes(lag.bytes),
        age_micros / 1_000_000
    );
    let is_late = lag.files > 0 && age_micros >= settings::age_emergency().as_micros() as i64;
    let level = if is_late {
        Level::Critical
    } else {
        Level::Warning
    };
    match offsite.error.get() {
        error if !error.is_empty() => row.because(level, format!("{error}; {waiting}")),
        _ if is_late => row.because(
            level,
            format!("{waiting}, longer than pg_incrbackup.age_emergency"),
        ),
        _ => {}
    }
}

/// How far the copies are behind the files, in words; `None` if nobody has looked yet.
fn behind(row: &Row, offsite: &OffsiteStatus) -> Option<String> {
    let end = status::read(row.database_oid)?.durable_lsn;
    (offsite.reach != 0 && end > offsite.reach).then(|| {
        format!(
            "the copies end at {}, {} of WAL before the files",
            Lsn(offsite.reach),
            pretty_bytes(end - offsite.reach)
        )
    })
}
