//! Settings for closed files: compression, and copies on other machines.

use std::hash::{DefaultHasher, Hash, Hasher};

use archive::compression::Compression;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};

use super::{bytes, text, Confirm, Text};
use crate::pg;

static COMPRESSION: Text = Text::new(Some(c"zstd"));
static ARCHIVE_COMMAND: Text = Text::new(Some(c""));
static CONFIRM: GucSetting<Confirm> = GucSetting::<Confirm>::new(Confirm::Fsync);

pub(super) fn define() {
    pg::server::guc::define_compression(
        c"pg_incrbackup.compression",
        c"Sets the compression of closed segments.",
        c"none, gzip or zstd, optionally with a level, as in zstd:3. Segments that are already compressed are \
        not changed.",
        &COMPRESSION,
    );
    pg::server::guc::define_command(
        c"pg_incrbackup.archive_command",
        c"Sets the shell command that copies a closed file to another machine.",
        c"%p is its path, %f its name below pg_incrbackup.directory. It is retried until it exits with status \
        0; until then retention removes nothing. Empty: nothing is copied.",
        &ARCHIVE_COMMAND,
    );
    GucRegistry::define_enum_guc(
        c"pg_incrbackup.confirm",
        c"Selects what must have a transaction before the slot is confirmed up to it.",
        c"fsync: the files; archived: the place to which archive_command copies closed files. Then another server can go on \
        from there without a gap, and the slot retains the WAL of what is not there yet.",
        &CONFIRM,
        GucContext::Sighup,
        GucFlags::default(),
    );
}

/// The settings that an archiver uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Offsite {
    pub compression: Compression,
    pub command: Option<Vec<u8>>,
}

impl Offsite {
    pub fn is_on(&self) -> bool {
        self.compression != Compression::None || self.command.is_some()
    }

    /// Distinguishes these settings from others.
    pub fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

pub fn offsite() -> Offsite {
    Offsite {
        compression: compression(),
        command: archive_command(),
    }
}

fn compression() -> Compression {
    // The check hook rejects everything else.
    text(&COMPRESSION).parse().unwrap_or_default()
}

/// What must have a transaction before the slot is confirmed up to it.
pub fn confirm() -> Confirm {
    CONFIRM.get()
}

/// The command as bytes of no known encoding; `None`: nothing is copied.
pub fn archive_command() -> Option<Vec<u8>> {
    let command = bytes(&ARCHIVE_COMMAND);
    (!command.trim_ascii().is_empty()).then_some(command)
}
