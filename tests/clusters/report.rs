//! "Nobody looks at the backup." incr_report() writes a page that is looked at, and that nobody can use
//! against who looks at it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use harness::Cluster;

const SCRIPT: &str =
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">";

/// A page with something of everything on it, and its path.
fn written() -> (Cluster, std::path::PathBuf) {
    let c = Cluster::backed_up();
    c.sql(&format!(
        "CREATE TABLE orders (id int PRIMARY KEY, item text);
         CREATE TABLE \"{}\" (a text PRIMARY KEY);
         CREATE ROLE \"{}\"",
        SCRIPT.replace('"', "\"\""),
        &SCRIPT[..40],
    ));
    c.sql("INSERT INTO orders SELECT x, md5(x::text) FROM generate_series(1, 5000) x; UPDATE orders SET item = 'x' WHERE id < 7");
    c.sql(&format!(
        "INSERT INTO \"{}\" VALUES ('1')",
        SCRIPT.replace('"', "\"\"")
    ));
    c.sql(&format!(
        "COMMENT ON TABLE orders IS '</code>{}'",
        SCRIPT.replace('\'', "''")
    ));
    c.sql("SELECT incr_rotate(); SELECT incr_dump()");
    c.sql(
        "CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw;
           CREATE USER MAPPING FOR postgres SERVER far OPTIONS (user 'me', password 'Sesame42')",
    );
    c.flush();
    let path = c.sql("SELECT incr_report()");
    (c, path.into())
}

fn browse(page: &Path, arguments: &[&str]) -> (String, String) {
    let profile = tempfile::tempdir().expect("a directory");
    let output = Command::new("timeout")
        .args([
            "120",
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .args([
            "--enable-logging=stderr",
            "--window-size=1180,1700",
            "--virtual-time-budget=2000",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("chromium (make setup installs it)");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_page_stands_in_the_archive_and_disturbs_nothing() {
    let (c, path) = written();
    assert_eq!(path, c.database_directory().join("report.html"));
    let mode = std::fs::metadata(&path)
        .expect("the page")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let html = std::fs::read_to_string(&path).expect("the page");
    for shown in [
        "public.orders",
        "5,000",
        "CREATE TABLE orders",
        "chain-1/base/",
        "pg_incrbackup_",
    ] {
        assert!(html.contains(shown), "{shown}");
    }
    // Nobody misses a backup of postgres, which has none either.
    assert!(html.contains("There are none, but for those"));
    assert!(!html.contains("Sesame42") && html.contains("not shown: it may hold secrets"));
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
    assert_eq!(
        c.sql("SELECT count(*) FROM incr_expire() WHERE file LIKE '%report%'"),
        "0"
    );
    c.assert_restores();
    // It is replaced as a whole, and nothing is left beside it.
    c.sql_in("postgres", "CREATE DATABASE forgotten");
    c.sql("SELECT incr_report()");
    let html = std::fs::read_to_string(&path).expect("the page");
    assert!(html.contains("forgotten") && html.contains("this database is not backed up: run"));
    let files = std::fs::read_dir(c.database_directory()).expect("files");
    let mut names: Vec<_> = files
        .map(|file| file.expect("a file").file_name())
        .collect();
    // Written by the capture worker, in its own time.
    names.retain(|name| name != "extension.json");
    names.sort();
    assert_eq!(
        names,
        [
            "README.txt",
            "chain-1",
            "owner.json",
            "owner.lock",
            "report.html",
            "restore.sh"
        ]
    );
}

/// In a real browser: what is there is shown, and no name and no text becomes markup.
#[test]
fn a_browser_shows_the_page_and_runs_nothing_of_it() {
    let (_c, path) = written();
    let (dom, said) = browse(&path, &["--dump-dom"]);
    assert!(dom.contains(": backup report</title>"), "{dom}");
    assert!(!dom.contains("<script") && !dom.contains("<img"), "{dom}");
    assert!(dom.contains("&lt;script&gt;document.title="), "{dom}");
    // A rule of the page's own policy that it broke itself would be said here.
    assert!(
        !said.contains("Refused to") && !said.contains("Content Security Policy"),
        "{said}"
    );
    let picture = path.with_extension("png");
    let place = format!("--screenshot={}", picture.display());
    for more in [&[][..], &["--blink-settings=preferredColorScheme=0"]] {
        browse(&path, &[&[place.as_str()], more].concat());
        let png = std::fs::read(&picture).expect("a picture");
        // An empty page of that size has some 10 kB.
        assert!(
            png.starts_with(b"\x89PNG") && png.len() > 60_000,
            "{} bytes",
            png.len()
        );
    }
    if let Ok(keep) = std::env::var("REPORT_PNG") {
        std::fs::copy(&picture, keep).expect("a copy");
    }
}

#[test]
fn a_missing_segment_is_a_gap_on_the_page() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    for a in 0..3 {
        c.sql(&format!("INSERT INTO t VALUES ({a}); SELECT incr_rotate()"));
    }
    let segments = c.chain_directory().join("incremental");
    let files = std::fs::read_dir(segments).expect("segments");
    let mut files: Vec<_> = files.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    std::fs::remove_file(&files[1]).expect("removed");
    let path = c.sql("SELECT incr_report()");
    let html = std::fs::read_to_string(path).expect("the page");
    assert!(
        html.contains("it is missing") && html.contains("<title>Gap of"),
        "{html}"
    );
}
