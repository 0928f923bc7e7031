//! `pg_incrbackup restore`: the way back.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`base`] | loads a base |
//! | [`quote`] | names and texts in SQL |

// The plan that calls them follows.
#![allow(dead_code)]

pub mod base;
pub mod quote;
pub mod target;
