//! "The disk is full, the archive has to go to another one"; "the disk is gone, and I have copied the files back": what
//! docs/moving.md says, run by the page.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::docs_commands::{blocks, checkout, Block, Shop};
use harness::{program, run, wait_until, Cluster};

fn of_section(heading: &str) -> Vec<Block> {
    let page = fs::read_to_string(checkout().join("docs/moving.md")).expect("the page is there");
    let found = blocks(&page)
        .into_iter()
        .filter(|block| block.heading == heading);
    let found: Vec<Block> = found.collect();
    assert!(!found.is_empty(), "{heading}");
    found
}

/// What a restore of the archive there has in the table.
fn rows_of(c: &Cluster, archive: &str, database: &str) -> String {
    let target = c.conninfo(database);
    let output = program(&[
        "restore",
        "--archive",
        archive,
        "--chain",
        "1",
        "--target",
        &target,
    ]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    c.sql_in(database, "SELECT count(*) FROM kept")
}

#[test]
fn an_archive_is_moved_and_put_back_as_the_page_says() {
    let mut shop = Shop::new();
    let root = shop.cluster.root().display().to_string();
    let (there, copy) = (format!("{root}/srv"), format!("{root}/copy"));
    shop.examples.insert(0, ("/srv/backups", there.clone()));
    shop.examples.insert(0, ("/mnt/copy", copy.clone()));
    let old = shop.cluster.archive_directory();
    for block in of_section("## To another disk") {
        shop.run(&block);
        let c = &shop.cluster;
        match block.language.as_str() {
            "conf" => wait_until("the setting is read", || {
                c.sql("SHOW pg_incrbackup.directory") == there
            }),
            // Whatever happens meanwhile is in the WAL.
            _ => {
                drop(c.sql("CREATE TABLE IF NOT EXISTS kept (a int); INSERT INTO kept VALUES (1)"))
            }
        }
    }
    let c = &shop.cluster;
    assert!(!old.exists());
    assert_eq!(c.health(), "ok|{}");
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
    c.flush();
    let archive = format!("{there}/shop");
    let rows = c.sql("SELECT count(*) FROM kept");
    assert_eq!(rows_of(c, &archive, "moved"), rows);
    assert_eq!(c.sql("SELECT count(DISTINCT chain) FROM incr_files()"), "1");

    // A copy as archive_command makes it, of somebody else where the test may make one, and then more than is in it.
    c.sql("SELECT incr_rotate()");
    run(Command::new("rsync").args(["-a", "--exclude", "*.partial", &format!("{there}/"), &copy]));
    let is_root = fs::metadata("/proc/self").is_ok_and(|facts| facts.uid() == 0);
    if is_root {
        run(Command::new("chown").args(["-R", "root:root", &copy]));
        run(Command::new("chmod").args(["-R", "u=rwX,go=rX", &copy]));
    }
    c.sql("INSERT INTO kept VALUES (2)");
    c.flush();
    fs::remove_dir_all(&there).expect("the disk is lost");
    c.sql("INSERT INTO kept VALUES (3)");
    wait_until("the archive is missed", || !c.health().starts_with("ok"));
    let mut put_back = of_section("## Back from a copy").into_iter();
    let rsync = put_back.next().expect("the copy is put back");
    if is_root {
        let command = shop.with_examples(&rsync.text);
        run(Command::new("sh").args(["-euc", &command]));
    } else {
        shop.run(&rsync);
    }
    wait_until("it is seen what the copy lacks", || {
        c.health().contains("the slot was confirmed up to")
    });
    put_back.for_each(|block| shop.run(&block));
    wait_until("capture runs again", || c.health() == "ok|{}");
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
    assert_eq!(rows_of(c, &archive, "before"), rows, "what the copy has");
}
