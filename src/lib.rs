//! pg_incrbackup.
use pgrx::prelude::*;

::pgrx::pg_module_magic!(name, version);
