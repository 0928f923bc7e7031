//! Every form of file and name: torn, compressed, directory dumps, database names, conninfo.

use std::fs;
use std::process::Command;

use archive::manifest;

use crate::source::{everything, unique, Source, Statement, TABLE};

#[test]
fn a_torn_open_segment_gives_its_complete_transactions() {
    let mut source = Source::new(TABLE);
    source.base("100:100:");
    source.transaction(100, &[Statement("INSERT INTO public.a (id) VALUES (100);")]);
    let path = source.appender.current_file();
    let good = fs::read(&path).unwrap();
    let tail = b"-- @0123456789abcdef transaction xid=1\nBEGIN;\nINSERT";
    let mut tails: Vec<Vec<u8>> = vec![Vec::new(), tail.to_vec(), vec![0; 5000]];
    let text = String::from_utf8(good.clone()).unwrap();
    let again = &text[text.find(" transaction ").unwrap() - 21..];
    for cut in (1..again.len() - 1).step_by(9) {
        tails.push(again.as_bytes()[..cut].to_vec());
        tails.push([&again.as_bytes()[..cut], &[0; 100], b"x\nCOMMIT;\n"].concat());
    }
    for tail in tails {
        fs::write(&path, [&good[..], &tail].concat()).unwrap();
        let run = source.run(&["--dry-run"]);
        assert!(
            run.0.status.success() && run.text().contains("1 transactions"),
            "{}",
            run.text()
        );
    }
    fs::write(
        &path,
        [&good[..], &again.as_bytes()[..150], &[0; 100]].concat(),
    )
    .unwrap();
    let target = source.restore(&[]);
    source.assert_same(&target);
}

/// That of a copy is, from some hundred files on.
#[test]
fn a_manifest_in_parts_is_one() {
    let mut source = Source::new(TABLE);
    source.base("100:100:");
    let mut xid = 100;
    let parts = loop {
        for _ in 0..50 {
            let insert = format!("INSERT INTO public.a (id) VALUES ({xid});");
            source.transaction(xid, &[Statement(&insert)]);
            xid += 1;
            source.appender.rotate(xid).unwrap().unwrap();
        }
        let parts = manifest::in_parts(&manifest::read(&source.place.chain).unwrap().entries);
        if parts.len() > 1 {
            break parts;
        }
    };
    for (part, lines) in parts {
        fs::write(source.place.chain.path.join(part), lines).unwrap();
    }
    let run = source.run(&["--dry-run"]);
    assert!(!run.text().contains("manifest"), "{}", run.text());
    let target = source.restore(&[]);
    source.assert_same(&target);
    // What the others say counts.
    let path = source.place.chain.segments().unwrap()[200.min(xid as usize - 105)];
    let path = source.place.chain.segment_path(path.0, path.1);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("(id) VALUES", "(id)  VALUES")).unwrap();
    let run = source.run(&["--dry-run"]);
    assert!(run.text().contains("is damaged"), "{}", run.text());
}

#[test]
fn a_database_has_a_plain_name_and_others_are_refused() {
    let mut source = Source::new(TABLE);
    source.base_with("100:100:", |base, _| {
        base.write_file(
            "database.sql",
            b"COMMENT ON DATABASE :\"dbname\" IS 'mine';\n",
        )
        .unwrap();
    });
    let socket = source.cluster.socket();
    let n = unique("");
    for (conninfo, name) in [
        (
            format!("host={socket} user=postgres dbname='my.db-{n}'"),
            format!("my.db-{n}"),
        ),
        (
            format!("dbname = q{n} host = '{socket}' user=postgres"),
            format!("q{n}"),
        ),
    ] {
        let run = source.run(&["--target", &conninfo]);
        assert!(run.0.status.success(), "{conninfo}: {}", run.text());
        source.assert_same(&name);
        let comment = source.cluster.psql(&name,
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()");
        assert_eq!(comment, "mine");
    }
    for name in [
        "'my \\'db\\' x'",
        "'a\nb'",
        "back\\\\slash",
        "'x=y?&'",
        "'my db'",
        "\"q\"",
    ] {
        let conninfo = format!("host={socket} user=postgres dbname={name}");
        let run = source.run(&["--target", &conninfo]);
        assert_eq!(run.0.status.code(), Some(2), "{name}: {}", run.text());
    }
    let uri = format!("postgresql://postgres@{}/x", socket.replace('/', "%2F"));
    assert_eq!(source.run(&["--target", &uri]).0.status.code(), Some(2));
}

#[test]
fn compressed_files_and_directory_dumps_are_read() {
    let mut source = Source::new(TABLE);
    everything(&mut source);
    source.rotate(200);
    source.transaction(200, &[Statement("INSERT INTO public.a (id) VALUES (200);")]);
    for (path, program) in source.place.segments().iter().zip(["gzip", "zstd"]) {
        let arguments: &[&str] = if program == "zstd" {
            &["-q", "--rm"]
        } else {
            &[]
        };
        assert!(Command::new(program)
            .args(arguments)
            .arg(path)
            .status()
            .unwrap()
            .success());
    }
    let target = source.restore(&[]);
    source.assert_same(&target);

    for format in ["dump.sql.gz", "dump"] {
        let mut source = Source::new(TABLE);
        let (cluster, database) = (source.cluster.clone(), source.database.clone());
        source.base_with("100:100:", |base, metadata| {
            let plain = base.path().join("dump.sql");
            metadata.dump = format.to_owned();
            if format == "dump" {
                fs::remove_file(plain).unwrap();
                let status = Command::new(cluster.bin().join("pg_dump"))
                    .args(["-Fd", "-f"])
                    .arg(base.path().join("dump"))
                    .arg("-d")
                    .arg(cluster.conninfo(&database))
                    .status();
                assert!(status.unwrap().success());
            } else {
                assert!(Command::new("gzip").arg(plain).status().unwrap().success());
            }
        });
        let target = source.restore(&[]);
        source.assert_same(&target);
    }
}

#[test]
fn a_copy_in_the_making_restores_what_is_whole() {
    let mut source = Source::new(TABLE);
    source.base("100:100:");
    source.transaction(100, &[Statement("INSERT INTO public.a (id) VALUES (100);")]);
    let open = source.appender.current_file().to_owned();
    let stale = fs::read(&open).unwrap();
    source.transaction(101, &[Statement("INSERT INTO public.a (id) VALUES (101);")]);
    source.rotate(102);
    source.transaction(102, &[Statement("INSERT INTO public.a (id) VALUES (102);")]);
    let closed = source.place.segments()[0].clone();
    let zstd = Command::new("zstd").arg("-q").arg(&closed).status();
    assert!(zstd.unwrap().success());
    // Both forms of a segment, as while it is being compressed.
    let target = source.restore(&[]);
    source.assert_same(&target);
    // The compressed one, and what was fetched before it was closed.
    fs::remove_file(&closed).unwrap();
    fs::write(&open, stale).unwrap();
    // A newer base, a set and a chain of which not all has arrived.
    let base = source.base("103:103:");
    fs::remove_file(base.join("metadata.json")).unwrap();
    let chain = &source.place.chain.path;
    let set = chain.join("globals/0000000000FF0000-20261121T034000Z");
    fs::create_dir_all(&set).unwrap();
    fs::write(set.join("globals.sql"), "half of i").unwrap();
    let next = chain.with_file_name("chain-2/base/0000000000FF0000-20261121T034000Z");
    fs::create_dir_all(&next).unwrap();
    let target = source.restore(&[]);
    source.assert_same(&target);
}
