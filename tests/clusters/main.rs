//! What users fear, one file per fear, on real clusters of the PostgreSQL that `PGVER` names.

mod harness_itself;
