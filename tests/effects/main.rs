//! "My schema change came back as something else." Each class of objects, made, altered and dropped on one
//! database; the differences between the states of its catalogs, as effects, on another; both compared.
//!
//! No decoding is in play here: states are read by psql, and the order of commands is not known, so that the
//! order which the dependencies give has to do. See `crates/effects`.

mod aggregate;
mod base_type;
mod cast;
mod composite;
mod constraint;
mod database;
mod default_privileges;
mod domain;
mod enum_type;
mod event_trigger;
mod follow;
mod foreign_data;
mod index;
mod languages;
mod materialized_view;
mod operators;
mod policy;
mod privileges;
mod publication;
mod range;
mod reader;
mod routine;
mod rule;
mod sequence;
mod simple;
mod statistics;
mod subscription;
mod table;
mod text_search;
mod trigger;
mod tuples;
mod view;
