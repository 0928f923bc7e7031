//! Opens a segment for reading, whatever way it is stored.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::durable;
use crate::error::{Error, Result};
use crate::layout::Stored;

/// The uncompressed bytes of a segment.
pub enum Source {
    File(File),
    /// What `gzip -dc` or `zstd -dc` puts out; at its end the status of the program counts.
    Pipe {
        child: Child,
        output: ChildStdout,
    },
}

/// Opens a segment.
pub fn open(path: &Path, stored: Stored) -> Result<Source> {
    let program = match stored {
        Stored::Partial | Stored::Plain => return Ok(Source::File(durable::open_to_read(path)?)),
        Stored::Gzip => "gzip",
        Stored::Zstd => "zstd",
    };
    let mut child = Command::new(program)
        .arg("-dc")
        .stdin(durable::open_to_read(path)?)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Error::io("decompress", path))?;
    let output = child.stdout.take().expect("the output is piped");
    Ok(Source::Pipe { child, output })
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (child, output) = match self {
            Source::File(file) => return file.read(buffer),
            Source::Pipe { child, output } => (child, output),
        };
        let count = output.read(buffer)?;
        if count == 0 && !buffer.is_empty() && !child.wait()?.success() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "could not be decompressed",
            ));
        }
        Ok(count)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Source::Pipe { child, .. } = self {
            // Reading may have stopped early; the program must not outlive us as a zombie.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
