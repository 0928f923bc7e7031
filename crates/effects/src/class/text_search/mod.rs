//! Text search: parsers, templates, dictionaries and configurations.

pub mod configuration;
pub mod dictionary;
pub mod parser;
