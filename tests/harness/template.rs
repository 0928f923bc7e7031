//! Data directories to copy, which takes a tenth of the time of initdb.

use crate::cluster::new_root;
use crate::installation::{run, server_user, Installation};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{fchown, DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

pub(crate) fn init_db(
    installation: &Installation,
    encoding: &str,
    locale: Option<&str>,
    data: &Path,
) {
    let usual = if encoding == "UTF8" { "C.UTF-8" } else { "C" };
    let locale = locale.unwrap_or(usual);
    run(installation.command("initdb").arg("-D").arg(data).args([
        "-U",
        "postgres",
        "--auth=trust",
        "--no-sync",
        &format!("--encoding={encoding}"),
        &format!("--locale={locale}"),
    ]));
}

/// Makes a data directory, with an empty database of that name if there is one.
pub(crate) fn copy(
    installation: &Installation,
    encoding: &str,
    database: Option<&str>,
    data: &Path,
) {
    let template = template(installation, encoding, database);
    copy_directory(&template, data).expect("the template can be copied");
}

/// One for each encoding, with the test's database and without, created by the first test that needs it and kept
/// with the private PostgreSQL.
fn template(installation: &Installation, encoding: &str, database: Option<&str>) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let with = database.map_or_else(String::new, |name| format!("-with-{name}"));
    let template = installation
        .bin()
        .join(format!("../template-{encoding}{with}"));
    let _guard = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if !template.exists() {
        let root = new_root();
        let data = root.join("data");
        init_db(installation, encoding, None, &data);
        if let Some(database) = database {
            create_database(installation, &data, database);
        }
        // Atomically: another test run may be creating it, too.
        let own = template.with_extension(std::process::id().to_string());
        run(Command::new("mv").arg(data).arg(&own));
        if fs::rename(&own, &template).is_err() {
            fs::remove_dir_all(&own).ok();
        }
        fs::remove_dir_all(root).ok();
    }
    template
}

/// By copying files: their pages do not become WAL that every copy of the template would have.
fn create_database(installation: &Installation, data: &Path, name: &str) {
    // Without a postmaster, the first OIDs would be those of objects that initdb makes.
    let oids = ["-o", "16384"];
    run(installation.command("pg_resetwal").args(oids).arg(data));
    let mut server = installation
        .command("postgres")
        .args(["--single", "-F", "-c", "exit_on_error=on", "-D"])
        .arg(data)
        .arg("postgres")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("postgres can be run");
    let mut stdin = server.stdin.take().expect("stdin is piped");
    writeln!(stdin, "CREATE DATABASE {name} STRATEGY file_copy").expect("postgres reads");
    drop(stdin);
    let output = server.wait_with_output();
    let output = output.expect("postgres can be waited for");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "no database {name}:\n{said}");
}

/// For the server's user, as initdb makes them.
fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(to)?;
    own(&fs::File::open(to)?)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &copy)?;
        } else if entry.file_name() != "pg_internal.init" {
            copy_file(&entry.path(), &copy)?;
        }
    }
    Ok(())
}

/// The zeros at the end of a file, which most of a WAL segment consists of, take no memory in the copy.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    const PAGE: usize = 8192;
    let bytes = fs::read(from)?;
    let mut pages = bytes.rchunks_exact(PAGE);
    let is_zero = |page: &&[u8]| **page == [0; PAGE];
    let zeros = pages.by_ref().take_while(is_zero).count();
    let used = &bytes[..bytes.len() - zeros * PAGE];
    let mut options = fs::OpenOptions::new();
    let mut copy = options.write(true).create_new(true).mode(0o600).open(to)?;
    own(&copy)?;
    copy.write_all(used)?;
    if used.len() < bytes.len() {
        copy.set_len(bytes.len() as u64)?;
    }
    Ok(())
}

fn own(file: &fs::File) -> io::Result<()> {
    match server_user() {
        Some((user, group)) => fchown(file, Some(user), Some(group)),
        None => Ok(()),
    }
}
