pub mod globals_sql;
pub mod statements;
