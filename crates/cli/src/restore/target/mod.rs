pub mod database;
pub mod encoding;
pub mod globals_sql;
pub mod needs;
pub mod server;
pub mod statements;
