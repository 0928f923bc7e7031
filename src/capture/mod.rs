//! capture
pub fn init() {}
