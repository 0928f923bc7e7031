//! A connection to one cluster's socket that runs a script as psql runs it with `-A -t -q` and ON_ERROR_STOP, without
//! a process. What psql would write is told as it writes it.

use crate::statements::{split, Statement};
use bytes::{BufMut, BytesMut};
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{DataRowBody, ErrorFields, Message};
use postgres_protocol::message::frontend;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// What became of a script.
pub(crate) enum Outcome {
    /// Everything that psql would print to standard output.
    Rows(Vec<u8>),
    /// The first error: everything that psql would print to standard error.
    Failed(String),
    /// Only psql can run this script, or connect to this server.
    LeftToPsql,
}

/// Runs a script in one new connection.
pub(crate) fn run(socket: &Path, user: &str, database: &str, script: &str) -> Outcome {
    let Some(statements) = split(script) else {
        return Outcome::LeftToPsql;
    };
    let mut client = match Client::open(socket, user, database) {
        Ok(Some(client)) => client,
        Ok(None) => return Outcome::LeftToPsql,
        Err(reason) => {
            let socket = socket.display();
            return Outcome::Failed(format!(
                "psql: error: connection to server on socket \"{socket}\" failed: {reason}\n"
            ));
        }
    };
    for statement in statements {
        if let Err(lost) = client.execute(&statement) {
            client.said += &format!("{lost}\nconnection to server was lost\n");
            client.has_failed = true;
        }
        if client.has_failed {
            break;
        }
    }
    client.close();
    if client.has_failed {
        Outcome::Failed(client.said)
    } else {
        Outcome::Rows(client.rows)
    }
}

struct Client {
    stream: UnixStream,
    received: BytesMut,
    /// Standard output.
    rows: Vec<u8>,
    /// Standard error.
    said: String,
    has_failed: bool,
}

impl Client {
    /// `None` if this needs more than the name of a user, or if strings are not as the standard has them.
    fn open(socket: &Path, user: &str, database: &str) -> Result<Option<Client>, String> {
        let stream = UnixStream::connect(socket).map_err(|error| {
            let text = error.to_string();
            // Rust adds the number of the error.
            let reason = text.split(" (os error").next().unwrap_or_default();
            format!("{reason}\n\tIs the server running locally and accepting connections on that socket?")
        })?;
        let mut client = Client {
            stream,
            received: BytesMut::new(),
            rows: Vec::new(),
            said: String::new(),
            has_failed: false,
        };
        let mut message = BytesMut::new();
        let parameters = [
            ("user", user),
            ("database", database),
            ("application_name", "psql"),
        ];
        let lost = |error: io::Error| error.to_string();
        frontend::startup_message(parameters, &mut message).map_err(lost)?;
        client.stream.write_all(&message).map_err(lost)?;
        loop {
            match client.receive().map_err(lost)? {
                Message::AuthenticationOk | Message::BackendKeyData(_) => {}
                Message::ParameterStatus(status)
                    if status.name().map_err(lost)? == "standard_conforming_strings"
                        && status.value().map_err(lost)? != "on" =>
                {
                    return Ok(None);
                }
                Message::ParameterStatus(_) => {}
                Message::NoticeResponse(notice) => {
                    client.said += &told(notice.fields(), Kind::Notice)
                }
                Message::ErrorResponse(error) => {
                    return Err(told(error.fields(), Kind::Refusal).trim_end().to_owned());
                }
                Message::ReadyForQuery(_) => return Ok(Some(client)),
                _ => return Ok(None),
            }
        }
    }

    /// Ends the session, and waits until the server has ended it.
    fn close(&mut self) {
        let mut message = BytesMut::new();
        frontend::terminate(&mut message);
        if self.stream.write_all(&message).is_ok() {
            while self.receive().is_ok() {}
        }
    }

    fn receive(&mut self) -> io::Result<Message> {
        loop {
            if let Some(message) = Message::parse(&mut self.received)? {
                return Ok(message);
            }
            let mut part = [0; 16 * 1024];
            match self.stream.read(&mut part)? {
                0 => {
                    return Err(io::Error::other(
                        "server closed the connection unexpectedly\n\
                         \tThis probably means the server terminated abnormally\n\
                         \tbefore or while processing the request.",
                    ));
                }
                length => self.received.extend_from_slice(&part[..length]),
            }
        }
    }

    fn execute(&mut self, statement: &Statement) -> io::Result<()> {
        let mut made = Vec::new();
        let values = statement.makes_statements.then_some(&mut made);
        self.send(statement.text.as_bytes(), values)?;
        for statement in made {
            if !self.has_failed {
                self.send(&statement, None)?;
            }
        }
        Ok(())
    }

    /// One message of the simple query protocol, and what it returns: printed, or put into `values`.
    fn send(&mut self, statement: &[u8], mut values: Option<&mut Vec<Vec<u8>>>) -> io::Result<()> {
        let mut message = BytesMut::with_capacity(statement.len() + 6);
        message.put_u8(b'Q');
        // Its own four bytes, the text, and the zero behind it.
        let length = i32::try_from(statement.len() + 5).map_err(io::Error::other)?;
        message.put_i32(length);
        message.put_slice(statement);
        message.put_u8(0);
        let mut unsent = self.stream.write_all(&message).err();
        loop {
            let received = self.receive();
            let received = received.map_err(|lost| unsent.take().unwrap_or(lost))?;
            // A server that has ended the session before has said why.
            unsent = None;
            match received {
                Message::DataRow(row) => match &mut values {
                    Some(values) => {
                        values.extend(cells(&row)?.into_iter().flatten().map(Vec::from))
                    }
                    None => self.print(&row)?,
                },
                Message::CopyData(data) => self.rows.extend_from_slice(data.data()),
                Message::CopyInResponse(_) => {
                    let mut message = BytesMut::new();
                    frontend::copy_fail("this client has no data for COPY", &mut message)?;
                    self.stream.write_all(&message)?;
                }
                Message::NoticeResponse(notice) => {
                    self.said += &told(notice.fields(), Kind::Notice)
                }
                Message::ErrorResponse(error) => {
                    self.said += &told(error.fields(), Kind::Error);
                    self.has_failed = true;
                }
                Message::ReadyForQuery(_) => return Ok(()),
                _ => {}
            }
        }
    }

    fn print(&mut self, row: &DataRowBody) -> io::Result<()> {
        let cells = cells(row)?;
        for (at, cell) in cells.iter().enumerate() {
            if at > 0 {
                self.rows.push(b'|');
            }
            self.rows.extend_from_slice(cell.unwrap_or_default());
        }
        // psql prints nothing at all for rows without columns.
        if !cells.is_empty() {
            self.rows.push(b'\n');
        }
        Ok(())
    }
}

fn cells(row: &DataRowBody) -> io::Result<Vec<Option<&[u8]>>> {
    let cells = row.ranges();
    cells
        .map(|range| Ok(range.map(|range| &row.buffer()[range])))
        .collect()
}

/// Kinds of messages of a server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Psql has no verbosity yet while it connects.
    Refusal,
    Error,
    Notice,
}

/// A message of the server as libpq words it (`pqBuildErrorMessage3`) with `VERBOSITY=verbose`, but without the line
/// of the statement that it points to.
fn told(mut fields: ErrorFields<'_>, kind: Kind) -> String {
    let is_verbose = kind != Kind::Refusal;
    let mut by_type = std::collections::BTreeMap::new();
    while let Ok(Some(field)) = fields.next() {
        let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
        by_type.insert(field.type_(), value);
    }
    let field = |kind: u8| by_type.get(&kind).map(String::as_str);
    let mut text = format!("{}:  ", field(b'S').unwrap_or_default());
    if is_verbose {
        text += &format!("{}: ", field(b'C').unwrap_or_default());
    }
    text += &format!("{}\n", field(b'M').unwrap_or_default());
    let mut add = |label: &str, kind: u8| {
        if let Some(value) = field(kind) {
            text += &format!("{label}:  {value}\n");
        }
    };
    add("DETAIL", b'D');
    add("HINT", b'H');
    add("QUERY", b'q');
    if kind != Kind::Notice {
        add("CONTEXT", b'W');
    }
    if is_verbose {
        add("SCHEMA NAME", b's');
        add("TABLE NAME", b't');
        add("COLUMN NAME", b'c');
        add("DATATYPE NAME", b'd');
        add("CONSTRAINT NAME", b'n');
        if let (Some(function), Some(file), Some(line)) = (field(b'R'), field(b'F'), field(b'L')) {
            text += &format!("LOCATION:  {function}, {file}:{line}\n");
        }
    }
    text
}
