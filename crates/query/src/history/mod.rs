//! The history of a row, from the segments.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`scanner`] | where words begin and end |
//! | [`literal`], [`statement`] | values and row changes, read back from a line |
//! | [`ddl`] | which tables DDL names, and what it renames |
//! | [`lines`] | a segment line by line |
//! | [`filter`], [`index`], [`build`], [`outline`] | what a segment holds, in small |
//! | [`names`], [`partitions`] | which names a table had where, and which partitions |
//! | [`files`], [`search`], `pass`, `sessions`, [`found`] | the segments of an archive, the search through them, its rows |
//! | [`changes`], [`changed_row`] | all changes of a table, one after the other |

pub mod build;
pub mod changed_row;
pub mod changes;
pub mod ddl;
pub mod files;
pub mod filter;
pub mod found;
pub mod index;
pub mod lines;
pub mod literal;
pub mod names;
pub mod outline;
pub mod partitions;
mod pass;
pub mod scanner;
pub mod search;
mod sessions;
pub mod statement;

pub use changed_row::{Change, Wanted};
pub use changes::Changes;
pub use ddl::TableName;
pub use found::{Found, Row};
pub use lines::{Session, Typed};
pub use literal::Value;
pub use names::Table;
pub use search::{search, Question};
