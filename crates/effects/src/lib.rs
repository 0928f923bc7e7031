//! Differences between two states of the catalogs as SQL.
//!
//! A schema change is replayed as its effect, not as the text of the statement: for each object that a
//! statement touched, the states before and after are read from the catalogs and compared, and the difference
//! is written as canonical statements with qualified names. This crate does not need a server: a class reads
//! by a query whose result is JSON, or from catalog rows ([`class::ReadBy`]); the result are [`Effect`]s.
//!
//! There is one file per object class in [`class`], all with the same structure: what it reads (`QUERY` or
//! `read`, and a struct), and what it writes for a new object (`create`), for a change (`alter`) and for a
//! drop (`remove`). What all classes share (owner, privileges, comment, labels, dependencies) is in
//! [`common`]; [`plan`] orders the objects of one statement.
//!
//! **Nothing is ignored.** What a class does not understand is in its model as `rest`; a difference there is
//! [`Unhandled`].

pub mod acl;
pub mod class;
pub mod common;
pub mod compare;
pub mod key;
pub mod left_out;
pub mod names;
pub mod object;
pub mod options;
pub mod plain;
pub mod plan;
pub mod renames;
pub mod script;
pub mod states;
pub mod text;
pub mod tuples;

pub use class::{Class, Model};
pub use compare::{compare, Context, OVER_OURS, TEMPORARY};
pub use key::Key;
pub use object::Object;
pub use script::{Along, Effect, Script, Unhandled};
pub use states::{read, Source, States};
pub use tuples::Tuples;
