//! The files of an archive, without a server. What sets failpoints has programs of its own: they strike whoever passes.

#![allow(clippy::unwrap_used)]

mod archiving;
mod damage;
mod drills;
mod flags;
mod layout;
mod owner;
mod parser;
mod readers;
mod reading;
mod resume;
mod segments;
#[path = "../support/mod.rs"]
mod support;
mod verify;
