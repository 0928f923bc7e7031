//! What users fear, one file per fear, on real clusters of the PostgreSQL that `PGVER` names.

mod attacks;
mod attacks_files;
mod attacks_names;
mod attacks_paths;
mod attacks_secrets;
mod attacks_text;
mod bad_input;
mod base_left_out;
mod base_names;
mod base_psql;
mod big_transaction;
mod cancelled;
mod cases;
mod cases_roles;
mod cases_siblings;
mod cases_temporary;
mod cases_twice;
mod cases_words;
mod catalog_rows;
mod chain_breaks;
mod cluster_facts;
mod crash;
mod ddl;
mod denial_step_aside;
mod denial_values;
mod disk;
mod docs;
mod docs_commands;
mod drill;
mod drill_damage;
mod drill_ends;
mod drill_forge;
mod drill_throwaway;
mod dropped;
mod effects;
mod effects_extreme;
mod enum_partitions;
mod exporter;
mod fence_holders;
mod fixed_at_ddl_time;
mod floors;
mod found;
mod functions;
mod globals;
mod guests;
mod harness_itself;
mod healing;
mod health;
mod history;
mod history_rows;
mod idle;
mod large_object_moments;
mod large_objects;
mod latin1;
mod left_out_ddl;
mod left_out_parts;
mod leftover_objects;
mod long_rows;
mod lost_stretch;
mod monitoring;
mod monitoring_alerts;
mod monitoring_checks;
mod names_at_commit;
mod nested_ddl;
mod offsite;
mod offsite_recipes;
mod old_archives;
mod owner;
mod page;
mod permissions;
mod plugin;
mod poll;
mod program_connections;
mod program_from;
mod program_info;
mod program_verify;
mod psql_words;
mod races_of_ddl;
mod reach;
mod reading;
mod replay;
mod replica_identity;
mod report;
mod reset;
mod restore;
mod restore_moments;
mod restore_options;
mod restore_sessions;
mod retention;
mod retention_meanwhile;
mod roles_over_time;
mod rotation;
mod schedule;
mod sequences;
mod setup;
mod several;
mod slots_of_others;
mod snapshot_join;
mod statements;
mod temporary_objects;
mod type_edges;
mod type_values;
mod types;
mod upgrade;

// Random transactions, in a folder of their own.
#[path = "../fuzz/mod.rs"]
mod fuzz;

// Everything at once, in a folder of its own.
#[path = "../load/mod.rs"]
mod load;

// Faults at random, in a folder of their own.
#[path = "../torture/mod.rs"]
mod torture;
