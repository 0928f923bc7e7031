//! Logical decoding: the reader, the C side of the output plugin, and access to rows, relations and large
//! objects during decoding.

pub mod callbacks;
pub mod column_type;
pub mod commit_time;
pub mod commit_view;
pub mod decoder;
pub mod direct;
pub mod invalidation;
pub mod large_object_changes;
pub mod large_object_state;
pub mod moved_sequences;
pub mod partition;
pub mod plugin;
pub mod privileges;
pub mod relation;
pub mod removed_rows;
pub mod row_guard;
pub mod slot;
pub mod snapshot;
mod spilled;
pub mod standbys;
pub mod timeline;
mod unique_key;
pub mod value;
pub mod who;
