//! A storage that tells how much of it has been read.

use std::io::{self, Read};
use std::sync::Arc;

use archive::pause::Pause;
use archive::storage::{Item, Storage};

use crate::progress::Progress;

/// Everything that is read through it is counted.
pub struct Counted {
    pub inner: Arc<dyn Storage>,
    pub progress: Arc<Progress>,
}

/// The bytes of a file.
struct Reader {
    inner: Box<dyn Read + Send>,
    progress: Arc<Progress>,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.progress.add(count as u64);
        Ok(count)
    }
}

impl Storage for Counted {
    fn list(&self, directory: &str) -> archive::Result<Vec<Item>> {
        self.inner.list(directory)
    }

    fn open(&self, file: &str, offset: u64) -> archive::Result<Option<Box<dyn Read + Send>>> {
        let Some(inner) = self.inner.open(file, offset)? else {
            return Ok(None);
        };
        self.progress.file(file);
        let progress = Arc::clone(&self.progress);
        Ok(Some(Box::new(Reader { inner, progress })))
    }

    fn size(&self, file: &str) -> archive::Result<Option<u64>> {
        self.inner.size(file)
    }

    fn read_at_rest(&self, file: &str, pause: Pause) -> archive::Result<Option<Vec<u8>>> {
        let bytes = self.inner.read_at_rest(file, pause)?;
        self.progress
            .add(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64));
        Ok(bytes)
    }

    fn place(&self, file: &str) -> String {
        self.inner.place(file)
    }
}

/// The number and the size in bytes of all files of the chains.
pub fn extent(storage: &dyn Storage) -> archive::Result<(usize, u64)> {
    let (mut files, mut bytes) = (0, 0);
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        for item in storage.list(&directory)? {
            let path = match directory.as_str() {
                "" => item.name,
                directory => format!("{directory}/{}", item.name),
            };
            if item.is_directory {
                directories.push(path);
            } else if !directory.is_empty() {
                files += 1;
                bytes += item.size;
            }
        }
    }
    Ok((files, bytes))
}
