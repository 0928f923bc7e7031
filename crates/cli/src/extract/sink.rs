//! Where the rows go: standard output, or a file that is complete or not there.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use archive::durable;

use crate::error::{Error, Result};

const ROOM: usize = 256 * 1024;

/// It is written from its beginning to its end.
pub struct Sink {
    to: BufWriter<To>,
    /// The file's name now, and its name in the end.
    names: Option<(PathBuf, PathBuf)>,
}

enum To {
    Output(io::Stdout),
    File(File),
}

impl Write for To {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            To::Output(output) => output.write(bytes),
            To::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            To::Output(output) => output.flush(),
            To::File(file) => file.flush(),
        }
    }
}

/// The path with its directory as it really is: whoever runs the program has chosen it, and may have by a symbolic link.
fn resolved(path: &Path) -> Result<PathBuf> {
    let named = path.file_name().zip(path.parent());
    let (name, parent) = named.ok_or_else(|| {
        let message = format!("\"{}\" is no name of a file", path.display());
        Error::wrong_use(message, "--output makes a new file.")
    })?;
    let here = Path::new(".");
    let parent = if parent.as_os_str().is_empty() {
        here
    } else {
        parent
    };
    let directory = parent.canonicalize().map_err(|error| {
        let message = format!("could not open directory \"{}\": {error}", parent.display());
        Error::wrong_use(
            message,
            "--output makes a new file in a directory that is there.",
        )
    })?;
    Ok(directory.join(name))
}

impl Sink {
    /// Standard output, or a new file of mode 0600. An existing one is refused.
    pub fn open(file: Option<&Path>) -> Result<Sink> {
        let Some(path) = file else {
            return Ok(Sink::of(To::Output(io::stdout()), None));
        };
        let path = &resolved(path)?;
        if path.symlink_metadata().is_ok() {
            let message = format!("\"{}\" exists", path.display());
            return Err(Error::wrong_use(message, "--output makes a new file."));
        }
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".tmp");
        let unfinished = PathBuf::from(unfinished);
        if unfinished.symlink_metadata().is_ok() {
            let message = format!("\"{}\" exists", unfinished.display());
            let hint = "Another one writes it, or one that was ended has left it: then remove it.";
            return Err(Error::failed(message, hint));
        }
        let file = durable::create_new(&unfinished)?;
        Ok(Sink::of(
            To::File(file),
            Some((unfinished, path.to_owned())),
        ))
    }

    /// A temporary file without a name.
    pub fn waiting() -> Result<Sink> {
        let file = tempfile::tempfile().map_err(|error| {
            let message = format!("could not make a temporary file: {error}");
            Error::failed(message, "Set TMPDIR to a directory with room for the rows.")
        })?;
        Ok(Sink::of(To::File(file), None))
    }

    fn of(to: To, names: Option<(PathBuf, PathBuf)>) -> Sink {
        let to = BufWriter::with_capacity(ROOM, to);
        Sink { to, names }
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.to.write_all(bytes).map_err(|error| self.failed(error))
    }

    /// All of it to another one.
    pub fn copy_to(mut self, other: &mut Sink) -> Result<()> {
        self.to.flush().map_err(|error| self.failed(error))?;
        let To::File(file) = self.to.get_mut() else {
            return Ok(());
        };
        let unreadable = |error: io::Error| {
            Error::failed(format!("could not read a temporary file: {error}"), "")
        };
        file.rewind().map_err(unreadable)?;
        let mut buffer = vec![0; ROOM];
        loop {
            match file.read(&mut buffer).map_err(unreadable)? {
                0 => return Ok(()),
                count => other.write(&buffer[..count])?,
            }
        }
    }

    /// All of it is written: a file is durable, and gets its name.
    pub fn finish(mut self) -> Result<()> {
        self.to.flush().map_err(|error| self.failed(error))?;
        if let (To::File(file), Some((unfinished, path))) = (self.to.get_ref(), &self.names) {
            durable::publish(file, unfinished, path)?;
            self.names = None;
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> Error {
        match (&self.names, error.kind()) {
            // Whoever reads has enough.
            (None, io::ErrorKind::BrokenPipe) => Error::Closed,
            (Some((unfinished, _)), _) => Error::failed(
                format!("could not write \"{}\": {error}", unfinished.display()),
                "",
            ),
            (None, _) => Error::failed(format!("could not write the rows: {error}"), ""),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some((unfinished, _)) = &self.names {
            // An error is told already.
            let _ = std::fs::remove_file(unfinished);
        }
    }
}
