//! An earlier minor release of a server under test, for the test of a minor update.

use crate::cluster::Builder;
use crate::installation::run;
use crate::{Cluster, Installation};
use std::fs;
use std::path::PathBuf;

impl Installation {
    /// PostgreSQL 18.4, with the extension as built for the 18 under test.
    pub fn of_18_4() -> Self {
        let earlier = Self::in_tree(18, "18.4");
        let later = Self::of(18);
        for (directory, kind) in [("--pkglibdir", ""), ("--sharedir", "extension")] {
            let of = |installation: &Self| {
                let output = run(installation.command("pg_config").arg(directory));
                PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()).join(kind)
            };
            let (from, to) = (of(&later), of(&earlier));
            let files = fs::read_dir(&from).expect("the extension is installed");
            for file in files.map(|file| file.expect("a directory can be read").file_name()) {
                if file.to_string_lossy().starts_with("pg_incrbackup") {
                    fs::copy(from.join(&file), to.join(&file)).expect("a file can be copied");
                }
            }
        }
        earlier
    }
}

impl Builder {
    /// Another PostgreSQL than the one under test.
    pub fn installed(mut self, installation: Installation) -> Self {
        self.installation = installation;
        self
    }
}

impl Cluster {
    /// The same data directory with other programs. To be called while the server is stopped.
    pub fn run_by(&mut self, installation: Installation) {
        self.installation = installation;
    }
}
