//! ddl_log
pub fn init() {}
