//! The reasons for keeping or removing something, as text.

use std::fmt;

use crate::layout::BaseName;
use crate::pins::Pin;
use crate::time;

/// A reason, as `incr_expire()` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    Newest,
    BeginsWindow,
    InWindow,
    Young,
    Monthly,
    Pinned(Pin),
    Flawed(String),
    /// No base at all.
    NoBase,
    GlobalsInUse,
    OldBase,
    BeforeWindow(BaseName),
    GlobalsReplaced,
    NotArchived,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Newest => "it is the newest base",
            Why::BeginsWindow => {
                "the window begins with it: it is the newest base older than keep_incremental"
            }
            Why::InWindow => "it is in the window of keep_incremental",
            Why::Young => "it is younger than keep_base, and can only be restored by itself",
            Why::Monthly => {
                "it is the first of its month (keep_monthly), and can only be restored by itself"
            }
            Why::NoBase => "there is no complete base yet",
            Why::GlobalsInUse => "a restore may need it",
            Why::OldBase => "it is older than keep_base",
            Why::GlobalsReplaced => "newer ones serve every point that can be restored",
            Why::NotArchived => "archive_command has not archived it yet, or a file before it",
            Why::Pinned(pin) => return pinned(f, pin),
            Why::Flawed(flaw) => return write!(f, "it is damaged, and is not removed: {flaw}"),
            Why::BeforeWindow(base) => {
                return write!(
                    f,
                    "it is older than the window of keep_incremental, which begins with base {base}"
                )
            }
        })
    }
}

fn pinned(f: &mut fmt::Formatter<'_>, pin: &Pin) -> fmt::Result {
    match pin.until {
        Some(until) => write!(f, "it is pinned until {}", time::iso(until))?,
        None => write!(f, "it is pinned forever")?,
    }
    match pin.note.as_str() {
        "" => Ok(()),
        note => write!(f, ": {note}"),
    }
}
