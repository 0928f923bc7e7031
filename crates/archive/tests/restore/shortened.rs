//! "It said that it was done, and rows were missing": what makes a restore shorter ends with exit status 1.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::source::{unique, Source, Statement, TABLE};
use crate::support;

fn insert(source: &mut Source, xid: u64) {
    let statement = format!("INSERT INTO public.a (id) VALUES ({xid});");
    source.transaction(xid, &[Statement(&statement)]);
}

#[test]
fn a_segment_that_is_missing_at_the_end_is_missed() {
    let mut source = Source::new(TABLE);
    source.base("100:100:");
    insert(&mut source, 100);
    source.rotate(101);
    insert(&mut source, 101);
    let last = source.rotate(102);
    let [.., open] = &source.place.segments()[..] else {
        panic!("there are segments");
    };
    fs::remove_file(open).unwrap();
    source.restore(&[]);
    fs::remove_file(&last).unwrap();
    let said = source.refused(&[]);
    let name = last.file_name().unwrap().to_str().unwrap();
    assert!(
        said.contains(&format!("the manifest lists {name}, which is missing")),
        "{said}"
    );
    source.restore(&["--allow-earlier"]);
}

/// psql takes the end of its input for the end of the rows.
#[test]
fn an_awk_that_is_killed_while_the_base_is_loaded_is_noticed() {
    let mut source = Source::new(TABLE);
    source.base("100:100:");
    insert(&mut source, 100);
    let aside = support::temporary();
    let awk = aside.path().join("killed");
    let script = "#!/bin/sh\nPATH=/usr/bin:/bin\ncase \"$*\" in\n\
        *loaded=*) sed '/^2\ttwo/,$d' | mawk \"$@\"; kill -9 $$ ;;\n\
        *) exec mawk \"$@\" ;;\nesac\n";
    fs::write(&awk, script).unwrap();
    fs::set_permissions(&awk, fs::Permissions::from_mode(0o755)).unwrap();
    let conninfo = source.cluster.conninfo(&unique("target"));
    let run = source.run_under("dash", Some(&awk), &["--target", &conninfo]);
    assert_eq!(run.0.status.code(), Some(1), "{}", run.text());
    assert!(
        run.text().contains("could not be read to its end"),
        "{}",
        run.text()
    );
}
