//! Where things stand in the archive: root, database directories, chains, and their file names.
//!
//! Names are built and parsed in [`names`]. What stands inside the files is left to `segment`,
//! `manifest` and `base`.

pub mod chain;
pub mod database;
mod lookup;
pub mod names;
pub mod root;

pub use chain::{ChainDir, ChainEnd, ChainInfo, NewChain};
pub use database::DatabaseDir;
pub use lookup::Directories;
pub use names::{BaseName, GlobalsName, SegmentName, Stored};
pub use root::ArchiveRoot;
