//! Questions to the archive, answered from its files alone: no PostgreSQL in here.
//!
//! What writes and guards these files is the crate `archive`; here they are only read, but for the
//! indexes beside them ([`history::index`]), on which nothing but speed depends.
//!
//! | room | what it answers |
//! | --- | --- |
//! | [`catalog`] | what is there, and which moments can be restored |
//! | [`history`] | what happened to a row |
//! | [`past`] | the rows of tables as they were at a moment |
//! | [`report`] | a page about a database's archive |

pub mod catalog;
pub mod history;
pub mod past;
pub mod report;
