//! What the sessions of a round ran, in the order in which they sent it: the way from a difference
//! back to the statements that made it.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

pub struct Journal(Mutex<File>);

impl Journal {
    pub fn create(path: &Path) -> Self {
        Self(Mutex::new(
            File::create(path).expect("the journal can be made"),
        ))
    }

    pub fn statement(&self, session: u64, transaction: u64, kind: &str, sql: &str) {
        self.write(&format!("-- s{session} t{transaction} {kind}\n{sql};\n"));
    }

    /// Only what is not the usual.
    pub fn outcome(&self, session: u64, output: &str, succeeded: bool) {
        if !succeeded || output.contains("WARNING:") {
            let output = output.replace('\n', "\n--    ");
            self.write(&format!("-- s{session} said: {output}\n"));
        }
    }

    fn write(&self, text: &str) {
        let mut file = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        file.write_all(text.as_bytes())
            .expect("the journal can be written");
    }
}
