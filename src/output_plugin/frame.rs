//! The rows that the output plugin hands to a capture worker under the option `framing`.
//!
//! A row is one tag byte and its payload. The segment writer alone knows the segment's random key,
//! so the plugin says what a line is and the writer writes it. Both readers see the same rows.

use chrono::{DateTime, Utc};

use archive::escape::{percent_decode, percent_encode};
use archive::lsn::Lsn;
use archive::segment::{ClusterFact, DdlBlock};

/// One row, borrowed from what the plugin wrote.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A transaction starts: 64-bit xid, end of its commit record, commit time where it is known.
    Begin {
        xid: u64,
        commit_lsn: Lsn,
        commit_time: Option<DateTime<Utc>>,
    },
    /// One SQL statement on one line.
    Statement(&'a [u8]),
    /// A sequence's position, as a statement on one line.
    Setval(&'a [u8]),
    CopyStart(&'a [u8]),
    CopyRow(&'a [u8]),
    CopyEnd,
    /// A statement of any text, and whose it was.
    Ddl {
        command: String,
        role: Vec<u8>,
        block: DdlBlock<'a>,
    },
    /// About a role or a tablespace.
    Fact(ClusterFact),
    /// Something that could not be carried faithfully.
    Flag(&'a [u8]),
    /// The same of a statement.
    DdlFlag(&'a [u8]),
    /// What a restore does without: kind and name, a line end, the definition.
    LeftOut(&'a [u8]),
    /// The chain breaks with this transaction, and why.
    Break(&'a [u8]),
    Commit,
}

/// A row that is none of ours.
#[derive(Debug, thiserror::Error)]
#[error("the output plugin wrote a row that is no frame (starts with byte {0:#04x})")]
pub struct UnknownFrame(u8);

/// The time goes as microseconds since 1970: a text would be made and read again for each transaction.
/// `commit_time` is `None` where the output plugin does not tell it.
pub fn push_begin(
    out: &mut Vec<u8>,
    xid: u64,
    commit_lsn: u64,
    commit_time: Option<DateTime<Utc>>,
) {
    let time = commit_time.map_or_else(
        || "unknown".to_owned(),
        |time| time.timestamp_micros().to_string(),
    );
    out.extend_from_slice(format!("B{xid} {} {time}", Lsn(commit_lsn)).as_bytes());
}

/// The text of a statement may hold anything, so the lengths of what stands around it go first.
pub fn push_ddl(out: &mut Vec<u8>, command: &str, role: &[u8], block: &DdlBlock<'_>) {
    let role = percent_encode(role);
    let (before, after) = (block.before.len(), block.after.len());
    out.extend_from_slice(format!("D{command}\t{role}\t{before}\t{after}\n").as_bytes());
    for part in [block.before, block.after, block.statement] {
        out.extend_from_slice(part);
    }
}

pub fn push_fact(out: &mut Vec<u8>, fact: &ClusterFact) {
    out.push(b'R');
    out.extend_from_slice(fact.encode().as_bytes());
}

/// Reads one row back.
pub fn parse(row: &[u8]) -> Result<Frame<'_>, UnknownFrame> {
    let (&tag, payload) = row.split_first().ok_or(UnknownFrame(0))?;
    let frame = match tag {
        b'B' => parse_begin(payload),
        b'S' => Some(Frame::Statement(payload)),
        b'V' => Some(Frame::Setval(payload)),
        b'P' => Some(Frame::CopyStart(payload)),
        b'p' => Some(Frame::CopyRow(payload)),
        b'e' => Some(Frame::CopyEnd),
        b'D' => parse_ddl(payload),
        b'R' => parse_fact(payload),
        b'F' => Some(Frame::Flag(payload)),
        b'f' => Some(Frame::DdlFlag(payload)),
        b'L' => Some(Frame::LeftOut(payload)),
        b'X' => Some(Frame::Break(payload)),
        b'C' => Some(Frame::Commit),
        _ => None,
    };
    frame.ok_or(UnknownFrame(tag))
}

fn parse_begin(payload: &[u8]) -> Option<Frame<'_>> {
    let mut words = std::str::from_utf8(payload).ok()?.split(' ');
    let xid = words.next()?.parse().ok()?;
    let commit_lsn = words.next()?.parse().ok()?;
    let commit_time = match words.next()? {
        "unknown" => None,
        micros => Some(DateTime::from_timestamp_micros(micros.parse().ok()?)?),
    };
    Some(Frame::Begin {
        xid,
        commit_lsn,
        commit_time,
    })
}

fn parse_ddl(payload: &[u8]) -> Option<Frame<'_>> {
    let end = payload.iter().position(|byte| *byte == b'\n')?;
    let mut words = std::str::from_utf8(&payload[..end]).ok()?.split('\t');
    let command = words.next()?.to_owned();
    let role = percent_decode(words.next()?.as_bytes())?;
    let (before, rest) = payload[end + 1..].split_at_checked(words.next()?.parse().ok()?)?;
    let (after, statement) = rest.split_at_checked(words.next()?.parse().ok()?)?;
    Some(Frame::Ddl {
        command,
        role,
        block: DdlBlock {
            before,
            statement,
            after,
        },
    })
}

fn parse_fact(payload: &[u8]) -> Option<Frame<'_>> {
    let text = std::str::from_utf8(payload).ok()?;
    ClusterFact::decode(text).map(Frame::Fact)
}
