//! What the program says: a line that describes the columns, rows in COPY's text format, and errors on stderr.

use std::ffi::CString;

use pgrx::prelude::*;
use serde::Deserialize;

use crate::pg::failure::Failure;

/// A line of its output.
pub enum Line<'a> {
    Description(&'a [u8]),
    /// The texts of a row's values; none for NULL.
    Row(Vec<Option<CString>>),
}

/// What has come so far.
#[derive(Default)]
pub struct Answer {
    pub lines: Lines,
    pub messages: Messages,
}

/// Its output, line by line.
#[derive(Default)]
pub struct Lines {
    /// The beginning of a line.
    open: Vec<u8>,
    is_described: bool,
}

/// Its errors.
#[derive(Default)]
pub struct Messages(Vec<u8>);

/// Bytes of messages that are kept.
const KEPT: usize = 16 * 1024;
/// Where the rest is.
const IN_LOG: &str =
    "The server's log says more; so does the call of a role with the rights of pg_read_all_data.";
/// Room for a line that is kept from row to row.
const KEPT_ROOM: usize = 1 << 20;

impl Lines {
    /// Takes more of the output, and hands over the lines that are complete.
    pub fn add(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(Line<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            if self.open.is_empty() {
                self.line(line, &mut take)?;
                continue;
            }
            self.open.extend_from_slice(line);
            let mut whole = std::mem::take(&mut self.open);
            self.line(&whole, &mut take)?;
            whole.clear();
            whole.shrink_to(KEPT_ROOM);
            self.open = whole;
        }
        self.open.extend_from_slice(bytes);
        Ok(())
    }

    fn line(
        &mut self,
        line: &[u8],
        take: &mut impl FnMut(Line<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if !std::mem::replace(&mut self.is_described, true) {
            return take(Line::Description(line));
        }
        // COPY's end, which no row is: its backslashes are doubled.
        if line == b"\\." {
            return Ok(());
        }
        let fields: Result<_, Failure> = line.split(|byte| *byte == b'\t').map(field).collect();
        take(Line::Row(fields?))
    }

    pub fn ensure_ended(&self) -> Result<(), Failure> {
        if self.open.is_empty() {
            Ok(())
        } else {
            Err(unexpected("a line without its end"))
        }
    }
}

/// The escapes of COPY's text format that COPY TO writes (PostgreSQL documentation, COPY, "Text Format").
fn field(written: &[u8]) -> Result<Option<CString>, Failure> {
    if written == b"\\N" {
        return Ok(None);
    }
    let mut text = Vec::with_capacity(written.len() + 1);
    let mut bytes = written.iter().copied();
    while let Some(byte) = bytes.next() {
        text.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'b') => 0x08,
                Some(b'f') => 0x0c,
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'v') => 0x0b,
                Some(other) => other,
                None => b'\\',
            },
            byte => byte,
        });
    }
    let text = CString::new(text).map_err(|_| unexpected("a value with a zero byte"))?;
    Ok(Some(text))
}

/// Its output is not what it should be.
pub fn unexpected(what: &str) -> Failure {
    let code = PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION;
    Failure::new(code, format!("pg_incrbackup extract wrote {what}"))
        .hint("The program must be of this version of the extension.")
}

/// A message as the program writes it with --json: an error or a warning.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    error: Option<String>,
    hint: String,
    warning: Option<String>,
}

impl Messages {
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let surplus = self.0.len().saturating_sub(2 * KEPT);
        if surplus > 0 {
            let kept = self.0.len() - KEPT;
            self.0.drain(..kept);
        }
    }

    /// The failure that it ended with. Its messages may have paths and statements of others: unless the caller may see these,
    /// they are in the server's log alone.
    pub fn failure(&self, status: Option<i32>, sees_all: bool) -> Failure {
        let failure = self.failure_in_full(status);
        if sees_all {
            return failure;
        }
        let reason = match status {
            Some(2) => "the files cannot be asked for this",
            Some(3) => "the files do not have this moment of the table",
            Some(4) => "the files are damaged",
            _ => "pg_incrbackup extract failed",
        };
        let code = failure.code;
        failure.log(PgLogLevel::LOG_SERVER_ONLY);
        Failure::new(code, reason).hint(IN_LOG)
    }

    /// Tells of its warnings; so does the server's log alone unless the caller may see them.
    pub fn warn(&self, sees_all: bool) {
        let code = PgSqlErrorCode::ERRCODE_WARNING;
        let level = if sees_all {
            PgLogLevel::WARNING
        } else {
            PgLogLevel::LOG_SERVER_ONLY
        };
        let mut count = 0;
        for warning in self.warnings() {
            Failure::new(code, warning).log(level);
            count += 1;
        }
        if count > 0 && !sees_all {
            let message = "the rows may differ from those that the table had";
            let warning = Failure::new(code, message).hint(IN_LOG);
            warning.log(PgLogLevel::WARNING);
        }
    }

    fn failure_in_full(&self, status: Option<i32>) -> Failure {
        let code = match status {
            Some(2) => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Some(3) => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Some(4) => PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
            _ => PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
        };
        let told = self.told().into_iter().rev();
        let mut errors = told.filter_map(|told| Some((told.error?, told.hint)));
        let Some((message, hint)) = errors.next() else {
            let message = "pg_incrbackup extract did not end as it should";
            let text = String::from_utf8_lossy(&self.0);
            return Failure::new(code, message).detail(text.trim());
        };
        let failure = Failure::new(code, message);
        if hint.is_empty() {
            return failure;
        }
        failure.hint(hint)
    }

    /// What a user should know.
    fn warnings(&self) -> impl Iterator<Item = String> {
        let told = self.told().into_iter();
        told.filter_map(|told| told.warning)
    }

    fn told(&self) -> Vec<Told> {
        let lines = self.0.split(|byte| *byte == b'\n');
        lines
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(pieces: &[&[u8]]) -> Vec<Vec<Option<Vec<u8>>>> {
        let (mut lines, mut rows) = (Lines::default(), Vec::new());
        for piece in pieces {
            let taken = lines.add(piece, |line| {
                if let Line::Row(fields) = line {
                    let fields = fields.into_iter();
                    rows.push(fields.map(|text| text.map(CString::into_bytes)).collect());
                }
                Ok(())
            });
            taken.expect("they are rows");
        }
        lines.ensure_ended().expect("they end");
        rows
    }

    #[test]
    fn rows_are_read_however_they_are_cut() {
        let output: &[u8] = b"{}\n1\ta\\tb\\\\n\\n\t\\N\n\n\\.\n";
        let whole = rows(&[output]);
        let text = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(
            whole,
            [vec![text("1"), text("a\tb\\n\n"), None], vec![text("")]]
        );
        for cut in 1..output.len() {
            assert_eq!(rows(&[&output[..cut], &output[cut..]]), whole, "{cut}");
        }
    }

    #[test]
    fn its_error_is_ours() {
        let said = |text: &str| {
            let mut messages = Messages::default();
            messages.add(text.as_bytes());
            let warnings = messages.warnings().count();
            (messages.failure_in_full(Some(3)), warnings)
        };
        let (failure, warnings) =
            said("{\"warning\":\"odd\"}\n{\"error\":\"not there\",\"hint\":\"Look.\"}\n");
        assert_eq!(failure.message, "not there");
        assert_eq!((failure.hint.as_deref(), warnings), (Some("Look."), 1));
        let (failure, warnings) = said("killed\n");
        assert!(failure.message.contains("did not end"));
        assert_eq!((failure.detail.as_deref(), warnings), (Some("killed"), 0));
    }
}
