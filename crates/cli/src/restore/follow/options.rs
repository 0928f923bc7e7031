//! The command line of `follow`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};

use crate::args::{OnError, Restore, Until};
use crate::restore::part;
use crate::restore::rights;

/// What is followed, into what, and how far behind
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("followed").args(["archive", "from"])))]
pub struct Follow {
    /// The directory of a database (it contains restore.sh), or of all databases of a server
    #[arg(
        long,
        value_name = "DIR",
        help_heading = "The archive",
        required_unless_present_any = ["from", "now"]
    )]
    pub archive: Option<PathBuf>,

    /// A running server that reads its archive for us (incr_read), as a libpq connection string or URI
    #[arg(long, value_name = "CONNINFO", help_heading = "The archive")]
    pub from: Option<String>,

    /// The database, where DIR is the directory of several
    #[arg(
        long,
        value_name = "NAME",
        requires = "archive",
        help_heading = "The archive"
    )]
    pub database: Option<String>,

    /// The database that follows, as a libpq connection string or URI: one to create, an empty one, or one that this command
    /// has begun
    ///
    /// For example "host=/tmp dbname=shop_copy". While the base is loaded one that is created is called NAME.restoring; from then
    /// on it has its name, and may be read.
    #[arg(long, value_name = "CONNINFO", help_heading = "The copy")]
    pub target: String,

    /// Stay so far behind: a transaction is applied when it is that old, by this machine's clock
    ///
    /// A number with ms, s, min, h or d. Commit order is kept: one that committed later by a clock that was behind waits for
    /// the one before it.
    #[arg(long, value_name = "D", default_value = "0s", value_parser = span, help_heading = "The copy")]
    pub delay: Duration,

    /// How often to look for what is new
    #[arg(long, value_name = "S", default_value = "1s", value_parser = interval, help_heading = "The copy")]
    pub interval: Duration,

    /// Fill all materialized views again so often, when everything is applied
    ///
    /// The archive does not say when the source did. Without it they have the rows of when the copy, or they, were begun, and are
    /// filled when the copy is promoted.
    #[arg(long, value_name = "D", value_parser = interval, help_heading = "The copy")]
    pub refresh_views: Option<Duration>,

    /// Apply what there is (and is old enough), and end
    #[arg(long, conflicts_with = "promote", help_heading = "The copy")]
    pub once: bool,

    /// Also make roles with passwords, memberships and settings, and tablespaces, each change at its place
    ///
    /// A role that is there before is left as it is.
    #[arg(long, help_heading = "The copy")]
    pub globals: bool,

    /// Write metrics for Prometheus into this file, for node_exporter's textfile collector
    #[arg(long, value_name = "FILE", help_heading = "The copy")]
    pub metrics: Option<PathBuf>,

    /// End it: apply all that the archive has, whatever the delay, and make the copy a database of its own
    ///
    /// Triggers are as at the source again, what could not be made is tried once more, rows are counted, and new transactions may
    /// write. The program that follows must have been stopped. The exit status is that of a restore.
    #[arg(long, help_heading = "The end")]
    pub promote: bool,

    /// With --promote: apply nothing more; works without the archive
    #[arg(long, requires = "promote", help_heading = "The end")]
    pub now: bool,

    /// With --promote: do not count rows
    ///
    /// It takes one scan of each table.
    #[arg(long, requires = "promote", help_heading = "The end")]
    pub no_count: bool,

    /// Damage of the archive ends it when it has been there for so long; until then it may be a file that is being written
    #[arg(long, hide = true, value_name = "D", default_value = "30s", value_parser = span)]
    pub patience: Duration,

    /// Load rows without the CHECK constraint of this name, of any table; may be given more than once
    #[arg(long, help_heading = "The copy", value_name = "NAME")]
    pub skip_check: Vec<String>,

    #[command(flatten, next_help_heading = "Owners, and what is left out")]
    pub rights: rights::Options,
}

impl Follow {
    /// The restore that it begins with.
    pub fn as_restore(&self) -> Restore {
        Restore {
            archive: crate::args::Archive {
                archive: self.archive.clone(),
                from: self.from.clone(),
                database: self.database.clone(),
            },
            until: Until::default(),
            target: Some(self.target.clone()),
            allow_earlier: false,
            chain: None,
            base: None,
            globals: self.globals,
            skip_check: self.skip_check.clone(),
            rights: self.rights.clone(),
            on_error: OnError::Defer,
            compare: None,
            no_count: false,
            jobs: 1,
            squash: false,
            dry_run: false,
            part: part::Options::default(),
        }
    }
}

/// A number and a unit, as PostgreSQL writes intervals of time in its settings; seconds without.
fn span(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let end = text.find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let odd = || "it is a number with ms, s, min, h or d: 30s, 15min, 1h".to_owned();
    let number: f64 = number.trim().parse().map_err(|_| odd())?;
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err(odd()),
    };
    // A delay of more than a century is a mistake, and could not be added to a time.
    let span = Some(number * seconds).filter(|span| (0.0..=3.2e9).contains(span));
    span.map(Duration::from_secs_f64).ok_or_else(odd)
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = span(text)?;
    let least = Duration::from_millis(10);
    Some(interval)
        .filter(|interval| *interval >= least)
        .ok_or_else(|| "it is 10ms at least".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_unit() {
        for (text, seconds) in [
            ("0s", 0.0),
            ("90", 90.0),
            ("1.5h", 5400.0),
            ("15 min", 900.0),
            ("250ms", 0.25),
            ("2d", 172_800.0),
        ] {
            assert_eq!(
                span(text).unwrap(),
                Duration::from_secs_f64(seconds),
                "{text}"
            );
        }
        for text in ["", "h", "1 week", "-1s", "1e300", "nan", "inf"] {
            assert!(span(text).is_err(), "{text}");
        }
        assert!(interval("1ms").is_err());
    }
}
