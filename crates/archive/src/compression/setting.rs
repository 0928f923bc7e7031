//! `none`, `gzip`, `zstd`, optionally with a level after a colon; and the writers.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::layout::Stored;

/// As in the programs `gzip` and `zstd`.
const GZIP_LEVELS: RangeInclusive<u32> = 1..=9;
const GZIP_LEVEL: u32 = 6;
/// Above 19 zstd needs more memory for reading than can be expected in ten years.
const ZSTD_LEVELS: RangeInclusive<u32> = 1..=19;
const ZSTD_LEVEL: u32 = 3;

/// How closed segments are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    #[default]
    None,
    /// The level.
    Gzip(u32),
    /// The level.
    Zstd(u32),
}

impl Compression {
    /// The resulting form; `None`: uncompressed.
    pub fn stored(self) -> Option<Stored> {
        match self {
            Compression::None => None,
            Compression::Gzip(_) => Some(Stored::Gzip),
            Compression::Zstd(_) => Some(Stored::Zstd),
        }
    }

    pub(super) fn encoder(self, output: File) -> io::Result<Encoder> {
        Ok(match self {
            Compression::None => Encoder::None(output),
            Compression::Gzip(level) => {
                let level = flate2::Compression::new(level);
                Encoder::Gzip(flate2::write::GzEncoder::new(output, level))
            }
            Compression::Zstd(level) => {
                let mut encoder = zstd::Encoder::new(output, level as i32)?;
                encoder.include_checksum(true)?;
                Encoder::Zstd(encoder)
            }
        })
    }
}

impl FromStr for Compression {
    type Err = String;

    /// The error describes what is wrong, for the detail of a message.
    fn from_str(text: &str) -> Result<Compression, String> {
        let text = text.trim().to_ascii_lowercase();
        let (method, level) = match text.split_once(':') {
            Some((method, level)) => (method, Some(level)),
            None => (text.as_str(), None),
        };
        let level = |levels: RangeInclusive<u32>, default: u32| match level {
            None => Ok(default),
            Some(level) => {
                let level = level.parse().ok().filter(|level| levels.contains(level));
                let (from, to) = levels.into_inner();
                level.ok_or_else(|| {
                    format!("The level of {method} is a number from {from} to {to}.")
                })
            }
        };
        match method {
            "none" if text == "none" => Ok(Compression::None),
            "none" => Err("\"none\" takes no level.".to_owned()),
            "gzip" => Ok(Compression::Gzip(level(GZIP_LEVELS, GZIP_LEVEL)?)),
            "zstd" => Ok(Compression::Zstd(level(ZSTD_LEVELS, ZSTD_LEVEL)?)),
            _ => Err("The method is none, gzip or zstd.".to_owned()),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Compression::None => f.write_str("none"),
            Compression::Gzip(level) => write!(f, "gzip:{level}"),
            Compression::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

/// Compresses what is written to it.
pub(super) enum Encoder {
    None(File),
    Gzip(flate2::write::GzEncoder<File>),
    Zstd(zstd::Encoder<'static, File>),
}

impl Encoder {
    /// Writes the end; returns the file.
    pub(super) fn finish(self) -> io::Result<File> {
        match self {
            Encoder::None(file) => Ok(file),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl Write for Encoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Encoder::None(file) => file.write(bytes),
            Encoder::Gzip(encoder) => encoder.write(bytes),
            Encoder::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Encoder::None(file) => file.flush(),
            Encoder::Gzip(encoder) => encoder.flush(),
            Encoder::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_method_and_a_level_are_read() {
        for (text, meant) in [
            ("none", Compression::None),
            ("gzip", Compression::Gzip(6)),
            (" GZIP:9 ", Compression::Gzip(9)),
            ("zstd", Compression::Zstd(3)),
            ("zstd:19", Compression::Zstd(19)),
        ] {
            assert_eq!(text.parse::<Compression>().unwrap(), meant, "{text}");
            assert_eq!(meant.to_string().parse::<Compression>().unwrap(), meant);
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_is_wrong() {
        for (text, why) in [
            ("", "none, gzip or zstd"),
            ("lz4", "none, gzip or zstd"),
            ("none:1", "no level"),
            ("gzip:", "1 to 9"),
            ("gzip:0", "1 to 9"),
            ("gzip:10", "1 to 9"),
            ("zstd:-1", "1 to 19"),
            ("zstd:20", "1 to 19"),
            ("zstd:3:4", "1 to 19"),
            ("zstd 3", "none, gzip or zstd"),
        ] {
            let error = text.parse::<Compression>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
