//! What the figures were measured on.

use harness::{run, Installation};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The checkout.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Name and value, in the order in which they are shown.
pub fn facts(installation: &Installation) -> Vec<(&'static str, String)> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    vec![
        ("date", output("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        ("commit", commit()),
        ("cpu", first_value("/proc/cpuinfo", "model name")),
        ("cores", cores.to_string()),
        ("memory", memory()),
        ("kernel", output("uname", &["-sr"])),
        ("file system", file_system()),
        ("load average at the start", load_average()),
        ("postgresql", postgresql(installation)),
        ("pg_incrbackup", env!("CARGO_PKG_VERSION").to_string()),
        ("wal2json", wal2json(installation)),
    ]
}

/// Such as `15.20`.
pub fn version(installation: &Installation) -> String {
    let text = postgresql(installation);
    text.split(' ').nth(2).unwrap_or("unknown").to_string()
}

/// Such as `2026-11-21`.
pub fn date() -> String {
    output("date", &["-u", "+%Y-%m-%d"])
}

/// With `-dirty` where the checkout holds what is not committed.
fn commit() -> String {
    let checkout = checkout().display().to_string();
    output(
        "git",
        &[
            "-C",
            &checkout,
            "describe",
            "--always",
            "--dirty",
            "--abbrev=12",
        ],
    )
}

fn postgresql(installation: &Installation) -> String {
    let output = run(installation.command("postgres").arg("--version"));
    String::from_utf8_lossy(&output.stdout).trim().to_string()
}

/// Its library does not say; Debian does.
fn wal2json(installation: &Installation) -> String {
    let package = format!("postgresql-{}-wal2json", installation.version);
    match output("dpkg-query", &["-W", "-f", "${Version}", &package]) {
        version if version.is_empty() => "not a Debian package, or not installed".to_string(),
        version => version,
    }
}

fn memory() -> String {
    let total = first_value("/proc/meminfo", "MemTotal");
    let kilobytes: f64 = total.trim_end_matches(" kB").parse().unwrap_or(0.0);
    format!("{:.1} GiB", kilobytes / 1024.0 / 1024.0)
}

fn file_system() -> String {
    let directory = std::env::temp_dir().display().to_string();
    let listed = output("df", &["--output=fstype", &directory]);
    listed.lines().last().unwrap_or_default().to_string()
}

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_string()
}

/// The first `name : value` of a file in /proc.
fn first_value(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| key.trim() == name);
    found
        .map_or("unknown", |(_, value)| value.trim())
        .to_string()
}

/// What a program prints; empty where it fails or is missing.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().trim().to_string()
}
