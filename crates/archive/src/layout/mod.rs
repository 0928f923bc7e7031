//! The layout of the archive: root, database directories, chains, and their file names.
//!
//! Names are formatted and parsed in [`names`]. The contents of files are handled by `segment`, `manifest`
//! and `base`.

pub mod chain;
pub mod database;
mod lookup;
pub mod names;
pub mod root;

pub use chain::{ChainDir, ChainEnd, ChainInfo, NewChain};
pub use database::DatabaseDir;
pub use lookup::Directories;
pub use names::{BaseName, GlobalsName, SegmentName, Stored};
pub use root::{ArchiveRoot, Standing};
