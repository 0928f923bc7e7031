//! "My schema change came back as something else." Each class of objects, made, altered and dropped on one
//! database; the differences between the states of its catalogs, as effects, on another; both compared.
//!
//! No decoding is in play here: states are read by psql, and the order of commands is not known, so that the
//! order which the dependencies give has to do. See `crates/effects`.

mod follow;
mod foreign_data;
mod languages;
mod operators;
mod privileges;
mod reader;
mod simple;
mod text_search;
