//! Code that may have been written by somebody other than the caller: checks of domains, expressions of generated columns.

use pgrx::prelude::*;

/// The privileges of a table's owner, in a security-restricted operation, as in ANALYZE for functions of indexes, which also
/// takes back the settings that such code changes. An error restores the caller's with the abort of the transaction.
pub(in crate::pg) struct Untrusted {
    role: pg_sys::Oid,
    context: i32,
    settings: i32,
}

impl Untrusted {
    pub fn enter(owner: pg_sys::Oid) -> Self {
        let (mut role, mut context) = (pg_sys::InvalidOid, 0);
        // SAFETY: plain calls inside a transaction.
        let settings = unsafe {
            pg_sys::GetUserIdAndSecContext(&mut role, &mut context);
            let restricted = context | pg_sys::SECURITY_RESTRICTED_OPERATION as i32;
            pg_sys::SetUserIdAndSecContext(owner, restricted);
            pg_sys::NewGUCNestLevel()
        };
        Self {
            role,
            context,
            settings,
        }
    }

    pub fn leave(self) {
        // SAFETY: gives back what `enter` found.
        unsafe {
            pg_sys::AtEOXact_GUC(false, self.settings);
            pg_sys::SetUserIdAndSecContext(self.role, self.context);
        }
    }
}
