//! stub until BACKUP's lands
pub fn exists(name: &str) -> bool {
    let name = std::ffi::CString::new(name).unwrap_or_default();
    unsafe { !pgrx::pg_sys::SearchNamedReplicationSlot(name.as_ptr(), true).is_null() }
}
pub fn plugin(_name: &str) -> Option<String> {
    Some("pg_incrbackup".into())
}
pub fn allow_output_plugin(_name: &str) {}
