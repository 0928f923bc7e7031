//! A server that is none: it answers from memory, and its files change while they are read.

use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::write::GzEncoder;
use flate2::Compression;

use super::*;

const OPEN: &str = "chain-1/incremental/00000000015E0F88-20261120T020000Z.sql.partial";
const CLOSED: &str = "chain-1/incremental/00000000015E0F88-20261120T020000Z.sql";
const COMPRESSED: &str = "chain-1/incremental/00000000015E0F88-20261120T020000Z.sql.gz";

type Files = BTreeMap<String, Vec<u8>>;

/// Answers each request from the files as `at` has them at that request, counted from 0.
fn serving(at: impl Fn(usize) -> Files + Send + 'static) -> (Server, Arc<AtomicUsize>) {
    let (requests, mut received) = unbounded_channel::<Request>();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        while let Some(request) = received.blocking_recv() {
            let files = at(counted.fetch_add(1, Ordering::SeqCst));
            let list = files
                .iter()
                .map(|(name, bytes)| format!("{} {name}\n", bytes.len()));
            let list = list.collect::<String>().into_bytes();
            let file = if request.file.is_empty() {
                Some(&list)
            } else {
                files.get(&request.file)
            };
            let part = file.map(|bytes| {
                let start = bytes.len().min(request.offset as usize);
                let end = bytes.len().min(start + request.length as usize);
                bytes[start..end].to_vec()
            });
            let _ = request.answer.send(Ok(part));
        }
    });
    let link = Link {
        requests,
        place: "memory".to_owned(),
        listing: Mutex::default(),
        last_read: Mutex::default(),
    };
    (Server(Arc::new(link)), count)
}

fn files(named: &[(&str, &[u8])]) -> Files {
    let owned = named
        .iter()
        .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()));
    owned.collect()
}

/// Of several parts, which no part's length divides.
fn long_text() -> Vec<u8> {
    (0..9_000_001u32)
        .map(|number| (number % 251) as u8)
        .collect()
}

fn read_all(server: &Server, file: &str, offset: u64) -> io::Result<Vec<u8>> {
    let opened = server
        .open(file, offset)
        .expect("no error")
        .expect("it is there");
    let mut bytes = Vec::new();
    { opened }.read_to_end(&mut bytes).map(|_| bytes)
}

#[test]
fn parts_are_joined_whatever_their_length() {
    let text = long_text();
    let all = text.clone();
    let (server, _) = serving(move |_| {
        files(&[
            (CLOSED, &all),
            ("restore.sh", b"#!/bin/sh\n"),
            ("empty", b""),
        ])
    });
    assert_eq!(read_all(&server, CLOSED, 0).expect("readable"), text);
    assert_eq!(
        read_all(&server, CLOSED, 5_000_000).expect("readable"),
        text[5_000_000..]
    );
    assert!(read_all(&server, CLOSED, 1 << 40)
        .expect("readable")
        .is_empty());
    assert!(read_all(&server, "empty", 0).expect("readable").is_empty());
    assert!(server.open("nothing", 0).expect("no error").is_none());
    assert_eq!(server.size(CLOSED).expect("no error"), Some(9_000_001));
    let names = |directory| {
        let items = server
            .list(directory)
            .expect("it can be listed")
            .into_iter();
        items
            .map(|item| (item.name, item.is_directory))
            .collect::<Vec<_>>()
    };
    let expected = [("chain-1", true), ("empty", false), ("restore.sh", false)];
    assert_eq!(names(""), expected.map(|(name, is)| (name.to_owned(), is)));
    assert_eq!(names("chain-1"), [("incremental".to_owned(), true)]);
    assert!(names("chain-2").is_empty());
}

#[test]
fn a_segment_that_is_closed_or_compressed_meanwhile_is_read_on() {
    let text = long_text();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    io::Write::write_all(&mut encoder, &text).expect("into memory");
    let compressed = encoder.finish().expect("into memory");
    // The list, then the first parts, under the old name; afterwards under the new one.
    for (new, content) in [(CLOSED, text.clone()), (COMPRESSED, compressed)] {
        let all = text.clone();
        let (server, _) = serving(move |request| match request {
            0..=3 => files(&[(OPEN, &all)]),
            _ => files(&[(new, &content)]),
        });
        assert_eq!(read_all(&server, OPEN, 0).expect("readable"), text, "{new}");
    }
    // One that is removed is an error, never a shorter text.
    let (server, _) = serving(move |request| match request {
        0..=2 => files(&[(CLOSED, &text)]),
        _ => Files::new(),
    });
    let error = read_all(&server, CLOSED, 0).expect_err("it is gone");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_list_from_before_a_file_was_opened_is_not_used_after() {
    let (server, count) = serving(|request| match request {
        0..=1 => files(&[(CLOSED, b"text")]),
        _ => files(&[(CLOSED, b"text"), ("later", b"")]),
    });
    assert_eq!(server.list("").expect("it can be listed").len(), 1);
    server.list("chain-1").expect("it can be listed");
    assert_eq!(count.load(Ordering::SeqCst), 1);
    read_all(&server, CLOSED, 0).expect("readable");
    assert_eq!(server.list("").expect("it can be listed").len(), 2);
}
