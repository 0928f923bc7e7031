//! The frames that the output plugin passes to a capture worker under the option `framing`.
//!
//! A frame is one tag byte and its payload. Only the segment writer knows the segment's random key, so the
//! plugin states the kind of a line and the writer writes it. Both readers receive the same frames.

use chrono::{DateTime, Utc};

use archive::escape::{percent_decode, percent_encode};
use archive::lsn::Lsn;
use archive::segment::{ClusterFact, DdlBlock, EffectNote, Lost, Mark, What, Who, Words};

/// One frame, borrowed from the plugin's output.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A transaction begins: 64-bit xid, end of its commit record, commit time if known.
    Begin {
        xid: u64,
        commit_lsn: Lsn,
        commit_time: Option<DateTime<Utc>>,
        /// Who made it, where that was recorded.
        who: Option<Who>,
    },
    /// One SQL statement on one line.
    Statement(&'a [u8]),
    /// A sequence's position, as a statement on one line.
    Setval(&'a [u8]),
    CopyStart(&'a [u8]),
    CopyRow(&'a [u8]),
    CopyEnd,
    /// A statement with arbitrary text, and its role.
    Ddl {
        command: String,
        role: Vec<u8>,
        block: DdlBlock<'a>,
    },
    /// The text that the user typed, whose effects follow.
    Words {
        command: String,
        role: Vec<u8>,
        at: Option<DateTime<Utc>>,
        text: &'a [u8],
    },
    /// The effect of a statement, in SQL of our own.
    Effect {
        class: String,
        oid: u32,
        verb: String,
        identity: &'a [u8],
        needs: Vec<(u32, u32)>,
        block: DdlBlock<'a>,
    },
    /// About a role or a tablespace.
    Fact(ClusterFact),
    /// A change that could not be captured exactly.
    Flag(&'a [u8]),
    /// The same for a statement.
    DdlFlag(&'a [u8]),
    /// What a restore omits: kind and name, a line end, the definition.
    LeftOut(&'a [u8]),
    /// A point with a name.
    Mark(Mark),
    /// What no restore has before the next base, and why.
    Lost {
        lost: Lost,
        reason: &'a [u8],
    },
    Commit,
}

/// Output that is not a frame of ours.
#[derive(Debug, thiserror::Error)]
#[error("unexpected message type {0:#04x} from the output plugin")]
pub struct UnknownFrame(u8);

/// The time in microseconds since 1970: a text would have to be formatted and parsed for each transaction.
/// `commit_time` is `None` if the output plugin does not provide it.
pub fn push_begin(
    out: &mut Vec<u8>,
    xid: u64,
    commit_lsn: u64,
    commit_time: Option<DateTime<Utc>>,
    who: Option<&Who>,
) {
    let time = time_word(commit_time);
    out.extend_from_slice(format!("B{xid} {} {time}", Lsn(commit_lsn)).as_bytes());
    if let Some(who) = who {
        for part in [&who.role, &who.application, &who.client] {
            out.extend_from_slice(format!(" {}", percent_encode(part)).as_bytes());
        }
    }
}

/// The text of a statement may contain any byte, so the lengths of the other fields come first.
pub fn push_ddl(out: &mut Vec<u8>, command: &str, role: &[u8], block: &DdlBlock<'_>) {
    let role = percent_encode(role);
    let (before, after) = (block.before.len(), block.after.len());
    out.extend_from_slice(format!("D{command}\t{role}\t{before}\t{after}\n").as_bytes());
    for part in [block.before, block.after, block.statement] {
        out.extend_from_slice(part);
    }
}

/// The complete text; the segment writer truncates it.
pub fn push_words(out: &mut Vec<u8>, words: &Words<'_>) {
    let command = percent_encode(words.command.as_bytes());
    let (role, at) = (percent_encode(words.role), time_word(words.at));
    out.extend_from_slice(format!("W{command}\t{role}\t{at}\n").as_bytes());
    out.extend_from_slice(words.text);
}

/// As [`push_ddl`], with the object's identity first.
pub fn push_effect(out: &mut Vec<u8>, note: &EffectNote<'_>, block: &DdlBlock<'_>) {
    let (class, verb) = (note.class.as_bytes(), note.verb.as_bytes());
    let (class, verb) = (percent_encode(class), percent_encode(verb));
    out.extend_from_slice(format!("E{class}\t{}\t{verb}\t", note.oid).as_bytes());
    for (class, oid) in note.needs {
        out.extend_from_slice(format!("{class}:{oid},").as_bytes());
    }
    let parts = [note.identity, block.before, block.after];
    for part in parts {
        out.extend_from_slice(format!("\t{}", part.len()).as_bytes());
    }
    out.push(b'\n');
    for part in parts {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(block.statement);
}

pub fn push_lost(out: &mut Vec<u8>, lost: &Lost, reason: &[u8]) {
    let (what, class) = (lost.what.name(), percent_encode(lost.class.as_bytes()));
    let identity = percent_encode(&lost.identity);
    out.extend_from_slice(format!("X{what}\t{class}\t{}\t{identity}\n", lost.oid).as_bytes());
    out.extend_from_slice(reason);
}

pub fn push_fact(out: &mut Vec<u8>, fact: &ClusterFact) {
    out.push(b'R');
    out.extend_from_slice(fact.encode().as_bytes());
}

/// The name and the role are percent-encoded.
pub fn push_mark(out: &mut Vec<u8>, mark: &Mark) {
    let (name, role) = (
        percent_encode(mark.name.as_bytes()),
        percent_encode(&mark.role),
    );
    out.extend_from_slice(format!("M{name}\t{role}\t{}", time_word(mark.at)).as_bytes());
}

/// Parses one frame.
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
        b'W' => parse_words(payload),
        b'E' => parse_effect(payload),
        b'R' => parse_fact(payload),
        b'F' => Some(Frame::Flag(payload)),
        b'f' => Some(Frame::DdlFlag(payload)),
        b'L' => Some(Frame::LeftOut(payload)),
        b'M' => parse_mark(payload),
        b'X' => parse_lost(payload),
        b'C' => Some(Frame::Commit),
        _ => None,
    };
    frame.ok_or(UnknownFrame(tag))
}

fn parse_begin(payload: &[u8]) -> Option<Frame<'_>> {
    let mut words = std::str::from_utf8(payload).ok()?.split(' ');
    let xid = words.next()?.parse().ok()?;
    let commit_lsn = words.next()?.parse().ok()?;
    let commit_time = parse_time(words.next()?)?;
    let who = match words.next() {
        None => None,
        Some(role) => Some(Who {
            role: percent_decode(role.as_bytes())?,
            application: percent_decode(words.next()?.as_bytes())?,
            client: percent_decode(words.next()?.as_bytes())?,
        }),
    };
    Some(Frame::Begin {
        xid,
        commit_lsn,
        commit_time,
        who,
    })
}

fn parse_mark(payload: &[u8]) -> Option<Frame<'_>> {
    let mut words = std::str::from_utf8(payload).ok()?.split('\t');
    Some(Frame::Mark(Mark {
        name: decoded(words.next()?)?,
        role: percent_decode(words.next()?.as_bytes())?,
        at: parse_time(words.next()?)?,
    }))
}

fn parse_ddl(payload: &[u8]) -> Option<Frame<'_>> {
    let (first, rest) = split_line(payload)?;
    let mut words = first.split('\t');
    let command = words.next()?.to_owned();
    let role = percent_decode(words.next()?.as_bytes())?;
    let (before, rest) = rest.split_at_checked(words.next()?.parse().ok()?)?;
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

fn parse_words(payload: &[u8]) -> Option<Frame<'_>> {
    let (first, text) = split_line(payload)?;
    let mut words = first.split('\t');
    Some(Frame::Words {
        command: decoded(words.next()?)?,
        role: percent_decode(words.next()?.as_bytes())?,
        at: parse_time(words.next()?)?,
        text,
    })
}

fn parse_effect(payload: &[u8]) -> Option<Frame<'_>> {
    let (first, rest) = split_line(payload)?;
    let mut words = first.split('\t');
    let class = decoded(words.next()?)?;
    let oid = words.next()?.parse().ok()?;
    let verb = decoded(words.next()?)?;
    let needs = words.next()?.split_terminator(',').map(|pair| {
        let (class, oid) = pair.split_once(':')?;
        Some((class.parse().ok()?, oid.parse().ok()?))
    });
    let needs = needs.collect::<Option<Vec<(u32, u32)>>>()?;
    let (identity, rest) = rest.split_at_checked(words.next()?.parse().ok()?)?;
    let (before, rest) = rest.split_at_checked(words.next()?.parse().ok()?)?;
    let (after, statement) = rest.split_at_checked(words.next()?.parse().ok()?)?;
    let block = DdlBlock {
        before,
        statement,
        after,
    };
    Some(Frame::Effect {
        class,
        oid,
        verb,
        identity,
        needs,
        block,
    })
}

fn parse_lost(payload: &[u8]) -> Option<Frame<'_>> {
    let (first, reason) = split_line(payload)?;
    let mut words = first.split('\t');
    let lost = Lost {
        what: What::parse(words.next()?)?,
        class: decoded(words.next()?)?,
        oid: words.next()?.parse().ok()?,
        identity: percent_decode(words.next()?.as_bytes())?,
    };
    Some(Frame::Lost { lost, reason })
}

fn split_line(payload: &[u8]) -> Option<(&str, &[u8])> {
    let end = payload.iter().position(|byte| *byte == b'\n')?;
    Some((
        std::str::from_utf8(&payload[..end]).ok()?,
        &payload[end + 1..],
    ))
}

fn decoded(word: &str) -> Option<String> {
    String::from_utf8(percent_decode(word.as_bytes())?).ok()
}

fn time_word(time: Option<DateTime<Utc>>) -> String {
    time.map_or_else(
        || "unknown".to_owned(),
        |time| time.timestamp_micros().to_string(),
    )
}

#[allow(clippy::option_option)] // none that is written as such, or no time at all
fn parse_time(word: &str) -> Option<Option<DateTime<Utc>>> {
    match word {
        "unknown" => Some(None),
        micros => DateTime::from_timestamp_micros(micros.parse().ok()?).map(Some),
    }
}

fn parse_fact(payload: &[u8]) -> Option<Frame<'_>> {
    let text = std::str::from_utf8(payload).ok()?;
    ClusterFact::decode(text).map(Frame::Fact)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TEXTS: [&[u8]; 5] = [
        b"",
        b"CREATE TABLE t()",
        b"a\tb\nc\n\n",
        b"\xff\x00%41\t1:2,",
        b"E\t1\t2\n",
    ];

    #[test]
    fn beginnings_come_back() {
        let who = |text: &[u8]| Who {
            role: b"bob".to_vec(),
            application: text.to_vec(),
            client: text.to_vec(),
        };
        let all = TEXTS.map(who).map(Some);
        for who in all.into_iter().chain([None]) {
            let mut row = Vec::new();
            push_begin(&mut row, 7, 8, None, who.as_ref());
            let read = Frame::Begin {
                xid: 7,
                commit_lsn: Lsn(8),
                commit_time: None,
                who,
            };
            assert_eq!(parse(&row).unwrap(), read);
        }
    }

    #[test]
    fn words_come_back() {
        for text in TEXTS {
            for at in [None, DateTime::from_timestamp_micros(-5)] {
                let words = Words {
                    command: "CREATE\tTABLE",
                    role: b"b\tb\n\xff",
                    at,
                    text,
                };
                let mut row = Vec::new();
                push_words(&mut row, &words);
                let read = Frame::Words {
                    command: words.command.to_owned(),
                    role: words.role.to_vec(),
                    at,
                    text,
                };
                assert_eq!(parse(&row).unwrap(), read);
            }
        }
    }

    #[test]
    fn effects_come_back() {
        for text in TEXTS {
            for needs in [&[][..], &[(1259, u32::MAX)], &[(0, 1), (2, 3)]] {
                let note = EffectNote {
                    class: "operator family",
                    oid: u32::MAX,
                    verb: "create",
                    identity: text,
                    needs,
                };
                let block = DdlBlock {
                    before: b"SET LOCAL ROLE x;",
                    statement: text,
                    after: text,
                };
                let mut row = Vec::new();
                push_effect(&mut row, &note, &block);
                let read = Frame::Effect {
                    class: note.class.to_owned(),
                    oid: note.oid,
                    verb: note.verb.to_owned(),
                    identity: text,
                    needs: needs.to_vec(),
                    block,
                };
                assert_eq!(parse(&row).unwrap(), read);
            }
        }
    }

    #[test]
    fn losses_come_back() {
        for reason in TEXTS {
            let lost = Lost {
                what: What::Rows,
                class: "foreign\ttable".to_owned(),
                oid: u32::MAX,
                identity: reason.to_vec(),
            };
            let mut row = Vec::new();
            push_lost(&mut row, &lost, reason);
            assert_eq!(parse(&row).unwrap(), Frame::Lost { lost, reason });
        }
    }

    #[test]
    fn what_is_cut_off_is_no_frame() {
        for row in [
            &b"W"[..],
            b"Wa\tb\n",
            b"Wa\tb\tx\n",
            b"E",
            b"Et\t1\tv\t1:\t0\t0\t0\n",
            b"Et\t1\tv\t\t9\t0\t0\nabc",
            b"Et\t1\tv\t\n",
            b"Xrows\ttable\t1\tt",
            b"Xcolumns\ttable\t1\tt\n",
        ] {
            assert!(parse(row).is_err(), "{row:?}");
        }
    }
}
