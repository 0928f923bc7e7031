//! What a difference between two states of the catalogs is as SQL.
//!
//! A schema change is replayed as what it did, not as what was typed: for each object that a statement
//! touched, the state before and the state after are read from the catalogs, compared, and the difference
//! becomes canonical, fully qualified statements. This crate knows no server: what a class reads is a query
//! text, whose answer is JSON, or rows of catalogs ([`class::ReadBy`]); what it gives are [`Effect`]s.
//!
//! One file per object class in [`class`], each of the same shape: what it reads (`QUERY` or `read`, and a struct),
//! what it writes for a new object (`create`), for a change (`alter`) and for its end (`remove`). What all
//! classes share (owner, privileges, comment, labels, dependencies) is in [`common`]; the order among the
//! objects of one statement is [`plan`]'s.
//!
//! **Nothing is swallowed.** What a class does not understand stands in its model as `rest`; a difference
//! there is [`Unhandled`], never nothing.

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
