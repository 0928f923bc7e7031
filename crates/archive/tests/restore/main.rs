//! `restore.sh` for real: archives made by this crate, restored into throwaway PostgreSQL clusters.
//!
//! The source is a database of the same cluster: what goes into a segment is run there too, so that
//! `pg_dump` of both can be compared. Needs PostgreSQL's programs (`PG_BIN`, or Debian's 15).
#![allow(clippy::unwrap_used)]

mod cluster;
mod damage;
mod effects;
mod files;
mod globals;
mod half_made;
mod moments;
mod points;
mod psql;
mod refusals;
mod replay;
mod retention;
mod sessions;
mod shortened;
mod source;
#[path = "../support/mod.rs"]
mod support;
mod triggers;
mod unnamed;
