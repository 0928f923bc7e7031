//! The history of a row, from the segments.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`scanner`] | where words begin and end |
//! | [`literal`], [`statement`] | values and row changes, read back from a line |
//! | [`ddl`] | which tables DDL names, and what it renames |
//! | [`lines`] | a segment line by line |
//! | [`filter`], [`index`], [`build`], [`outline`] | what a segment holds, in small |
//! | [`names`] | which names a table had where |
//! | [`files`], [`search`], `pass`, [`found`] | the segments of an archive, the search through them, its rows |

pub mod build;
pub mod ddl;
pub mod files;
pub mod filter;
pub mod found;
pub mod index;
pub mod lines;
pub mod literal;
pub mod names;
pub mod outline;
mod pass;
pub mod scanner;
pub mod search;
pub mod statement;

pub use ddl::TableName;
pub use found::{Found, Row};
pub use lines::Typed;
pub use literal::Value;
pub use names::Table;
pub use search::{search, Question};
