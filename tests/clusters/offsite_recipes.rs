//! "The documentation's command did not work on the day that I needed it." Every recipe of docs/offsite.md
//! is run as it stands there, but for its paths, and what it copied is restored.

use crate::offsite::wait_for_archive;
use crate::page::block;
use harness::{assert_identical, program_directory, run, wait_until, Cluster};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const PAGE: &str = include_str!("../../docs/offsite.md");

/// The block of the page that has this name.
pub fn recipe(name: &str) -> String {
    block(PAGE, name)
}

/// A database named as in the page, and a place for what its recipes need.
fn start() -> Cluster {
    let c = Cluster::builder().database("shop").back_up();
    make_directory(&c, "etc");
    make_directory(&c, "backup");
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t SELECT a, repeat('text ', 1000) FROM generate_series(1, 100) a; SELECT incr_rotate()");
    c
}

fn make_directory(c: &Cluster, name: &str) -> PathBuf {
    let path = c.root().join(name);
    run(c.installation().command("mkdir").arg("-p").arg(&path));
    path
}

/// A recipe with the paths of this test.
fn here(c: &Cluster, name: &str) -> String {
    let root = c.root().display().to_string();
    let target = format!("host={root} port=5432 user=postgres dbname=shop_again");
    recipe(name)
        .replace("/tmp/", &format!("{root}/"))
        .replace("backup@vault:", "")
        .replace("/mnt/backup", &format!("{root}/backup"))
        .replace("/etc/postgresql", &format!("{root}/etc"))
        .replace("/root/backup.key", &format!("{root}/etc/backup.key"))
        .replace("host=/run/postgresql dbname=shop_again", &target)
}

fn archive_with(c: &Cluster, name: &str) {
    let line = here(c, name);
    let (setting, value) = line.trim().split_once(" = ").expect("it is a setting");
    c.set(setting, value);
    c.sql("INSERT INTO t VALUES (0, 'later'); SELECT incr_dump(); UPDATE t SET b = 'new' WHERE a = 1; SELECT incr_rotate()");
    wait_for_archive(c);
    assert!(!c.health().contains("archive_command"), "{}", c.health());
}

fn shell(c: &Cluster, script: &str) {
    let path = std::env::var("PATH").unwrap_or_default();
    let (own, servers) = (program_directory(), c.installation().bin());
    let path = format!("{}:{}:{path}", own.display(), servers.display());
    let mut shell = c.installation().command("sh");
    run(shell.env("PATH", path).args(["-euc", script]));
}

fn assert_same(c: &Cluster) {
    assert_identical((c, "shop"), (c, "shop_again"));
}

fn restore_from(c: &Cluster, directory: &Path) {
    let target = format!(
        "host={} port=5432 user=postgres dbname=shop_again",
        c.root().display()
    );
    shell(
        c,
        &format!(
            "sh '{}/restore.sh' --target '{target}'",
            directory.display()
        ),
    );
    assert_same(c);
}

#[test]
fn a_mounted_disk() {
    let c = start();
    archive_with(&c, "disk");
    restore_from(&c, &c.root().join("backup/shop"));
}

#[test]
fn rsync() {
    let c = start();
    archive_with(&c, "rsync");
    restore_from(&c, &c.root().join("backup/shop"));
}

/// A server that speaks S3, with an empty bucket.
struct S3(Child);

impl S3 {
    fn start(c: &Cluster) -> S3 {
        let paths = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/paths.sh");
        let prefix = run(Command::new("sh")
            .args(["-c", ". \"$0\"; echo \"$prefix\""])
            .arg(paths));
        let prefix = String::from_utf8_lossy(&prefix.stdout).trim().to_string();
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("there is a free port");
        let child = Command::new(format!("{prefix}/s3/bin/moto_server"))
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("make setup installs moto");
        let server = S3(child);
        wait_until("the S3 server answers", || {
            TcpStream::connect(address).is_ok()
        });
        let settings = format!("[default]\naccess_key = a\nsecret_key = b\nhost_base = {address}\nhost_bucket = {address}\nuse_https = False\nbucket_location = us-east-1\n");
        fs::write(c.root().join("etc/s3cfg"), settings).expect("it can be written");
        let config = c.root().join("etc/s3cfg").display().to_string();
        run(c.installation().command("s3cmd").args([
            &format!("--config={config}"),
            "mb",
            "s3://backup",
        ]));
        server
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn s3_by_a_stock_client() {
    let c = start();
    let _server = S3::start(&c);
    archive_with(&c, "s3");
    shell(&c, &here(&c, "s3-restore"));
    assert_same(&c);
}

fn make_age_key(c: &Cluster) {
    let etc = c.root().join("etc").display().to_string();
    shell(
        c,
        &format!(
            "age-keygen -o {etc}/backup.key && age-keygen -y {etc}/backup.key >{etc}/backup.pub"
        ),
    );
}

#[test]
fn encrypted_with_age() {
    let c = start();
    make_age_key(&c);
    archive_with(&c, "age");
    let backup = c.root().join("backup").display().to_string();
    shell(
        &c,
        &format!("ls {backup}/shop/chain-1 && ! grep -rE 'CREATE|INSERT|snapshot' {backup}"),
    );
    shell(&c, &here(&c, "age-restore"));
    assert_same(&c);
}

#[test]
fn encrypted_in_a_pipe_to_s3() {
    let c = start();
    make_age_key(&c);
    let _server = S3::start(&c);
    archive_with(&c, "age-s3");
    let root = c.root().display().to_string();
    shell(&c, &format!("cd {root}/backup && mkdir shop && s3cmd --config={root}/etc/s3cfg --quiet get --recursive s3://backup/shop/ shop/"));
    shell(&c, &here(&c, "age-restore"));
    assert_same(&c);
}

#[test]
fn encrypted_with_gpg() {
    let c = start();
    let home = make_directory(&c, "etc/gnupg");
    run(c.installation().command("chmod").arg("700").arg(&home));
    let home = home.display().to_string();
    run(c.installation().command("gpg").args([
        "--batch",
        "--homedir",
        &home,
        "--passphrase",
        "",
        "--quick-generate-key",
        "backup@example.org",
        "default",
        "default",
        "never",
    ]));
    archive_with(&c, "gpg");
    let script = here(&c, "age-restore").replace(".age", ".gpg").replace(
        &format!(
            "age --decrypt --identity {}/etc/backup.key",
            c.root().display()
        ),
        &format!("gpg --batch --quiet --homedir {home} --decrypt"),
    );
    assert!(script.contains("gpg --batch"), "{script}");
    shell(&c, &script);
    assert_same(&c);
}
