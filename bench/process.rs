//! What Linux says of a process: CPU time, memory, context switches.
//!
//! On a machine that others use too, CPU time says more than the clock does.

use std::fs;

/// USER_HZ, the unit of CPU time in /proc: 100 on every Linux that PostgreSQL packages exist for.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds that a process has used, in user and in kernel mode.
pub fn cpu_seconds(pid: &str) -> f64 {
    cpu_of(&fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default())
}

/// The same to the nanosecond, where the kernel keeps it (`schedstat`).
pub fn exact_cpu_seconds(pid: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|n| n.parse::<f64>().ok());
    nanoseconds.map_or_else(|| cpu_seconds(pid), |nanoseconds| nanoseconds / 1e9)
}

/// The letter for what it does now: R runs, S sleeps, T was stopped.
pub fn state(pid: &str) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// CPU seconds from the text of its `stat`.
pub fn cpu_of(stat: &str) -> f64 {
    ticks(stat, 13) + ticks(stat, 14)
}

/// CPU seconds of the children that a process has waited for.
pub fn waited_for_cpu_seconds(pid: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    ticks(&stat, 15) + ticks(&stat, 16)
}

/// One field of `stat`, counted from 0. The second, a name in parentheses, may hold blanks.
fn ticks(stat: &str, field: usize) -> f64 {
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = after_name.split(' ').nth(field - 2);
    ticks.and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0) / TICKS_PER_SECOND
}

/// The most memory that it ever held (VmHWM), shared buffers that it touched included, in MB.
pub fn peak_megabytes(pid: &str) -> f64 {
    status(pid, "VmHWM:") / 1024.0
}

/// From here on [`peak_megabytes`] counts anew.
pub fn forget_peak(pid: &str) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("VmHWM can be reset");
}

/// Its own memory now (RssAnon), without what it shares, in MB.
pub fn anonymous_megabytes(pid: &str) -> f64 {
    status(pid, "RssAnon:") / 1024.0
}

/// How often it went to sleep of its own accord.
pub fn voluntary_switches(pid: &str) -> f64 {
    status(pid, "voluntary_ctxt_switches:")
}

fn status(pid: &str, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0.0)
}

/// The process ids of its children.
pub fn children_of(pid: &str) -> Vec<String> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.expect("this Linux lists the children of a process");
    children.split_whitespace().map(str::to_owned).collect()
}

/// The command lines of its children; empty for one that has ended and was not yet waited for.
pub fn children(pid: &str) -> Vec<String> {
    let command_line = |child: &String| {
        let bytes = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    children_of(pid).iter().map(command_line).collect()
}
