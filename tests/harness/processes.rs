//! The cluster's processes, as the kernel lists them: also those that no SQL function names.

use crate::{wait_until, Cluster};
use std::fs;

/// The postmaster, while its pid file is there, and names a process that works in the data directory.
pub fn postmaster(c: &Cluster) -> Option<u32> {
    let data = c.data_directory();
    let file = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid = file.lines().next()?.trim().parse().ok()?;
    let works_in = fs::canonicalize(format!("/proc/{pid}/cwd")).ok()?;
    (works_in == fs::canonicalize(data).ok()?).then_some(pid)
}

/// Parent and name of a process.
fn parent_and_name(pid: u32) -> Option<(u32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = stat.rsplit_once(") ")?;
    let name = before.split_once('(')?.1.to_string();
    let parent = after.split(' ').nth(1)?.parse().ok()?;
    Some((parent, name))
}

/// All processes below `root`, with their names.
pub fn below(root: u32) -> Vec<(u32, String)> {
    let listing = fs::read_dir("/proc").expect("/proc can be listed");
    let all: Vec<(u32, u32, String)> = listing
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| parent_and_name(pid).map(|(parent, name)| (pid, parent, name)))
        .collect();
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for (pid, _, name) in all.iter().filter(|(_, its, _)| *its == parent) {
            found.push((*pid, name.clone()));
            parents.push(*pid);
        }
    }
    found
}

/// A process of this cluster with that name.
pub fn named(c: &Cluster, name: &str) -> Option<u32> {
    let all = below(postmaster(c)?).into_iter();
    all.filter(|(_, its)| its == name)
        .map(|(pid, _)| pid)
        .next()
}

/// SIGKILL for the postmaster and all that it started, the postmaster first: nobody tidies up.
pub fn kill_all(c: &Cluster) {
    if let Some(postmaster) = postmaster(c) {
        kill_with_all_below(postmaster);
    }
    // As after a power cut, where no process has the number: whoever should reap the postmaster may
    // take his time.
    fs::remove_file(c.data_directory().join("postmaster.pid")).ok();
    fs::remove_file(c.root().join(".s.PGSQL.5432.lock")).ok();
}

/// SIGKILL for a process and all that it started, that one first.
pub fn kill_with_all_below(root: u32) {
    let mut all = vec![root];
    all.extend(below(root).into_iter().map(|(pid, _)| pid));
    let arguments: Vec<String> = all.iter().map(u32::to_string).collect();
    // Some may have gone by themselves.
    std::process::Command::new("kill")
        .arg("-9")
        .args(arguments)
        .output()
        .ok();
    wait_until("the processes are gone", || {
        all.iter().all(|pid| {
            parent_and_name(*pid).is_none()
                || fs::read_to_string(format!("/proc/{pid}/stat"))
                    .is_ok_and(|stat| stat.contains(") Z "))
        })
    });
}
