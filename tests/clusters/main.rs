//! What users fear, one file per fear, on real clusters of the PostgreSQL that `PGVER` names.

mod attacks;
mod attacks_files;
mod attacks_names;
mod attacks_secrets;
mod bad_input;
mod big_transaction;
mod chain_breaks;
mod cluster_facts;
mod crash;
mod ddl;
mod disk;
mod docs;
mod enum_partitions;
mod fixed_at_ddl_time;
mod found;
mod functions;
mod globals;
mod guests;
mod harness_itself;
mod health;
mod history;
mod history_rows;
mod idle;
mod large_object_moments;
mod large_objects;
mod latin1;
mod leftover_objects;
mod long_rows;
mod names_at_commit;
mod permissions;
mod plugin;
mod poll;
mod reach;
mod replay;
mod replica_identity;
mod report;
mod restore;
mod restore_options;
mod retention;
mod rotation;
mod schedule;
mod sequences;
mod setup;
mod snapshot_join;
mod statements;
mod type_edges;
mod type_values;
mod types;

// Random transactions, in a folder of their own.
#[path = "../fuzz/mod.rs"]
mod fuzz;

// Everything at once, in a folder of its own.
#[path = "../load/mod.rs"]
mod load;

// Faults at random, in a folder of their own.
#[path = "../torture/mod.rs"]
mod torture;
