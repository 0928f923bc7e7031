//! The changes of a transaction in the catalogs, and the catalogs' contents before and after: the C side of
//! schema changes as effects.
//!
//! - [`tuple_cids`]: the tuples of catalogs that a transaction changed, and the commands that did it.
//! - [`events`]: the objects that a transaction touched, and the commands that did it.
//! - [`lives`]: when each of them exists; [`changed_rows`]: the TIDs of its rows.
//! - [`view`]: the catalogs before the transaction and at one of its commands.
//! - [`query`] and [`tuples`]: the state of objects out of the catalogs, by queries or by their rows; a
//!   [`look`] leaves nothing behind.
//!
//! The definition of an object's state, comparison and SQL output, and the time of each look-up are
//! determined elsewhere. All of this is called in callbacks of an output plugin.

mod catalog;
pub mod changed_rows;
pub mod events;
mod historic_rows;
pub mod lives;
mod lock_holders;
pub mod look;
mod owner;
pub mod query;
mod relations;
mod rewritten;
pub mod server_text;
pub mod tuple_cids;
pub mod tuples;
mod values;
pub mod view;
