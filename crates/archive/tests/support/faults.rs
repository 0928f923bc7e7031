//! Failpoints, which the tests of one program take in turn: one strikes whoever passes it.

use std::fs;
use std::sync::{Mutex, MutexGuard};

pub struct Faults {
    dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Faults {
    pub fn new() -> Faults {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let dir = super::temporary();
        std::env::set_var("PG_INCRBACKUP_FAILPOINTS", dir.path().join("failpoints"));
        Faults { dir, _turn: turn }
    }

    pub fn set(&self, lines: &str) {
        fs::write(self.dir.path().join("failpoints"), lines).unwrap();
    }

    pub fn clear(&self) {
        fs::remove_file(self.dir.path().join("failpoints")).unwrap();
    }
}
