//! What a transaction did to the catalogs, and what stands in them before and after: the C side of
//! schema changes as effects.
//!
//! - [`tuple_cids`]: which tuples of catalogs a transaction changed, and by which of its commands.
//! - [`events`]: which objects a transaction touched, and by which of its commands.
//! - [`lives`]: from when to when each of them is there; [`changed_rows`]: where its rows are.
//! - [`view`]: the catalogs before the transaction and at a command of it.
//! - [`query`] and [`tuples`]: the state of objects out of the catalogs, by queries or by their rows; a
//!   [`look`] leaves nothing behind.
//!
//! What an object's state is, how two are compared and worded, and when each is read is decided elsewhere.
//! All of it is called in callbacks of an output plugin.

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
