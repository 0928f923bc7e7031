//! How far a base backup or a drill is, for incr_status(): bytes, rate, time left.
//!
//! Bytes are those of the tables' files (of a restore: of the archive's), so they mean the same in every format of a base
//! and say nothing about the size of what is written, which is in the column `bytes`.

use pgrx::prelude::*;

use crate::backup::sizes::size_of;
use crate::pg::failure::Failure;
use crate::pg::server::query;
use crate::status::{BasePhase, BaseStatus, DrillStatus};

/// Of the current phase. `None`: unknown, or there is nothing to read in it.
#[derive(Default)]
pub struct Progress {
    pub bytes_processed: Option<u64>,
    pub bytes_total: Option<u64>,
    pub bytes_per_second: Option<u64>,
    /// Microseconds.
    pub time_left: Option<i64>,
}

impl Progress {
    /// Of the base backup. Needs a transaction.
    pub fn of_base(base: &BaseStatus) -> Progress {
        let unread = match base.phase {
            BasePhase::Dumping => base.current_bytes + unread_by_copy().unwrap_or(0),
            BasePhase::Converting => base.current_bytes,
            _ => return Progress::default(),
        };
        let read = base.begun_bytes.saturating_sub(unread);
        Progress::at(read, base.total_bytes, base.reading_since)
    }

    /// Of the drill.
    pub fn of_drill(drill: &DrillStatus) -> Progress {
        match drill.total_bytes {
            0 => Progress::default(),
            total => Progress::at(drill.done_bytes, total, drill.reading_since),
        }
    }

    fn at(read: u64, total: u64, since: i64) -> Progress {
        let elapsed = archive::time::now().timestamp_micros() - since;
        // Tables may have grown since their sizes were taken.
        let total = total.max(read);
        let seconds = elapsed as f64 / 1_000_000.0;
        // Before the first second a rate is a guess.
        let rate = (seconds >= 1.0).then(|| (read as f64 / seconds) as u64);
        let left = rate.filter(|rate| *rate > 0).map(|rate| {
            let seconds = (total - read) as f64 / rate as f64;
            (seconds * 1_000_000.0) as i64
        });
        Progress {
            bytes_processed: Some(read),
            bytes_total: Some(total),
            bytes_per_second: rate,
            time_left: left,
        }
    }
}

/// What pg_dump's sessions have still to read of the tables whose turn has come. By rows, if the statistics know their
/// number; else by the text that COPY has written.
fn unread_by_copy() -> Result<u64, Failure> {
    const COPIES: &str = "SELECT p.tuples_processed::pg_catalog.float8, c.reltuples::pg_catalog.float8, \
          p.bytes_processed::pg_catalog.float8, \
          pg_catalog.pg_relation_filepath(c.oid), pg_catalog.pg_relation_filepath(c.reltoastrelid) \
        FROM pg_catalog.pg_stat_progress_copy p \
          JOIN pg_catalog.pg_stat_activity a ON a.pid = p.pid AND a.application_name = 'pg_incrbackup base' \
          JOIN pg_catalog.pg_class c ON c.oid = p.relid \
        WHERE p.command = 'COPY TO' AND p.datname = pg_catalog.current_database()";
    query::see_current_activity()?;
    let unread = Spi::connect(|client| {
        let (mut rows, mut unread) = (client.select(COPIES, None, &[])?, 0.0);
        while rows.next().is_some() {
            let paths = [rows.get::<String>(4)?, rows.get::<String>(5)?];
            let size: u64 = paths.into_iter().flatten().map(|path| size_of(&path)).sum();
            let figure = |column| rows.get::<f64>(column).map(Option::unwrap_or_default);
            let (read, all, text) = (figure(1)?, figure(2)?, figure(3)?);
            unread += unread_of(size as f64, (read, all), text);
        }
        Ok::<_, pgrx::spi::Error>(unread)
    })?;
    Ok(unread as u64)
}

/// Of a table of so many bytes, of which so many of all rows were read, and so many bytes of text written. `all` is 0 or
/// less where the statistics do not know it.
fn unread_of(size: f64, (read, all): (f64, f64), text: f64) -> f64 {
    let share = match (all > 0.0, size > 0.0) {
        (true, _) => read / all,
        (false, true) => text / size,
        // Nothing by nothing is no number, and neither is a sum in which it is.
        (false, false) => 1.0,
    };
    size * (1.0 - share.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_what_was_read_so_far() {
        let ago = |seconds: i64| archive::time::now().timestamp_micros() - seconds * 1_000_000;
        let progress = Progress::at(300, 1200, ago(10));
        assert_eq!(progress.bytes_total, Some(1200));
        assert!(progress
            .bytes_per_second
            .is_some_and(|rate| (29..=30).contains(&rate)));
        assert!(progress
            .time_left
            .is_some_and(|left| (30..32).contains(&(left / 1_000_000))));
        // Nothing yet, and more than there was.
        let progress = Progress::at(0, 1200, ago(0));
        assert_eq!(
            (progress.bytes_per_second, progress.time_left),
            (None, None)
        );
        let progress = Progress::at(1300, 1200, ago(2));
        assert_eq!(
            (progress.bytes_total, progress.time_left),
            (Some(1300), Some(0))
        );
        assert_eq!(Progress::at(0, 0, ago(5)).time_left, None);
    }

    #[test]
    fn an_empty_table_has_nothing_unread() {
        // Of a partitioned database many are, and one of them must not make a sum that is no number.
        assert_eq!(unread_of(0.0, (0.0, -1.0), 0.0), 0.0);
        assert_eq!(unread_of(0.0, (0.0, 0.0), 0.0), 0.0);
        assert_eq!(unread_of(800.0, (25.0, 100.0), 0.0), 600.0);
        assert_eq!(unread_of(800.0, (0.0, -1.0), 200.0), 600.0);
        assert_eq!(unread_of(800.0, (0.0, -1.0), 900.0), 0.0);
    }
}
