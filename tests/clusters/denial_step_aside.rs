//! step aside
